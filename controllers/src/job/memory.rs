//! What the Job controller remembers between syncs: what its watches have yet to show, and failures to back off from.
//!
//! All of it may be lost at any time: the API's objects alone decide what is counted. What is remembered only keeps a
//! sync from acting on a cache that is behind the controller's own writes.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use component::informer::Event;
use component::key::Key;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;

use super::backoff::Record;
use super::facts;
use crate::common::expectations::Expectations;
use crate::common::pod::Pod;
use crate::common::written::version;

#[derive(Default)]
pub(super) struct Memory {
    pub(super) expectations: Expectations,
    of: Mutex<HashMap<Key, OfJob>>,
}

#[derive(Default)]
struct OfJob {
    record: Record,
    /// UIDs of pods whose finalizer was taken, until the watch shows it.
    removals: HashSet<String>,
    /// UID and resource version of the status written last.
    written: Option<(Option<String>, u64)>,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, OfJob>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<R>(&self, key: &Key, f: impl FnOnce(&mut OfJob) -> R) -> R {
        f(self.lock().entry(key.clone()).or_default())
    }

    pub(super) fn forget(&self, key: &Key) {
        self.expectations.forget(key);
        self.lock().remove(key);
    }

    pub(super) fn record(&self, key: &Key) -> Record {
        self.lock().get(key).map(|job| job.record).unwrap_or_default()
    }

    pub(super) fn set_record(&self, key: &Key, record: Record) {
        self.with(key, |job| job.record = record);
    }

    pub(super) fn expected_removals(&self, key: &Key) -> HashSet<String> {
        self.lock().get(key).map(|job| job.removals.clone()).unwrap_or_default()
    }

    pub(super) fn expect_removals(&self, key: &Key, pods: &[impl AsRef<Pod>]) {
        self.with(key, |job| job.removals.extend(pods.iter().map(|p| facts::uid(p.as_ref()).to_owned())));
    }

    pub(super) fn removal_observed(&self, key: &Key, pod: &Pod) {
        if let Some(job) = self.lock().get_mut(key) {
            job.removals.remove(facts::uid(pod));
        }
    }

    pub(super) fn wrote(&self, key: &Key, job: &Job) {
        let version = version(&job.metadata);
        self.with(key, |known| known.written = version.map(|version| (job.uid(), version)));
    }

    /// Whether the cached Job is older than the status that we wrote: its counts would be the old ones beside pods that
    /// are counted already, and one pod too many would be made.
    pub(super) fn is_stale(&self, key: &Key, cached: &Job) -> bool {
        let lock = self.lock();
        let written = lock.get(key).and_then(|job| job.written.as_ref());
        let of_this = written.filter(|(uid, _)| *uid == cached.uid()).map(|(_, version)| *version);
        of_this.zip(version(&cached.metadata)).is_some_and(|(written, cached)| cached < written)
    }

    /// Takes note of what a pod's event shows about what was expected of the pods of the Job `key`.
    pub(super) fn pod_event(&self, key: &Key, event: &Event<Pod>) {
        let pod = event.object();
        let going = pod.metadata.deletion_timestamp.is_some() || matches!(event, Event::Deleted(_));
        if going {
            self.expectations.deletion_observed(key, &pod.name_any());
        } else if matches!(event, Event::Added(_)) {
            self.expectations.creation_observed(key);
        }
        if matches!(event, Event::Deleted(_)) || !facts::is_tracked(pod) {
            self.removal_observed(key, pod);
        }
    }
}
