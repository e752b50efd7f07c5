//! What every store must do, run on each of them. The etcd half needs an etcd binary on PATH and says so when there is
//! none.

use std::sync::Arc;
use std::time::Duration;

use apiserver::store::embedded::disk::Folder;
use apiserver::store::embedded::{self, Embedded};
use apiserver::store::{
    Batch, ChangeKind, Commit, CommitError, Condition, Entry, Error, Previous, RangeRequest, Revision, Store,
    WatchError, Write,
};
use bytes::Bytes;
use component::clock::Clock;
use futures::StreamExt;
use futures::stream::BoxStream;

#[path = "store_common/etcd.rs"]
mod etcd;

use etcd::{Server, free_port};

type Shared = Arc<dyn Store>;
type Batches = BoxStream<'static, Result<Batch, WatchError>>;

async fn open(folder: &tempfile::TempDir) -> Embedded {
    let disk = Arc::new(Folder::open(folder.path()).unwrap());
    Embedded::start(disk, Clock::system(), embedded::Options::default()).await.unwrap()
}

macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod on_embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let folder = tempfile::tempdir().unwrap();
                super::$name(std::sync::Arc::new(super::open(&folder).await)).await;
            })*
        }
        mod on_etcd {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let Some(server) = super::Server::start() else { return };
                super::$name(server.store().await).await;
            })*
        }
    };
}

contract!(
    a_new_store_is_empty,
    compares_and_swaps,
    counts_revisions_and_versions,
    a_commit_is_whole,
    refuses_what_makes_no_sense,
    reads_ranges,
    reads_the_past,
    watches_and_resumes,
    tells_what_was_before,
    compacts,
    expires,
    serves_many_writers,
    takes_large_values,
);

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.unwrap_or_else(|_| panic!("{what} took too long"))
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn put(key: &str, value: &str) -> Write {
    Write::Put { key: key.to_owned(), value: bytes(value), ttl: None }
}

fn delete(key: &str) -> Write {
    Write::Delete { key: key.to_owned() }
}

async fn write(store: &Shared, writes: impl Into<Vec<Write>>) -> Revision {
    store.commit(Commit { conditions: Vec::new(), writes: writes.into() }).await.unwrap()
}

fn entry(key: &str, value: &str, created: u64, modified: u64, version: u64) -> Entry {
    let (created, modified) = (Revision(created), Revision(modified));
    Entry { key: key.to_owned(), value: bytes(value), created, modified, version }
}

async fn next(batches: &mut Batches) -> Result<Batch, WatchError> {
    within("a batch", batches.next()).await.expect("the watch goes on")
}

/// A batch in short: `revision: +key=value -key`.
fn short(batch: &Batch) -> String {
    let changes = batch.changes.iter().map(|change| match &change.kind {
        ChangeKind::Put { value, .. } => format!("+{}={}", change.key, String::from_utf8_lossy(value)),
        ChangeKind::Delete => format!("-{}", change.key),
    });
    format!("{}: {}", batch.revision, changes.collect::<Vec<_>>().join(" "))
}

async fn values(store: &Shared, at: u64) -> Result<Vec<String>, Error> {
    let range = store.range(RangeRequest::prefix("/").at(Revision(at))).await?;
    let values = range.entries.iter().map(|entry| format!("{}={}", entry.key, String::from_utf8_lossy(&entry.value)));
    Ok(values.collect())
}

async fn a_new_store_is_empty(store: Shared) {
    assert_eq!(store.revision().await, Ok(Revision(1)));
    assert_eq!(store.get("/a", None).await, Ok((None, Revision(1))));
    let range = store.range(RangeRequest::everything()).await.unwrap();
    assert_eq!((range.entries.len(), range.revision, range.more, range.count), (0, Revision(1), false, 0));
}

