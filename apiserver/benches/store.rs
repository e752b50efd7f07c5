//! What the embedded store and the watch cache cost: CPU a commit, reads, delivery to a hundred watchers, a start with
//! much data, and memory. `cargo bench -p apiserver --bench store`. Prints a table; figures are for comparing runs on one
//! machine. The number of objects of the large part is the first argument that is a number (default 100000).

use std::sync::Arc;
use std::time::{Duration, Instant};

use apiserver::cache::{Cache, Indexed, Indexer, Options, Resource, WatchFrom};
use apiserver::store::embedded::disk::Folder;
use apiserver::store::embedded::{self, Embedded};
use apiserver::store::{Commit, Store, Write};
use bytes::Bytes;
use component::clock::Clock;
use component::shutdown::Shutdown;

const PODS: Resource = Resource(1);
const PREFIX: &str = "/registry/pods/";
const COMMITS: usize = 4096;
const WATCHERS: usize = 100;
const EVENTS: usize = 500;

/// Indexes without decoding: what is measured is the cache.
struct Plain;

impl Indexer for Plain {
    fn resource(&self, key: &str) -> Option<Resource> {
        key.starts_with(PREFIX).then_some(PODS)
    }

    fn index(&self, _: Resource, _: &str, value: &Bytes) -> Result<Indexed, String> {
        let labels = [("app", "web"), ("pod-template-hash", "5d5d8f7c9b")].into_iter().collect();
        Ok(Indexed { body: value.clone(), labels, fields: ["node-1", "Running"].into_iter().collect() })
    }
}

/// As large as a stored pod.
fn object(number: usize) -> Bytes {
    let padding = "x".repeat(2000);
    format!(r#"{{"kind":"Pod","metadata":{{"name":"pod-{number}"}},"spec":{{"padding":"{padding}"}}}}"#).into()
}

/// CPU of all threads, in microseconds.
fn cpu() -> f64 {
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux");
    let times = threads.flatten().filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    });
    times.sum::<f64>() / 1e3
}

fn memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}

fn row(what: &str, figures: String) {
    println!("{what:<44} {figures}  (RSS {} KiB)", memory_kib());
}

async fn open(folder: &tempfile::TempDir) -> Arc<Embedded> {
    let disk = Arc::new(Folder::open(folder.path()).expect("a folder"));
    Arc::new(Embedded::start(disk, Clock::system(), embedded::Options::default()).await.expect("a store"))
}

async fn cached(store: &Arc<Embedded>) -> (Arc<Cache>, Shutdown) {
    let shutdown = Shutdown::new();
    let cache = Cache::start(store.clone(), Arc::new(Plain), Options::default(), shutdown.clone());
    cache.ready().await;
    (cache, shutdown)
}

/// Creates `count` objects from `clients` tasks; the latencies.
async fn create(store: &Arc<Embedded>, clients: usize, count: usize, name: &'static str) -> Vec<Duration> {
    let tasks = (0..clients).map(|client| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut latencies = Vec::new();
            for number in 0..count / clients {
                let begin = Instant::now();
                let key = format!("{PREFIX}default/{name}-{clients}-{client}-{number}");
                store.commit(Commit::create(key, object(number), None)).await.expect("a commit");
                latencies.push(begin.elapsed());
            }
            latencies
        })
    });
    let mut latencies = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        latencies.extend(task.await.expect("a task"));
    }
    latencies.sort();
    latencies
}

async fn commits(store: &Arc<Embedded>, cache: &Arc<Cache>) {
    for clients in [1, 4, 16, 32] {
        let (before, begin) = (cpu(), Instant::now());
        let latencies = create(store, clients, COMMITS, "c").await;
        cache.consistent().await.expect("the store answers");
        let per_commit = (cpu() - before) / COMMITS as f64;
        let rate = COMMITS as f64 / begin.elapsed().as_secs_f64();
        let (p50, p99) = (latencies[COMMITS / 2], latencies[COMMITS * 99 / 100]);
        row(
            &format!("create, {clients} clients: CPU a commit"),
            format!("{per_commit:.1} µs; {rate:.0}/s, p50 {p50:?}, p99 {p99:?}"),
        );
    }
}

fn reads(cache: &Cache) {
    const ROUNDS: u32 = 1000;
    let begin = Instant::now();
    let mut bytes = 0;
    for _ in 0..ROUNDS {
        bytes += cache.list(PODS, PREFIX).iter().take(3000).map(|item| item.body.len()).sum::<usize>();
    }
    row("walk a list of 3,000", format!("{:?}; {} bytes", begin.elapsed() / ROUNDS, bytes / ROUNDS as usize));
    let begin = Instant::now();
    let found = (0..ROUNDS * 100).filter(|_| cache.get(PODS, &format!("{PREFIX}default/c-1-0-5")).is_some()).count();
    row("get one", format!("{:?}; {found} found", begin.elapsed() / (ROUNDS * 100)));
}

async fn watches(store: &Arc<Embedded>, cache: &Arc<Cache>) {
    for (watchers, burst) in [(0, 1), (WATCHERS, 1), (0, 50), (WATCHERS, 50)] {
        let watching: Vec<_> = (0..watchers)
            .map(|_| {
                let mut watcher = cache.watch(PODS, PREFIX, WatchFrom::Now);
                tokio::spawn(async move {
                    let mut bytes = 0;
                    for _ in 0..EVENTS {
                        bytes += watcher.next().await.expect("an event").frame().len();
                    }
                    bytes
                })
            })
            .collect();
        let before = cpu();
        for first in (0..EVENTS).step_by(burst) {
            let commits = (first..first + burst).map(|number| {
                let key = format!("{PREFIX}default/w-{}", number % 100);
                let writes = vec![Write::Put { key, value: object(number), ttl: None }];
                store.commit(Commit { conditions: Vec::new(), writes })
            });
            futures::future::try_join_all(commits).await.expect("commits");
        }
        for watcher in watching {
            watcher.await.expect("a task");
        }
        cache.consistent().await.expect("the store answers");
        let per_event = (cpu() - before) / EVENTS as f64;
        row(&format!("event to {watchers} watchers, bursts of {burst}"), format!("{per_event:.1} µs CPU, all told"));
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let objects = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(100_000);
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(&folder).await;
    let (cache, shutdown) = cached(&store).await;
    row("at rest", String::new());
    commits(&store, &cache).await;
    reads(&cache);
    watches(&store, &cache).await;
    shutdown.trigger();
    drop(cache);

    let begin = Instant::now();
    create(&store, 64, objects, "f").await;
    row(&format!("fill with {objects}"), format!("{:?}", begin.elapsed()));
    store.close().await;
    drop(store);
    let begin = Instant::now();
    let store = open(&folder).await;
    row("open the store again", format!("{:?}; {:?}", begin.elapsed(), store.sizes()));
    let begin = Instant::now();
    let (cache, shutdown) = cached(&store).await;
    row("load the cache", format!("{:?}; {} objects", begin.elapsed(), cache.list(PODS, PREFIX).iter().count()));
    shutdown.trigger();
    store.close().await;
}
