//! The embedded store on a disk that loses everything since the last sync, cut at every change of the disk: what was
//! acknowledged is there, what was not is whole or absent, and what was once seen absent stays so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apiserver::store::embedded::disk::Disk;
use apiserver::store::embedded::{Embedded, Options};
use apiserver::store::{Change, ChangeKind, Commit, CommitError, Previous, RangeRequest, Revision, Store, Write};
use component::clock::Clock;
use component::random::Random;
use futures::StreamExt;
use futures::future::join_all;

mod disk;

use disk::Faulty;

/// Small, so that segments are closed, merged and made ready all the time.
const OPTIONS: Options = Options { segment_bytes_max: 2048, room_bytes: 256, tail_bytes_max: 512 };

type Keys = BTreeMap<String, String>;

/// A value in short: all its bytes are one letter.
fn short(value: &[u8]) -> String {
    let letter = value.first().map_or('-', |letter| char::from(*letter));
    assert!(value.iter().all(|byte| char::from(*byte) == letter), "a value is torn");
    format!("{} {letter}", value.len())
}

/// What the store must hold.
#[derive(Clone, Default)]
struct Truth {
    /// The keys at each revision since the start of history.
    at: BTreeMap<u64, Keys>,
    compacted: u64,
}

impl Truth {
    fn newest(&self) -> u64 {
        self.at.keys().next_back().copied().unwrap_or(1)
    }

    fn keys(&self) -> Keys {
        self.at.values().next_back().cloned().unwrap_or_default()
    }

    fn apply(&mut self, revision: u64, writes: &[Write]) {
        let mut keys = self.keys();
        for write in writes {
            match write {
                Write::Put { key, value, .. } => keys.insert(key.clone(), short(value)),
                Write::Delete { key } => keys.remove(key),
            };
        }
        self.at.insert(revision, keys);
    }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.unwrap_or_else(|_| panic!("{what} took too long"))
}

async fn keys(store: &Embedded, at: Option<u64>) -> Keys {
    let request = RangeRequest { at: at.map(Revision), ..RangeRequest::everything() };
    let range = store.range(request).await.unwrap();
    range.entries.into_iter().map(|entry| (entry.key, short(&entry.value))).collect()
}

/// Random writes of one commit, of keys that end in `lane`: commits that are under way together do not meet. Even ones are
/// of the same size: after a torn record an older one then lies where the next would begin.
fn writes(random: &Random, lane: u64, even: bool) -> Vec<Write> {
    let mut writes: Vec<Write> = Vec::new();
    for _ in 0..if even { 1 } else { 1 + random.u64() % 3 } {
        let key = format!("/registry/{}/{lane}", random.u64() % 5);
        if writes.iter().all(|write| write.key() != key) {
            let size = if even { 60 } else { random.u64() % 300 };
            let value = vec![b'a' + (random.u64() % 26) as u8; size as usize];
            writes.push(match random.u64() % 4 {
                0 if !even => Write::Delete { key },
                _ => Write::Put { key, value: value.into(), ttl: None },
            });
        }
    }
    writes
}

/// Commits that may or may not have happened, when the power failed under them.
type Unknown = Vec<Vec<Write>>;

/// Works until done, or until the power fails.
async fn work(store: &Embedded, truth: &mut Truth, random: &Random, steps: u64, even: bool) -> Unknown {
    for step in 0..steps {
        if step % 12 == 11 {
            let at = truth.compacted + (truth.newest() - truth.compacted) / 2;
            if store.compact(Revision(at)).await.is_err() {
                // It may have been written down; then older history is gone.
                truth.compacted = at.max(truth.compacted);
                return Vec::new();
            }
            truth.compacted = at.max(truth.compacted);
            continue;
        }
        let group: Vec<Vec<Write>> = (0..=random.u64() % 3).map(|lane| writes(random, lane, even)).collect();
        let commits =
            group.iter().map(|writes| store.commit(Commit { conditions: Vec::new(), writes: writes.clone() }));
        let answers = within("a commit", join_all(commits)).await;
        let mut done: Vec<(u64, &Vec<Write>)> = Vec::new();
        let mut unknown = Vec::new();
        for (answer, writes) in answers.into_iter().zip(&group) {
            match answer {
                // Nothing changed: it has the revision of another.
                Ok(Revision(revision)) if changes(&truth.keys(), writes) => done.push((revision, writes)),
                Ok(_) => {}
                Err(CommitError::Store(_)) => unknown.push(writes.clone()),
                Err(CommitError::Conflict { key, .. }) => panic!("{key} conflicts"),
            }
        }
        done.sort_by_key(|(revision, _)| *revision);
        for (revision, writes) in done {
            assert_eq!(revision, truth.newest() + 1);
            truth.apply(revision, writes);
        }
        if !unknown.is_empty() {
            return unknown;
        }
    }
    Vec::new()
}

fn changes(keys: &Keys, writes: &[Write]) -> bool {
    writes.iter().any(|write| matches!(write, Write::Put { .. }) || keys.contains_key(write.key()))
}

