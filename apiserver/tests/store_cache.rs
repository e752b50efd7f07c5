//! The watch cache against a store's truth: random writes, and every watcher's replay must end where the store is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apiserver::cache::{
    Cache, EventKind, Fields, Indexed, Indexer, Labels, Options, Resource, WatchEnd, WatchFrom, Watcher,
};
use apiserver::store::embedded::disk::Folder;
use apiserver::store::embedded::{self, Embedded};
use apiserver::store::{Commit, Error, RangeRequest, Revision, Store};
use bytes::Bytes;
use component::clock::Clock;
use component::random::Random;
use component::shutdown::Shutdown;

#[path = "store_common/breaking.rs"]
mod breaking;
#[path = "store_common/etcd.rs"]
mod etcd;

use breaking::Breaking;

const PODS: Resource = Resource(1);
const NODES: Resource = Resource(2);

/// Objects are `{"metadata":{…},"data":n}`; two resources.
struct Plain;

impl Indexer for Plain {
    fn resource(&self, key: &str) -> Option<Resource> {
        match key.split('/').nth(2) {
            Some("pods") => Some(PODS),
            Some("nodes") => Some(NODES),
            _ => None,
        }
    }

    fn index(&self, _: Resource, key: &str, value: &Bytes) -> Result<Indexed, String> {
        if value.as_ref() == b"broken" {
            return Err("broken".to_owned());
        }
        Ok(Indexed { body: value.clone(), labels: Labels::default(), fields: [key].into_iter().collect::<Fields>() })
    }
}

async fn store(folder: &tempfile::TempDir) -> Arc<dyn Store> {
    let disk = Arc::new(Folder::open(folder.path()).unwrap());
    Arc::new(Embedded::start(disk, Clock::system(), embedded::Options::default()).await.unwrap())
}

async fn ready(store: &Arc<dyn Store>, ring_bytes_max: usize) -> (Arc<Cache>, Shutdown) {
    let shutdown = Shutdown::new();
    let options = Options { ring_bytes_max, ..Options::default() };
    let cache = Cache::start(store.clone(), Arc::new(Plain), options, shutdown.clone());
    cache.ready().await;
    (cache, shutdown)
}