async fn compares_and_swaps(store: Shared) {
    let conflict = |result: Result<Revision, CommitError>| match result {
        Err(CommitError::Conflict { key, current }) => (key, current),
        other => panic!("expected a conflict, got {other:?}"),
    };
    let first = store.commit(Commit::create("/a", bytes("1"), None)).await.unwrap();
    assert_eq!(first, Revision(2));
    let again = store.commit(Commit::create("/a", bytes("2"), None)).await;
    assert_eq!(conflict(again), ("/a".to_owned(), Some(entry("/a", "1", 2, 2, 1))));
    let second = store.commit(Commit::update("/a", first, bytes("2"), None)).await.unwrap();
    let late = store.commit(Commit::update("/a", first, bytes("3"), None)).await;
    assert_eq!(conflict(late), ("/a".to_owned(), Some(entry("/a", "2", 2, 3, 2))));
    let absent = store.commit(Commit::update("/b", first, bytes("3"), None)).await;
    assert_eq!(conflict(absent), ("/b".to_owned(), None));
    let late = store.commit(Commit::delete("/a", first)).await;
    assert_eq!(conflict(late).0, "/a");
    // A condition on a key that is not written; the violated one is told, not the first.
    let guarded = Commit {
        conditions: vec![
            Condition::Modified { key: "/a".to_owned(), revision: second },
            Condition::Modified { key: "/guard".to_owned(), revision: second },
        ],
        writes: vec![put("/c", "1")],
    };
    assert_eq!(conflict(store.commit(guarded).await), ("/guard".to_owned(), None));
    assert_eq!(store.get("/c", None).await.unwrap(), (None, second));
    assert_eq!(store.commit(Commit::delete("/a", second)).await, Ok(Revision(4)));
    assert_eq!(store.commit(Commit::create("/a", bytes("5"), None)).await, Ok(Revision(5)));
    assert_eq!(store.get("/a", None).await.unwrap().0, Some(entry("/a", "5", 5, 5, 1)));
}

async fn counts_revisions_and_versions(store: Shared) {
    write(&store, [put("/a", "1")]).await;
    write(&store, [put("/b", "1")]).await;
    assert_eq!(write(&store, [put("/a", "1")]).await, Revision(4), "a write of the same value is a write");
    assert_eq!(write(&store, [delete("/none")]).await, Revision(4), "deleting nothing is none");
    assert_eq!(store.revision().await, Ok(Revision(4)));
    assert_eq!(store.get("/a", None).await, Ok((Some(entry("/a", "1", 2, 4, 2)), Revision(4))));
}

async fn a_commit_is_whole(store: Shared) {
    let mut batches = store.watch(Revision(1), Previous::Omit);
    assert_eq!(write(&store, [put("/b", "1"), put("/a", "2")]).await, Revision(2));
    assert_eq!(write(&store, [put("/c", "3"), delete("/none"), delete("/b")]).await, Revision(3));
    assert_eq!(short(&next(&mut batches).await.unwrap()), "2: +/b=1 +/a=2");
    assert_eq!(short(&next(&mut batches).await.unwrap()), "3: +/c=3 -/b");
    let many: Vec<Write> = (0..100).map(|number| put(&format!("/many/{number}"), "x")).collect();
    assert_eq!(write(&store, many).await, Revision(4));
    assert_eq!(next(&mut batches).await.unwrap().changes.len(), 100);
}

async fn refuses_what_makes_no_sense(store: Shared) {
    for writes in [vec![put("/a", "1"), put("/a", "2")], vec![put("", "1")]] {
        let refused = store.commit(Commit { conditions: Vec::new(), writes }).await;
        assert!(matches!(refused, Err(CommitError::Store(Error::Invalid { .. }))), "{refused:?}");
    }
    assert_eq!(store.revision().await, Ok(Revision(1)));
}