/// The store after a power failure: equal to the truth and some of the unknown, each whole.
async fn check(store: &Embedded, truth: &mut Truth, unknown: Unknown, context: &str) {
    let newest = store.revision().await.unwrap().0;
    assert!(newest >= truth.newest(), "{context}: acknowledged commits are lost");
    // What has survived of the unknown is told by the history; each batch must be one of them, whole.
    let mut batches = store.watch(Revision(truth.newest()), Previous::Omit);
    let mut left: Vec<Option<Vec<Write>>> = unknown.into_iter().map(Some).collect();
    for revision in truth.newest() + 1..=newest {
        let batch = within("a batch", batches.next()).await.unwrap().unwrap();
        assert_eq!(batch.revision.0, revision, "{context}");
        let before = truth.keys();
        let same = left.iter_mut().find(|writes| {
            writes.as_ref().is_some_and(|writes| {
                let effective: Vec<&Write> = writes.iter().filter(|write| is_change(&before, write)).collect();
                effective.len() == batch.changes.len()
                    && effective.iter().zip(&batch.changes).all(|(write, change)| is_same(write, change))
            })
        });
        let writes = same.and_then(Option::take).unwrap_or_else(|| panic!("{context}: {batch:?} was never asked for"));
        truth.apply(revision, &writes);
    }
    assert_eq!(keys(store, None).await, truth.keys(), "{context}");
    for (revision, want) in truth.at.range(truth.compacted.max(2)..) {
        assert_eq!(&keys(store, Some(*revision)).await, want, "{context}: at revision {revision}");
    }
    let mut batches = store.watch(Revision(truth.compacted.max(1)), Previous::Omit);
    for revision in truth.compacted.max(1) + 1..=truth.newest() {
        let batch = within("a batch", batches.next()).await.unwrap().unwrap();
        assert_eq!(batch.revision.0, revision, "{context}");
    }
}

fn is_change(keys: &Keys, write: &Write) -> bool {
    matches!(write, Write::Put { .. }) || keys.contains_key(write.key())
}

fn is_same(write: &Write, change: &Change) -> bool {
    write.key() == change.key
        && match (write, &change.kind) {
            (Write::Put { value, .. }, ChangeKind::Put { value: found, .. }) => value == found,
            (Write::Delete { .. }, ChangeKind::Delete) => true,
            _ => false,
        }
}

async fn open(disk: &Faulty, context: &str) -> Option<Embedded> {
    match Embedded::start(Arc::new(disk.clone()), Clock::system(), OPTIONS).await {
        Ok(store) => Some(store),
        // The power may fail while the log is read: a torn tail is being cut off.
        Err(_) if disk.crashed() => None,
        Err(error) => panic!("{context}: {error}"),
    }
}

/// Three lives of a store: each crashes at its `cut`th change of the disk.
async fn lives(seed: u64, cut: u64) {
    let random = Random::seeded(seed.wrapping_mul(1_000_003) + cut);
    let even = seed % 2 == 1;
    let mut disk = Faulty::default();
    let (mut truth, mut unknown) = (Truth::default(), Unknown::new());
    for life in 0..3 {
        let context = format!("seed {seed}, cut at {cut}, life {life}");
        disk.crash_at(1 + (cut + life * 7) % 150);
        if let Some(store) = open(&disk, &context).await {
            if !disk.crashed() {
                check(&store, &mut truth, std::mem::take(&mut unknown), &context).await;
                unknown = work(&store, &mut truth, &random, 60, even).await;
            }
            store.close().await;
        }
        disk = disk.after_power_failure(&random);
    }
    let context = format!("seed {seed}, cut at {cut}, at last");
    let store = open(&disk, &context).await.expect("no failure is planned");
    check(&store, &mut truth, unknown, &context).await;
    assert!(work(&store, &mut truth, &random, 30, even).await.is_empty());
    store.close().await;
    let store = open(&disk, &context).await.expect("no failure is planned");
    check(&store, &mut truth, Vec::new(), &context).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_cut_keeps_what_was_acknowledged() {
    for seed in 0..2 {
        for cut in 0..150 {
            lives(seed, cut).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merging_gives_room_back() {
    let disk = Faulty::default();
    let store = open(&disk, "").await.unwrap();
    let (mut truth, random) = (Truth::default(), Random::seeded(3));
    for round in 0..20 {
        assert!(work(&store, &mut truth, &random, 40, false).await.is_empty());
        store.compact(Revision(truth.newest())).await.unwrap();
        truth.compacted = truth.newest();
        let sizes = store.sizes();
        // 15 keys of at most 300 bytes, twice over for what merging leaves alone, and the segment being written.
        assert!(sizes.log_bytes < 2 * 15 * 400 + 3 * OPTIONS.segment_bytes_max, "round {round}: {sizes:?}");
        let files = disk.names().unwrap();
        assert!(files.len() < 12, "round {round}: {files:?}");
    }
    assert!(disk.calls() > 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_whose_disk_fails_refuses_writes_and_still_reads() {
    let disk = Faulty::default();
    let store = open(&disk, "").await.unwrap();
    let put = |value: &'static str| Commit::create(format!("/{value}"), value.into(), None);
    store.commit(put("a")).await.unwrap();
    disk.crash_at(1);
    for _ in 0..2 {
        assert!(matches!(store.commit(put("b")).await, Err(CommitError::Store(_))));
    }
    assert!(store.compact(Revision(2)).await.is_err());
    assert_eq!(store.revision().await, Ok(Revision(2)));
    assert_eq!(keys(&store, None).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_got_over() {
    let disk = Faulty::default();
    let store = open(&disk, "").await.unwrap();
    let mut made = 0;
    for round in 0..12 {
        disk.fill(round % 2 == 1);
        for number in 0..20 {
            let size = if number % 2 == 0 { 300 } else { 10 };
            let key = format!("/{round}/{number}");
            match store.commit(Commit::create(&key, vec![b'x'; size].into(), None)).await {
                Ok(_) => made += 1,
                Err(error) => assert!(round % 2 == 1, "{key}: {error}"),
            }
        }
    }
    disk.fill(false);
    store.commit(Commit::create("/last", "x".into(), None)).await.unwrap();
    assert!((100..240).contains(&made), "some were refused: {made}");
    store.close().await;
    let store = open(&disk, "after").await.unwrap();
    assert_eq!(store.revision().await, Ok(Revision(made + 2)));
    assert_eq!(keys(&store, None).await.len() as u64, made + 1);
}