fn object(data: u64) -> Bytes {
    format!(r#"{{"metadata":{{"name":"a"}},"data":{data}}}"#).into()
}

fn served(data: u64, revision: Revision) -> String {
    format!(r#"{{"metadata":{{"resourceVersion":"{revision}","name":"a"}},"data":{data}}}"#) + "\n"
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.unwrap_or_else(|_| panic!("{what} took too long"))
}

fn text(body: &Bytes) -> String {
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_gets_and_watches() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let first = store.commit(Commit::create("/registry/pods/a/one", object(1), None)).await.unwrap();
    store.commit(Commit::create("/elsewhere/x", object(1), None)).await.unwrap();
    let (cache, shutdown) = ready(&store, 1 << 20).await;

    let item = cache.get(PODS, "/registry/pods/a/one").unwrap();
    assert_eq!(text(&item.body), served(1, first));
    assert_eq!(cache.list(NODES, "/registry/nodes/").iter().count(), 0);

    let (snapshot, mut watcher) = cache.list_and_watch(PODS, "/registry/pods/a/");
    let mut other = cache.watch(PODS, "/registry/pods/b/", WatchFrom::Now);
    assert_eq!(snapshot.revision(), Revision(3));
    let second = store.commit(Commit::create("/registry/pods/a/two", object(2), None)).await.unwrap();
    let changed = store.commit(Commit::update("/registry/pods/a/one", first, object(3), None)).await.unwrap();
    let gone = store.commit(Commit::delete("/registry/pods/a/two", second)).await.unwrap();

    let mut told = Vec::new();
    for _ in 0..3 {
        let event = within("an event", watcher.next()).await.unwrap();
        told.push((event.kind, event.revision, text(&event.item.body), event.previous.is_some()));
    }
    let want = [
        (EventKind::Added, second, served(2, second), false),
        (EventKind::Modified, changed, served(3, changed), true),
        (EventKind::Deleted, gone, served(2, gone), true),
    ];
    assert_eq!(told, want);
    assert_eq!(snapshot.iter().count(), 1, "a snapshot does not change");

    cache.consistent().await.unwrap();
    assert_eq!(cache.list(PODS, "/registry/pods/a/").iter().count(), 1);
    assert_eq!(other.progress(), gone, "a watcher that sees nothing still makes progress");
    assert!(other.at_hand().unwrap().is_none());

    let mut resumed = cache.watch(PODS, "/registry/pods/", WatchFrom::After(second));
    let event = within("a resumed event", resumed.next()).await.unwrap();
    assert_eq!(event.revision, changed);
    assert_eq!(
        text(&event.frame()),
        format!("{{\"type\":\"MODIFIED\",\"object\":{}}}\n", served(3, changed).trim_end())
    );

    shutdown.trigger();
    // Also for who asked before, and passed over it.
    for _ in 0..2 {
        assert!(matches!(within("the end", watcher.next()).await, Err(WatchEnd::Closed { .. })));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_absent() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let key = "/registry/pods/a/one";
    let first = store.commit(Commit::create(key, object(1), None)).await.unwrap();
    let (cache, _shutdown) = ready(&store, 1 << 20).await;
    let mut watcher = cache.watch(PODS, "/registry/pods/", WatchFrom::Now);
    let broken = store.commit(Commit::update(key, first, Bytes::from_static(b"broken"), None)).await.unwrap();
    let event = within("the event", watcher.next()).await.unwrap();
    assert_eq!((event.kind, event.revision), (EventKind::Deleted, broken));
    assert!(cache.get(PODS, key).is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn later_pages_are_of_the_first_ones_revision() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    for name in ["a", "b", "c"] {
        store.commit(Commit::create(format!("/registry/pods/x/{name}"), object(1), None)).await.unwrap();
    }
    let (cache, _shutdown) = ready(&store, 1 << 20).await;
    let snapshot = cache.list(PODS, "/registry/pods/");
    let forgotten = cache.list(PODS, "/registry/pods/").revision();
    store.commit(Commit::delete("/registry/pods/x/c", Revision(4))).await.unwrap();
    cache.consistent().await.unwrap();
    let keys = |snapshot: &apiserver::cache::Snapshot| {
        snapshot.iter_after("/registry/pods/x/a").map(|item| item.key.to_string()).collect::<Vec<_>>()
    };
    let want = ["/registry/pods/x/b", "/registry/pods/x/c"];
    let from_store = cache.list_at(PODS, "/registry/pods/", "/registry/pods/x/a", forgotten).await.unwrap();
    assert_eq!(keys(&from_store), want);
    cache.keep(PODS, &snapshot);
    store.compact(snapshot.revision()).await.unwrap();
    cache.forget_before(snapshot.revision());
    let kept = cache.list_at(PODS, "/registry/pods/", "/registry/pods/x/a", snapshot.revision()).await.unwrap();
    assert_eq!(keys(&kept), want);
    assert!(cache.list_at(PODS, "/registry/pods/", "", Revision(2)).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_lists_end_with_the_stores_history() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    store.commit(Commit::create("/registry/pods/x/a", object(1), None)).await.unwrap();
    let (cache, _shutdown) = ready(&store, 1 << 20).await;
    let list = cache.list(PODS, "/registry/pods/");
    cache.keep(PODS, &list);
    // Nothing of pods changes any more, so that their newest list would do for the old one.
    store.commit(Commit::create("/registry/nodes/n", object(1), None)).await.unwrap();
    let oldest = cache.consistent().await.unwrap();
    cache.forget_before(oldest);
    let error = cache.list_at(PODS, "/registry/pods/", "", list.revision()).await.unwrap_err();
    assert!(matches!(error, Error::Compacted { oldest: told } if told == oldest), "{error}");
    assert!(cache.list_at(PODS, "/registry/pods/", "", oldest).await.is_ok());
}

/// What a watcher believes to exist.
struct Replay {
    watcher: Watcher,
    objects: BTreeMap<String, (Revision, String)>,
    prefix: &'static str,
    history: Vec<(EventKind, Revision, String)>,
}

impl Replay {
    /// Takes events up to the one at `revision`, checking that each one fits what was there before.
    async fn until(&mut self, revision: Revision) {
        while self.history.last().is_none_or(|(_, last, _)| *last < revision) {
            let event = within("an event", self.watcher.next()).await.unwrap();
            let key = event.item.key.to_string();
            assert!(key.starts_with(self.prefix));
            let last = self.history.last().map_or(Revision(0), |(_, revision, _)| *revision);
            assert!(event.revision >= last, "events go backwards");
            let before = self.objects.get(&key).cloned();
            let previous = event.previous.as_ref().map(|item| (item.revision, text(&item.body)));
            assert_eq!(previous, before, "previous of {key} at {}", event.revision);
            assert_eq!(event.kind == EventKind::Added, before.is_none());
            if event.kind == EventKind::Deleted {
                self.objects.remove(&key);
            } else {
                self.objects.insert(key.clone(), (event.revision, text(&event.item.body)));
            }
            self.history.push((event.kind, event.revision, key));
        }
    }
}

async fn truth(store: &Arc<dyn Store>, prefix: &str, at: Revision) -> BTreeMap<String, (Revision, String)> {
    let range = store.range(RangeRequest::prefix(prefix).at(at)).await.unwrap();
    let entries = range.entries.into_iter().map(|entry| {
        let data: serde_json::Value = serde_json::from_slice(&entry.value).unwrap();
        (entry.key, (entry.modified, served(data["data"].as_u64().unwrap(), entry.modified)))
    });
    entries.collect()
}

/// One or two random writes.
async fn write(store: &Arc<dyn Store>, random: &Random) -> Revision {
    use apiserver::store::Write;
    let mut writes: Vec<Write> = Vec::new();
    for _ in 0..=random.u64() % 2 {
        let kind = if random.u64().is_multiple_of(4) { "nodes" } else { "pods" };
        let key = format!("/registry/{kind}/{}/{}", ["a", "b"][(random.u64() % 2) as usize], random.u64() % 8);
        if writes.iter().all(|write| write.key() != key) {
            writes.push(match random.u64() % 3 {
                0 => Write::Delete { key },
                _ => Write::Put { key, value: object(random.u64() % 1000), ttl: None },
            });
        }
    }
    store.commit(Commit { conditions: Vec::new(), writes }).await.unwrap()
}

/// A write that every watcher is told of.
async fn sentinel(store: &Arc<dyn Store>) -> Revision {
    use apiserver::store::Write;
    let keys = ["/registry/pods/a/last", "/registry/nodes/last"];
    let writes = keys.map(|key| Write::Put { key: key.to_owned(), value: object(0), ttl: None });
    store.commit(Commit { conditions: Vec::new(), writes: writes.into() }).await.unwrap()
}

async fn history(store: Arc<dyn Store>, seed: u64, ring_bytes_max: usize) {
    let random = Random::seeded(seed);
    let (cache, _shutdown) = ready(&store, ring_bytes_max).await;
    let mut replays: Vec<Replay> = Vec::new();
    for step in 0..400 {
        let mut newest = write(&store, &random).await;
        if step % 40 == 7 {
            let (resource, prefix) =
                [(PODS, "/registry/pods/"), (PODS, "/registry/pods/a/"), (NODES, "/registry/nodes/")]
                    [(random.u64() % 3) as usize];
            // Some from a list, some from the beginning of history, some from in between.
            let (snapshot, watcher) = cache.list_and_watch(resource, prefix);
            let objects =
                snapshot.iter().map(|item| (item.key.to_string(), (item.revision, text(&item.body)))).collect();
            replays.push(Replay { watcher, objects, prefix, history: Vec::new() });
            for after in [Revision(1), Revision(1 + random.u64() % newest.0)] {
                let objects = truth(&store, prefix, after).await;
                let watcher = cache.watch(resource, prefix, WatchFrom::After(after));
                replays.push(Replay { watcher, objects, prefix, history: Vec::new() });
            }
        }
        // Some keep up, some fall behind.
        if step % 5 == 4 {
            newest = sentinel(&store).await;
            for (_, replay) in replays.iter_mut().enumerate().filter(|(at, _)| step % 50 == 49 || at % 3 == 0) {
                replay.until(newest).await;
            }
        }
    }
    let newest = sentinel(&store).await;
    cache.wait_for(newest).await;
    for replay in &mut replays {
        replay.until(newest).await;
        assert_eq!(replay.watcher.progress(), newest, "seed {seed}");
        assert_eq!(replay.objects, truth(&store, replay.prefix, newest).await, "seed {seed}");
    }
    // All who watch the same from the start were told the same.
    for prefix in ["/registry/pods/", "/registry/pods/a/", "/registry/nodes/"] {
        let mut same = replays.iter().filter(|replay| replay.prefix == prefix);
        let Some(longest) = same.clone().max_by_key(|replay| replay.history.len()) else { continue };
        assert!(same.all(|replay| longest.history.ends_with(&replay.history)), "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_replay_ends_at_the_truth() {
    for seed in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        history(store(&folder).await, seed, 1 << 20).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_replay_ends_at_the_truth_with_a_ring_of_a_few_events() {
    for seed in 10..14 {
        let folder = tempfile::tempdir().unwrap();
        history(store(&folder).await, seed, 4 << 10).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_replay_ends_at_the_truth_on_etcd() {
    for (seed, ring_bytes_max) in [(20, 1 << 20), (21, 4 << 10)] {
        let Some(server) = etcd::Server::start() else { return };
        history(server.store().await, seed, ring_bytes_max).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goes_on_when_etcd_comes_back() {
    let Some(server) = etcd::Server::start() else { return };
    let store = server.store().await;
    let (cache, _shutdown) = ready(&store, 1 << 20).await;
    let mut watcher = cache.watch(PODS, "/registry/pods/", WatchFrom::Now);
    let server = server.restart();
    let other = server.store().await;
    let revision = other.commit(Commit::create("/registry/pods/a/one", object(1), None)).await.unwrap();
    assert_eq!(within("an event", watcher.next()).await.unwrap().revision, revision);
    assert_eq!(within("a consistent read", cache.consistent()).await, Ok(revision));
}

#[tokio::test]
async fn reads_of_a_cache_that_has_ended_do_not_wait() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = store(&folder).await;
    let (cache, shutdown) = ready(&store, 1 << 20).await;
    let mut watcher = cache.watch(PODS, "/registry/pods/", WatchFrom::Now);
    assert!(cache.consistent().await.is_ok());
    shutdown.trigger();
    assert!(matches!(within("the end", watcher.next()).await, Err(WatchEnd::Closed { .. })));
    assert!(cache.consistent().await.is_ok(), "it has seen all there is");
    store.commit(Commit::create("/registry/pods/a/one", object(1), None)).await.unwrap();
    assert!(matches!(within("an answer", cache.consistent()).await, Err(Error::Unavailable { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loads_anew_when_the_watch_cannot_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let broken = Arc::new(tokio::sync::Notify::new());
    let store: Arc<dyn Store> = Arc::new(Breaking { store: store(&folder).await, broken: broken.clone() });
    let (cache, _shutdown) = ready(&store, 1 << 20).await;
    let key = "/registry/pods/a/one";
    let first = store.commit(Commit::create(key, object(1), None)).await.unwrap();
    cache.consistent().await.unwrap();
    let mut watcher = cache.watch(PODS, "/registry/pods/", WatchFrom::Now);
    broken.notify_one();
    assert!(matches!(within("the end", watcher.next()).await, Err(WatchEnd::Closed { .. })));
    let second = store.commit(Commit::update(key, first, object(2), None)).await.unwrap();
    within("the load", cache.wait_for(second)).await;
    assert_eq!(text(&cache.get(PODS, key).unwrap().body), served(2, second));
    // What came before is taken from the store's history, what comes from the ring.
    let mut resumed = cache.watch(PODS, "/registry/pods/", WatchFrom::After(Revision(1)));
    store.commit(Commit::delete(key, second)).await.unwrap();
    for kind in [EventKind::Added, EventKind::Modified, EventKind::Deleted] {
        assert_eq!(within("an event", resumed.next()).await.unwrap().kind, kind);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_older_than_the_stores_history_is_expired() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let random = Random::seeded(1);
    let (cache, _shutdown) = ready(&store, 1 << 10).await;
    let mut newest = Revision(1);
    for _ in 0..100 {
        newest = write(&store, &random).await;
    }
    store.compact(newest).await.unwrap();
    cache.wait_for(newest).await;
    let mut watcher = cache.watch(PODS, "/registry/pods/", WatchFrom::After(Revision(2)));
    let end = within("the end", watcher.next()).await;
    assert_eq!(end.unwrap_err(), WatchEnd::Expired { after: Revision(2), oldest: newest });
}