async fn reads_ranges(store: Shared) {
    for key in ["/p/a", "/p/b/1", "/p/b/2", "/p/b0", "/p/c", "/q", "/é", "zz"] {
        write(&store, [put(key, "x")]).await;
    }
    let keys = async |request: RangeRequest| {
        let range = store.range(request).await.unwrap();
        assert_eq!(range.revision, Revision(9));
        let keys: Vec<String> = range.entries.into_iter().map(|entry| entry.key).collect();
        (keys.join(" "), range.more, range.count)
    };
    let prefix = RangeRequest::prefix("/p/");
    assert_eq!(keys(prefix.clone()).await, ("/p/a /p/b/1 /p/b/2 /p/b0 /p/c".to_owned(), false, 5));
    assert_eq!(keys(RangeRequest::prefix("/p/b/")).await, ("/p/b/1 /p/b/2".to_owned(), false, 2));
    assert_eq!(keys(prefix.clone().limit(2)).await, ("/p/a /p/b/1".to_owned(), true, 5));
    let rest = prefix.clone().starting_at("/p/b/1\0".to_owned());
    assert_eq!(keys(rest.clone().limit(2)).await, ("/p/b/2 /p/b0".to_owned(), true, 3));
    assert_eq!(keys(rest.limit(3)).await, ("/p/b/2 /p/b0 /p/c".to_owned(), false, 3));
    assert_eq!(keys(RangeRequest::everything()).await.2, 8);
    assert_eq!(keys(RangeRequest::prefix("/é")).await, ("/é".to_owned(), false, 1));
    assert_eq!(keys(RangeRequest::prefix("/none/")).await, (String::new(), false, 0));
    assert_eq!(keys(prefix.clone().limit(0)).await, (String::new(), true, 5));
    let backwards = prefix.starting_at("/p1".to_owned());
    assert_eq!(keys(backwards).await, (String::new(), false, 0));
}

async fn reads_the_past(store: Shared) {
    write(&store, [put("/a", "1")]).await;
    write(&store, [put("/b", "1"), put("/a", "2")]).await;
    write(&store, [delete("/a")]).await;
    write(&store, [put("/a", "3")]).await;
    for (at, want) in [(2, "/a=1"), (3, "/a=2 /b=1"), (4, "/b=1"), (5, "/a=3 /b=1")] {
        assert_eq!(values(&store, at).await.unwrap().join(" "), want, "at {at}");
    }
    assert_eq!(store.get("/a", Some(Revision(3))).await, Ok((Some(entry("/a", "2", 2, 3, 2)), Revision(5))));
    assert_eq!(store.get("/a", Some(Revision(4))).await, Ok((None, Revision(5))));
    let limited = store.range(RangeRequest::prefix("/").at(Revision(3)).limit(1)).await.unwrap();
    assert_eq!((limited.entries.len(), limited.more, limited.count, limited.revision), (1, true, 2, Revision(5)));
    assert_eq!(values(&store, 6).await, Err(Error::Future { newest: Revision(5) }));
    assert_eq!(store.get("/a", Some(Revision(6))).await, Err(Error::Future { newest: Revision(5) }));
}

async fn watches_and_resumes(store: Shared) {
    let mut live = store.watch(Revision(1), Previous::Omit);
    for number in 2..=6 {
        write(&store, [put("/a", &number.to_string())]).await;
    }
    for number in 2..=6 {
        assert_eq!(short(&next(&mut live).await.unwrap()), format!("{number}: +/a={number}"));
    }
    let mut resumed = store.watch(Revision(4), Previous::Omit);
    assert_eq!(short(&next(&mut resumed).await.unwrap()), "5: +/a=5");
    assert_eq!(short(&next(&mut resumed).await.unwrap()), "6: +/a=6");
    let mut ahead = store.watch(Revision(7), Previous::Omit);
    write(&store, [delete("/a")]).await;
    write(&store, [put("/a", "8")]).await;
    assert_eq!(short(&next(&mut resumed).await.unwrap()), "7: -/a");
    assert_eq!(short(&next(&mut ahead).await.unwrap()), "8: +/a=8");
    // More than any store keeps at hand.
    let large = "x".repeat(100_000);
    for _ in 0..20 {
        write(&store, [put("/large", &large)]).await;
    }
    let mut all = store.watch(Revision(1), Previous::Omit);
    for number in 2..=28 {
        assert_eq!(next(&mut all).await.unwrap().revision, Revision(number));
    }
}

