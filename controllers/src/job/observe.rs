//! What a sync sees of a Job: its pods sorted and counted against what the status has counted already.
//!
//! Pure. Concepts: "Jobs", "Job tracking with finalizers". A pod counts as new as long as it has the tracking finalizer
//! and is neither in `uncountedTerminatedPods` nor about to lose the finalizer by our own hand.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};

use super::backoff::Record;
use super::facts::{self, index_of, is_failed, is_tracked, uid};
use super::intervals::Intervals;
use super::policy;
use crate::common::pod::Pod;
use crate::common::pods;

/// What a sync is given.
pub(super) struct Input {
    pub(super) job: Arc<Job>,
    /// The pods that the Job owns.
    pub(super) pods: Vec<Arc<Pod>>,
    /// UIDs of pods whose finalizer we took, and whose cached copy still has it.
    pub(super) expected_removals: HashSet<String>,
    /// Failures up to the last sync.
    pub(super) record: Record,
    /// Whether the cache shows all that we created and deleted.
    pub(super) caught_up: bool,
    pub(super) now: Timestamp,
}

pub(super) struct Observed {
    pub(super) job: Arc<Job>,
    pub(super) spec: JobSpec,
    pub(super) status: JobStatus,
    /// Of Indexed Jobs by index.
    pub(super) pods: Vec<Arc<Pod>>,
    pub(super) active: Vec<Arc<Pod>>,
    pub(super) ready: i32,
    pub(super) terminating: i32,
    pub(super) succeeded: i32,
    pub(super) failed: i32,
    pub(super) indexes: Option<Indexes>,
    pub(super) record: Record,
    pub(super) caught_up: bool,
    pub(super) now: Timestamp,
    expected_removals: HashSet<String>,
}

/// What Indexed Jobs have besides.
pub(super) struct Indexes {
    /// Those that the status has counted.
    pub(super) before: Intervals,
    pub(super) succeeded: Intervals,
    /// Only with a limit per index.
    pub(super) failed: Option<Intervals>,
    /// Of each index that waits for its next pod the one that failed last: it keeps its finalizer until then, since its
    /// annotations hold the count of failures.
    pub(super) waiting: BTreeMap<i32, Arc<Pod>>,
}

/// None for a Job without a spec, which the API lets nobody make.
pub(super) fn observe(input: Input) -> Option<Observed> {
    let Input { job, mut pods, expected_removals, record, caught_up, now } = input;
    let spec = job.spec.clone()?;
    let mut status = job.status.clone().unwrap_or_default();
    status.uncounted_terminated_pods.get_or_insert_default();
    if facts::is_indexed(&spec) {
        pods.sort_by_key(|pod| facts::completion_index(pod));
    }
    let active: Vec<_> = pods.iter().filter(|p| pods::is_active(p)).cloned().collect();
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let mut observed = Observed {
        ready: count(active.iter().filter(|p| pods::is_ready(p)).count()),
        terminating: count(pods.iter().filter(|p| pods::is_terminating(p)).count()),
        succeeded: 0,
        failed: 0,
        indexes: None,
        record,
        caught_up,
        now,
        expected_removals,
        job,
        spec,
        status,
        pods,
        active,
    };
    let (succeeded, failed) = observed.newly_ended();
    let counted = |pod: &&Arc<Pod>| policy::verdict(&observed.spec, pod).counts;
    let uncounted = observed.status.uncounted_terminated_pods.as_ref();
    let uncounted = |list: fn(&_) -> &Option<Vec<String>>| uncounted.map_or(0, |u| list(u).iter().flatten().count());
    let of_status = observed.status.succeeded.unwrap_or(0) + count(uncounted(|u| &u.succeeded) + succeeded.len());
    let new_failures = failed.iter().filter(counted).count();
    observed.failed = observed.status.failed.unwrap_or(0) + count(uncounted(|u| &u.failed) + new_failures);
    observed.record = observed.record.after(&succeeded, &failed);
    observed.indexes = facts::is_indexed(&observed.spec).then(|| observed.indexes());
    observed.succeeded = observed.indexes.as_ref().map_or(of_status, |i| i.succeeded.total());
    Some(observed)
}

impl Observed {
    /// Whether the pod's end is still to be counted.
    pub(super) fn is_open(&self, pod: &Pod) -> bool {
        is_tracked(pod) && !self.expected_removals.contains(uid(pod))
    }

    fn newly_ended(&self) -> (Vec<Arc<Pod>>, Vec<Arc<Pod>>) {
        let uncounted = self.status.uncounted_terminated_pods.clone().unwrap_or_default();
        let known = |list: &Option<Vec<String>>, pod: &Pod| list.iter().flatten().any(|u| u == uid(pod));
        let of_job = |pod: &Pod| !facts::is_indexed(&self.spec) || index_of(pod, &self.spec).is_some();
        let open = || self.pods.iter().filter(|p| self.is_open(p) && of_job(p)).cloned();
        let succeeded = open().filter(|p| pods::phase(p) == "Succeeded" && !known(&uncounted.succeeded, p));
        let failed = open().filter(|p| is_failed(p, &self.spec) && !known(&uncounted.failed, p));
        (succeeded.collect(), failed.collect())
    }

    fn indexes(&self) -> Indexes {
        let spec = &self.spec;
        let completions = facts::indexes(spec);
        let of = |is: &dyn Fn(&Pod) -> bool| -> BTreeSet<i32> {
            let tracked = self.pods.iter().filter(|p| is_tracked(p) && is(p));
            tracked.filter_map(|p| index_of(p, spec)).collect()
        };
        let before = Intervals::parse(self.status.completed_indexes.as_deref().unwrap_or_default(), completions);
        let succeeded = before.with(&of(&|p| pods::phase(p) == "Succeeded"));
        let failed = spec.backoff_limit_per_index.map(|limit| {
            let counted = Intervals::parse(self.status.failed_indexes.as_deref().unwrap_or_default(), completions);
            counted.with(&of(&|p| is_index_failed(p, spec, limit)))
        });
        let waiting = failed.as_ref().map(|failed| self.waiting(&succeeded.merge(failed))).unwrap_or_default();
        Indexes { before, succeeded, failed, waiting }
    }

    fn waiting(&self, done: &Intervals) -> BTreeMap<i32, Arc<Pod>> {
        let active: BTreeSet<i32> = self.active.iter().filter_map(|p| facts::completion_index(p)).collect();
        let order = |pod: &Pod| {
            let (counted, ignored) = facts::failures_before(pod);
            (counted.saturating_add(ignored), facts::finished_at(pod))
        };
        let mut waiting: BTreeMap<i32, Arc<Pod>> = BTreeMap::new();
        for pod in self.pods.iter().filter(|p| self.is_open(p) && is_failed(p, &self.spec)) {
            let index = index_of(pod, &self.spec).filter(|i| !done.has(*i) && !active.contains(i));
            let Some(index) = index else { continue };
            let later = waiting.get(&index).is_none_or(|known| {
                let (known, this) = (order(known), order(pod));
                known.0 <= this.0 && known.1 <= this.1
            });
            if later {
                waiting.insert(index, pod.clone());
            }
        }
        waiting
    }
}

fn is_index_failed(pod: &Pod, spec: &JobSpec, limit: i32) -> bool {
    if !is_failed(pod, spec) {
        return false;
    }
    let verdict = policy::verdict(spec, pod);
    verdict.fails_index || (verdict.counts && facts::failures_before(pod).0 >= limit)
}
