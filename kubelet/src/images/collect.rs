//! Images that nothing uses go when their disk gets full, or when they are old (`pkg/kubelet/images/image_gc_manager.go`).
//!
//! Enter at [`Collector::run`] and, for evictions, [`Collector::delete_unused`]. [`choose`] decides, and is pure. Pinned
//! images and the sandbox's own never go.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError},
    time::Duration,
};

use component::{clock::Clock, recorder::Type, shutdown::Shutdown};
use jiff::Timestamp;
use k8s_cri::v1::Image;
use k8s_openapi::api::core::v1::Pod;

use crate::{
    eviction::image_folder,
    images::records::Records,
    node::machine::Space,
    pod::{node::Node, spec},
    reporting::Reporter,
    runtime::{Result, SharedRuntime},
};

/// How often images are looked at.
const PERIOD: Duration = Duration::from_secs(300);

/// When images go.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    pub age_min: Duration,
    /// Unused for longer than this they go in any case; None for never.
    pub age_max: Option<Duration>,
    pub high_percent: i64,
    pub low_percent: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    first_seen: Timestamp,
    /// The beginning of time while it was never used.
    last_used: Timestamp,
    size_bytes: i64,
    is_kept: bool,
}

/// See the module.
pub struct Collector {
    runtime: SharedRuntime,
    clock: Clock,
    policy: Policy,
    reporter: Reporter,
    pulls: Arc<Records>,
    started_at: Timestamp,
    records: std::sync::Mutex<HashMap<String, Record>>,
    /// One at a time: evictions and the period may meet.
    turn: tokio::sync::Mutex<()>,
}

impl Collector {
    pub fn new(runtime: SharedRuntime, clock: Clock, policy: Policy, reporter: Reporter, pulls: Arc<Records>) -> Self {
        let started_at = clock.now();
        let records = std::sync::Mutex::default();
        Self { runtime, clock, policy, reporter, pulls, started_at, records, turn: tokio::sync::Mutex::default() }
    }

    /// Looks every few minutes until shutdown.
    pub async fn run(self: Arc<Self>, node: Arc<Node>, shutdown: Shutdown) {
        let mut has_failed = false;
        loop {
            let result = self.collect(&node.running.list()).await;
            if let Err(error) = &result {
                tracing::warn!(%error, "images cannot be cleared away");
                // Once may be while the runtime starts.
                if has_failed {
                    self.reporter.node(Type::Warning, "ImageGCFailed", error.to_string());
                }
            }
            has_failed = result.is_err();
            if shutdown.run_until(tokio::time::sleep(PERIOD)).await.is_none() {
                return;
            }
        }
    }

    async fn collect(&self, pods: &[Arc<Pod>]) -> Result<()> {
        let _turn = self.turn.lock().await;
        let records = self.look(pods).await?;
        let now = self.clock.now();
        if let Some(age_max) = self.policy.age_max.filter(|age| age_of(self.started_at, now) > *age) {
            let is_old = |record: &Record| age_of(record.last_used.max(record.first_seen), now) > age_max;
            let old: Vec<String> =
                records.iter().filter(|(_, it)| !it.is_kept && is_old(it)).map(|(id, _)| id.clone()).collect();
            self.delete(&old, &records).await;
        }
        let Some(folder) = image_folder(self.runtime.as_ref()).await else { return Ok(()) };
        let wanted = to_free(&Space::of(&folder), self.policy);
        self.forget_gone(now).await?;
        if wanted > 0 {
            tracing::info!(bytes = wanted, "the disk of images is nearly full: unused images are removed");
            let chosen = choose(&records, wanted, self.policy.age_min, now);
            let freed = self.delete(&chosen, &records).await;
            if freed < wanted {
                let message = format!(
                    "Insufficient free disk space on the node's image filesystem. Failed to free sufficient space by \
                     deleting unused images (freed {freed} bytes). Investigate disk usage, as it could be used by \
                     active images, logs, volumes, or other data."
                );
                self.reporter.node(Type::Warning, "FreeDiskSpaceFailed", message);
            }
        }
        Ok(())
    }

    /// Images that are gone need no record of who may use them; one that was pulled since `now` may not be in the list yet.
    async fn forget_gone(&self, now: Timestamp) -> Result<()> {
        let images = self.runtime.list_images().await?;
        let ids: Vec<&str> = images.iter().map(|image| image.id.as_str()).collect();
        if let Err(error) = self.pulls.prune(&ids, now) {
            tracing::warn!(%error, "the records of images that are gone cannot be removed");
        }
        Ok(())
    }

    /// Removes every image that nothing uses, whatever its age.
    pub async fn delete_unused(&self) {
        let _turn = self.turn.lock().await;
        match self.look(&[]).await {
            Ok(records) => {
                let all = choose(&records, i64::MAX, Duration::ZERO, self.clock.now());
                let freed = self.delete(&all, &records).await;
                tracing::info!(bytes = freed, images = all.len(), "unused images were removed");
            }
            Err(error) => tracing::warn!(%error, "unused images cannot be removed"),
        }
    }