async fn tells_what_was_before(store: Shared) {
    write(&store, [put("/a", "1")]).await;
    write(&store, [put("/a", "2"), put("/b", "1")]).await;
    write(&store, [delete("/a")]).await;
    write(&store, [put("/a", "3")]).await;
    let first = entry("/a", "1", 2, 2, 1);
    let second = entry("/a", "2", 2, 3, 2);
    let want = [vec![None], vec![Some(first), None], vec![Some(second)], vec![None]];
    let mut batches = store.watch(Revision(1), Previous::Include);
    for (at, want) in want.into_iter().enumerate() {
        let batch = next(&mut batches).await.unwrap();
        let previous: Vec<_> = batch.changes.iter().map(|change| change.previous.clone()).collect();
        assert_eq!(previous, want, "batch {at}");
        if let ChangeKind::Put { created, version, .. } = &batch.changes[0].kind {
            assert_eq!((created.0, *version), [(2, 1), (2, 2), (0, 0), (5, 1)][at]);
        }
    }
    let mut without = store.watch(Revision(2), Previous::Omit);
    assert_eq!(next(&mut without).await.unwrap().changes[0].previous, None);
}

async fn compacts(store: Shared) {
    for number in 2..=6 {
        write(&store, [put("/a", &number.to_string()), put(&format!("/{number}"), "x")]).await;
    }
    write(&store, [delete("/2")]).await;
    let waiting = store.watch(Revision(6), Previous::Include);
    store.compact(Revision(5)).await.unwrap();
    store.compact(Revision(5)).await.unwrap();
    store.compact(Revision(3)).await.unwrap();
    assert_eq!(store.compact(Revision(8)).await, Err(Error::Future { newest: Revision(7) }));
    assert_eq!(values(&store, 4).await, Err(Error::Compacted { oldest: Revision(5) }));
    assert_eq!(store.get("/a", Some(Revision(2))).await, Err(Error::Compacted { oldest: Revision(5) }));
    assert_eq!(values(&store, 5).await.unwrap().join(" "), "/2=x /3=x /4=x /5=x /a=5");
    assert_eq!(values(&store, 7).await.unwrap().join(" "), "/3=x /4=x /5=x /6=x /a=6");
    let mut too_old = store.watch(Revision(2), Previous::Omit);
    assert_eq!(next(&mut too_old).await, Err(WatchError::Compacted { oldest: Revision(5) }));
    let mut just = store.watch(Revision(5), Previous::Include);
    let batch = next(&mut just).await.unwrap();
    assert_eq!(short(&batch), "6: +/a=6 +/6=x");
    assert_eq!(batch.changes[0].previous, Some(entry("/a", "5", 2, 5, 4)));
    let mut waiting = waiting;
    assert_eq!(short(&next(&mut waiting).await.unwrap()), "7: -/2");
    store.compact(Revision(7)).await.unwrap();
    assert_eq!(store.revision().await, Ok(Revision(7)));
    assert_eq!(write(&store, [put("/2", "y")]).await, Revision(8));
    assert_eq!(store.get("/2", None).await.unwrap().0, Some(entry("/2", "y", 8, 8, 1)));
}

async fn expires(store: Shared) {
    let short_lived =
        |key: &str| Write::Put { key: key.to_owned(), value: bytes("x"), ttl: Some(Duration::from_secs(2)) };
    let mut batches = store.watch(Revision(3), Previous::Include);
    write(&store, [short_lived("/gone"), short_lived("/kept")]).await;
    write(&store, [put("/kept", "y")]).await;
    // Still there at once; a long time to live is no time at all for this test.
    write(&store, [Write::Put { key: "/long".to_owned(), value: bytes("x"), ttl: Some(Duration::from_secs(3600)) }])
        .await;
    assert!(store.get("/gone", None).await.unwrap().0.is_some());
    assert_eq!(short(&next(&mut batches).await.unwrap()), "4: +/long=x");
    let expired = next(&mut batches).await.unwrap();
    assert_eq!(short(&expired), "5: -/gone");
    assert_eq!(expired.changes[0].previous, Some(entry("/gone", "x", 2, 2, 1)));
    assert!(store.get("/gone", None).await.unwrap().0.is_none());
    assert_eq!(values(&store, 5).await.unwrap().join(" "), "/kept=y /long=x");
}

