//! Writing: conditions, revisions, expiry, many writers, large values.

use std::time::{Duration, Instant};

use apiserver::store::{Commit, CommitError, Condition, Error, Previous, RangeRequest, Revision, Write};

use super::{Shared, bytes, delete, entry, next, put, short, values, write};

pub(crate) async fn compares_and_swaps(store: Shared) {
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

pub(crate) async fn counts_revisions_and_versions(store: Shared) {
    write(&store, [put("/a", "1")]).await;
    write(&store, [put("/b", "1")]).await;
    assert_eq!(write(&store, [put("/a", "1")]).await, Revision(4), "a write of the same value is a write");
    assert_eq!(write(&store, [delete("/none")]).await, Revision(4), "deleting nothing is none");
    assert_eq!(store.revision().await, Ok(Revision(4)));
    assert_eq!(store.get("/a", None).await, Ok((Some(entry("/a", "1", 2, 4, 2)), Revision(4))));
}

pub(crate) async fn a_commit_is_whole(store: Shared) {
    let mut batches = store.watch(Revision(1), Previous::Omit);
    assert_eq!(write(&store, [put("/b", "1"), put("/a", "2")]).await, Revision(2));
    assert_eq!(write(&store, [put("/c", "3"), delete("/none"), delete("/b")]).await, Revision(3));
    assert_eq!(short(&next(&mut batches).await.unwrap()), "2: +/b=1 +/a=2");
    assert_eq!(short(&next(&mut batches).await.unwrap()), "3: +/c=3 -/b");
    let many: Vec<Write> = (0..100).map(|number| put(&format!("/many/{number}"), "x")).collect();
    assert_eq!(write(&store, many).await, Revision(4));
    assert_eq!(next(&mut batches).await.unwrap().changes.len(), 100);
}

pub(crate) async fn refuses_what_makes_no_sense(store: Shared) {
    for writes in [vec![put("/a", "1"), put("/a", "2")], vec![put("", "1")]] {
        let refused = store.commit(Commit { conditions: Vec::new(), writes }).await;
        assert!(matches!(refused, Err(CommitError::Store(Error::Invalid { .. }))), "{refused:?}");
    }
    assert_eq!(store.revision().await, Ok(Revision(1)));
}

pub(crate) async fn expires(store: Shared) {
    let rounds = async { while !expires_in_its_time(&store).await {} };
    tokio::time::timeout(Duration::from_secs(60), rounds).await.expect("two writes within the time to live");
}

/// Whether it could be seen: not when the time to live was over before all was written. Then nothing of it is left.
async fn expires_in_its_time(store: &Shared) -> bool {
    const TIME_TO_LIVE: Duration = Duration::from_secs(2);
    let lives = |key: &str, ttl| Write::Put { key: key.to_owned(), value: bytes("x"), ttl: Some(ttl) };
    let begun = Instant::now();
    let first = write(store, [lives("/gone", TIME_TO_LIVE), lives("/kept", TIME_TO_LIVE)]).await;
    let mut batches = store.watch(first, Previous::Include);
    // A long time to live is no time at all for this test.
    let second = write(store, [put("/kept", "y"), lives("/long", Duration::from_secs(3600))]).await;
    let is_there = store.get("/gone", None).await.unwrap().0.is_some();
    if begun.elapsed() >= TIME_TO_LIVE {
        while store.get("/gone", None).await.unwrap().0.is_some() {
            next(&mut batches).await.unwrap();
        }
        write(store, [delete("/kept"), delete("/long")]).await;
        return false;
    }
    assert!(is_there, "it is still there at once");
    assert_eq!(short(&next(&mut batches).await.unwrap()), format!("{}: +/kept=y +/long=x", second.0));
    let expired = next(&mut batches).await.unwrap();
    assert_eq!(short(&expired), format!("{}: -/gone", second.0 + 1));
    assert_eq!(expired.changes[0].previous, Some(entry("/gone", "x", first.0, first.0, 1)));
    assert!(store.get("/gone", None).await.unwrap().0.is_none());
    assert_eq!(values(store, second.0 + 1).await.unwrap().join(" "), "/kept=y /long=x");
    true
}

pub(crate) async fn serves_many_writers(store: Shared) {
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

pub(crate) async fn takes_large_values(store: Shared) {
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