    /// Brings the records up to date with the runtime.
    async fn look(&self, pods: &[Arc<Pod>]) -> Result<HashMap<String, Record>> {
        let images = self.runtime.list_images().await?;
        let mut used: HashSet<String> = HashSet::new();
        for container in self.runtime.list_containers(None).await? {
            used.insert(container.image_ref);
            used.extend(container.image.map(|image| image.image));
        }
        for reference in pods.iter().flat_map(|pod| image_volumes(pod)) {
            used.extend(self.runtime.image_status(&reference).await?.map(|image| image.id));
        }
        // Older containerd does not tell of pins, nor pin the image of its sandboxes.
        let mut pinned: HashSet<String> = self.runtime.pinned_images().await?.into_iter().collect();
        pinned.extend(self.runtime.sandbox_image().await?);
        let now = self.clock.now();
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.retain(|id, _| images.iter().any(|image| image.id == *id));
        for image in &images {
            let is_used = names(image).any(|name| used.contains(name));
            let is_kept = image.pinned || is_used || names(image).any(|name| pinned.contains(name));
            let new = Record { first_seen: now, last_used: Timestamp::MIN, size_bytes: 0, is_kept };
            let record = records.entry(image.id.clone()).or_insert(new);
            record.is_kept = is_kept;
            record.size_bytes = i64::try_from(image.size).unwrap_or(i64::MAX);
            if is_used {
                record.last_used = now;
            }
        }
        Ok(records.clone())
    }

    /// Answers the bytes of the images that are gone.
    async fn delete(&self, ids: &[String], records: &HashMap<String, Record>) -> i64 {
        let mut freed = 0i64;
        for id in ids {
            match self.runtime.remove_image(id).await {
                Err(error) if !error.is_not_found() => tracing::warn!(%error, "an image cannot be removed"),
                _ => {
                    freed = freed.saturating_add(records.get(id).map_or(0, |it| it.size_bytes));
                    self.records.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
                }
            }
        }
        freed
    }
}

fn names(image: &Image) -> impl Iterator<Item = &str> {
    [&image.id].into_iter().chain(&image.repo_tags).chain(&image.repo_digests).map(String::as_str)
}

fn image_volumes(pod: &Pod) -> impl Iterator<Item = String> {
    let volumes = spec::spec(pod).volumes.iter().flatten();
    volumes.filter_map(|volume| volume.image.as_ref()?.reference.clone())
}

fn age_of(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

/// How many bytes too many are in use: none below the high mark, else those above the low mark.
fn to_free(space: &Space, policy: Policy) -> i64 {
    if space.total_bytes <= 0 {
        return 0;
    }
    let used_percent = 100 - space.available_bytes.min(space.total_bytes) * 100 / space.total_bytes;
    if used_percent < policy.high_percent {
        return 0;
    }
    (space.total_bytes / 100 * (100 - policy.low_percent) - space.available_bytes).max(0)
}

/// Images to remove until `bytes` are free: the longest unused first, then the oldest; none that is younger than `age_min`.
fn choose(records: &HashMap<String, Record>, bytes: i64, age_min: Duration, now: Timestamp) -> Vec<String> {
    let mut free: Vec<(&String, &Record)> =
        records.iter().filter(|(_, record)| !record.is_kept && age_of(record.first_seen, now) >= age_min).collect();
    free.sort_by_key(|(id, record)| (record.last_used, record.first_seen, (*id).clone()));
    let mut left = bytes;
    let enough = |(id, record): (&String, &Record)| {
        let wanted = left > 0;
        left = left.saturating_sub(record.size_bytes);
        wanted.then(|| id.clone())
    };
    free.into_iter().map_while(enough).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::fake::FakeRuntime;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn the_longest_unused_go_first_and_only_as_many_as_needed() {
        let record = |first_seen, last_used: Option<i64>, is_kept| Record {
            first_seen: at(first_seen),
            last_used: last_used.map_or(Timestamp::MIN, at),
            size_bytes: 100,
            is_kept,
        };
        let records: HashMap<String, Record> = [
            ("never", record(10, None, false)),
            ("older", record(0, Some(50), false)),
            ("newer", record(0, Some(60), false)),
            ("in use", record(0, Some(100), true)),
            ("young", record(990, None, false)),
        ]
        .map(|(id, record)| (id.to_owned(), record))
        .into();
        let age_min = Duration::from_secs(120);
        assert_eq!(choose(&records, 150, age_min, at(1000)), ["never", "older"]);
        assert_eq!(choose(&records, i64::MAX, age_min, at(1000)), ["never", "older", "newer"]);
        assert_eq!(choose(&records, i64::MAX, Duration::ZERO, at(1000)).len(), 4);
        assert!(choose(&records, 0, Duration::ZERO, at(1000)).is_empty());
    }

    #[test]
    fn space_is_freed_from_the_high_mark_down_to_the_low_one() {
        let policy = Policy { age_min: Duration::ZERO, age_max: None, high_percent: 85, low_percent: 80 };
        let space = |available_bytes| Space { total_bytes: 1000, available_bytes, ..Space::default() };
        assert_eq!(to_free(&space(160), policy), 0);
        assert_eq!(to_free(&space(150), policy), 50);
        assert_eq!(to_free(&space(0), policy), 200);
    }
    #[tokio::test]
    async fn pinned_images_stay_whoever_tells_of_it() {
        let runtime = Arc::new(FakeRuntime::default());
        let image = |id: &str, name: &str, pinned| Image {
            id: id.into(),
            repo_tags: vec![name.into()],
            size: 1,
            pinned,
            ..Image::default()
        };
        runtime.state().images =
            vec![image("a", "plain:1", false), image("b", "told:1", true), image("c", "loaded:1", false)];
        runtime.state().pinned = vec!["loaded:1".into()];
        let policy = Policy { age_min: Duration::ZERO, age_max: None, high_percent: 100, low_percent: 99 };
        let reporter = Reporter::new(component::recorder::Recorder::silent(), "node-1");
        let folder = tempfile::tempdir().expect("a folder");
        let pulls = Arc::new(Records::new(folder.path(), Clock::system()));
        Collector::new(runtime.clone(), Clock::system(), policy, reporter, pulls).delete_unused().await;
        let left: Vec<String> = runtime.state().images.iter().map(|it| it.id.clone()).collect();
        assert_eq!(left, ["b", "c"]);
    }
}