async fn serves_many_writers(store: Shared) {
    const WRITERS: u64 = 8;
    const EACH: u64 = 25;
    write(&store, [put("/count", "0")]).await;
    let writers = (0..WRITERS).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            for _ in 0..EACH {
                let (mut current, _) = store.get("/count", None).await.unwrap();
                loop {
                    let entry = current.expect("it is never deleted");
                    let count: u64 = String::from_utf8_lossy(&entry.value).parse().unwrap();
                    let next = bytes(&(count + 1).to_string());
                    match store.commit(Commit::update("/count", entry.modified, next, None)).await {
                        Ok(_) => break,
                        Err(CommitError::Conflict { current: now, .. }) => current = now,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut batches = store.watch(Revision(2), Previous::Omit);
    for number in 1..=WRITERS * EACH {
        assert_eq!(short(&next(&mut batches).await.unwrap()), format!("{}: +/count={number}", number + 2));
    }
    for writer in writers {
        writer.await.unwrap();
    }
}

async fn takes_large_values(store: Shared) {
    let large = "x".repeat(1 << 20);
    for number in 0..6 {
        write(&store, [put(&format!("/{number}"), &large)]).await;
    }
    let range = store.range(RangeRequest::prefix("/")).await.unwrap();
    assert!(range.entries.iter().all(|entry| entry.value.len() == 1 << 20));
    let huge = Write::Put { key: "/huge".to_owned(), value: vec![b'x'; 5 << 20].into(), ttl: None };
    let refused = store.commit(Commit { conditions: Vec::new(), writes: vec![huge] }).await;
    assert!(matches!(refused, Err(CommitError::Store(Error::Invalid { .. }))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_is_all_there_after_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let before = open(&folder).await;
    for number in 2..=20 {
        let commit = Commit { conditions: Vec::new(), writes: vec![put("/a", &number.to_string()), put("/b", "x")] };
        before.commit(commit).await.unwrap();
    }
    before.compact(Revision(10)).await.unwrap();
    assert!(Folder::open(folder.path()).is_err(), "two stores on one folder");
    before.close().await;
    drop(before);
    let after: Shared = Arc::new(open(&folder).await);
    assert_eq!(after.revision().await, Ok(Revision(20)));
    assert_eq!(values(&after, 15).await.unwrap().join(" "), "/a=15 /b=x");
    assert_eq!(values(&after, 9).await, Err(Error::Compacted { oldest: Revision(10) }));
    let mut batches = after.watch(Revision(18), Previous::Omit);
    assert_eq!(short(&next(&mut batches).await.unwrap()), "19: +/a=19 +/b=x");
    assert_eq!(write(&after, [put("/a", "new")]).await, Revision(21));
    assert_eq!(after.get("/a", None).await.unwrap().0, Some(entry("/a", "new", 2, 21, 20)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_watches_go_on_when_it_comes_back() {
    let Some(server) = Server::start() else { return };
    let store = server.store().await;
    let mut batches = store.watch(Revision(1), Previous::Omit);
    write(&store, [put("/a", "1")]).await;
    assert_eq!(short(&next(&mut batches).await.unwrap()), "2: +/a=1");
    let server = server.restart();
    // A client of its own, which waits until etcd is back.
    write(&server.store().await, [put("/a", "2")]).await;
    assert_eq!(short(&next(&mut batches).await.unwrap()), "3: +/a=2");
    assert_eq!(store.revision().await, Ok(Revision(3)));
    assert_eq!(write(&store, [put("/a", "3")]).await, Revision(4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_over_tls_with_client_certificates() {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    let folder = tempfile::tempdir().unwrap();
    let save = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "etcd-ca");
    save("ca.crt", params.clone().self_signed(&authority_key).unwrap().pem());
    let authority = Issuer::new(params, authority_key);
    for (name, hosts) in [("server", vec!["127.0.0.1".to_owned()]), ("client", Vec::new())] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(hosts).unwrap();
        save(&format!("{name}.crt"), params.signed_by(&key, &authority).unwrap().pem());
        save(&format!("{name}.key"), key.serialize_pem());
    }
    let Some(server) = Server::start_in(folder, free_port(), true) else { return };
    let store = server.store().await;
    assert_eq!(write(&store, [put("/a", "1")]).await, Revision(2));
    assert_eq!(store.get("/a", None).await.unwrap().0, Some(entry("/a", "1", 2, 2, 1)));
}
