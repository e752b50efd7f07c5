//! Counting: which pods' ends go into the status, which finalizers may go, and when the Job is finished.
//!
//! Pure. The order makes it safe to die between any two writes (Concepts: "Job tracking with finalizers"):
//!
//! 1. [`begin`]: ended pods are named in `uncountedTerminatedPods`, and that is written;
//! 2. their finalizers are removed;
//! 3. [`settle`]: those without finalizer are added to the counts and leave the list; that is written with the next change.
//!
//! A pod in the list is never new again, and a pod without finalizer cannot come into the list.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use k8s_openapi::api::batch::v1::{JobCondition, JobStatus};

use super::facts::{index_of, is_failed, uid};
use super::observe::Observed;
use super::{condition, policy};
use crate::common::pod::Pod;
use crate::common::{nonzero, pods};

/// The list in the status holds at most so many, to keep the object small.
pub(super) const UNCOUNTED_MAX: usize = 500;

pub(super) struct Tracking {
    pub(super) status: JobStatus,
    /// Whether the status has to be written before any finalizer is removed.
    pub(super) changed: bool,
    pub(super) remove_finalizers: Vec<Arc<Pod>>,
    /// UIDs of the pods that still have their finalizer.
    tracked: HashSet<String>,
    /// The condition to set when all is counted.
    finished: Option<JobCondition>,
    /// More pods have ended than the list holds.
    full: bool,
}

/// `status` is the observed one with its counts of active pods brought up to date; `end` is the decision's.
pub(super) fn begin(o: &Observed, mut status: JobStatus, changed: bool, end: Option<JobCondition>) -> Tracking {
    let tracked: HashSet<String> = o.pods.iter().filter(|p| o.is_open(p)).map(|p| uid(p).to_owned()).collect();
    let counted = count_untracked(&mut status, &tracked);
    let ends_badly = end.as_ref().is_some_and(|c| c.type_ != "SuccessCriteriaMet");
    let mut ended = Ended { changed: changed || counted, ..Ended::default() };
    for pod in o.pods.iter().filter(|p| tracked.contains(uid(p)) && may_let_go(o, p, end.is_some())) {
        ended.pods.push(pod.clone());
        if pods::phase(pod) == "Succeeded" && !has(&status, |u| &u.failed, pod) {
            ended.succeeded(o, &mut status, pod);
        } else if is_failed(pod, &o.spec) || ends_badly {
            ended.failed(o, &mut status, pod);
        }
        if ended.indexes.len() + listed(&status) >= UNCOUNTED_MAX {
            ended.full = true;
            break;
        }
    }
    let mut changed = ended.changed | write_indexes(o, &mut status);
    let finished = end.map(|end| match end.type_.as_str() {
        "Failed" => end,
        _ => {
            changed |= announce(&mut status, &end);
            condition::terminal(&end, o.now)
        }
    });
    Tracking { status, changed, remove_finalizers: ended.pods, tracked, finished, full: ended.full }
}

/// Adds the interim condition; one that is there already stays as it is.
fn announce(status: &mut JobStatus, end: &JobCondition) -> bool {
    let known = condition::find_true(status, &end.type_).is_some();
    if !known {
        status.conditions.get_or_insert_default().push(end.clone());
    }
    !known
}

/// After the finalizers of `removed` (UIDs) are gone; `all` says whether these are all that were to go. Returns whether
/// the status changed, and the end that was reached.
pub(super) fn settle(tracking: &mut Tracking, removed: &HashSet<String>, all: bool) -> (bool, Option<JobCondition>) {
    tracking.tracked.retain(|uid| !removed.contains(uid));
    let changed = count_untracked(&mut tracking.status, &tracking.tracked);
    let uncounted = tracking.full || listed(&tracking.status) > 0;
    let open = uncounted || !all || tracking.status.terminating.unwrap_or(0) > 0;
    let Some(finished) = tracking.finished.clone().filter(|_| !open) else { return (changed, None) };
    condition::put(&mut tracking.status, finished.clone());
    if finished.type_ == "Complete" {
        tracking.status.completion_time = finished.last_transition_time.clone();
    }
    (true, Some(finished))
}

#[derive(Default)]
struct Ended {
    pods: Vec<Arc<Pod>>,
    indexes: BTreeSet<i32>,
    changed: bool,
    full: bool,
}

impl Ended {
    /// An index in the status is enough to count a pod once: no list is needed.
    fn succeeded(&mut self, o: &Observed, status: &mut JobStatus, pod: &Pod) {
        match &o.indexes {
            Some(indexes) => {
                let new = index_of(pod, &o.spec).filter(|i| !indexes.before.has(*i));
                self.changed |= new.is_some();
                self.indexes.extend(new);
            }
            None if has(status, |u| &u.succeeded, pod) => {}
            None => {
                let list = status.uncounted_terminated_pods.get_or_insert_default();
                list.succeeded.get_or_insert_default().push(uid(pod).to_owned());
                self.changed = true;
            }
        }
    }

    fn failed(&mut self, o: &Observed, status: &mut JobStatus, pod: &Pod) {
        let of_job = o.indexes.is_none() || index_of(pod, &o.spec).is_some();
        if of_job && !has(status, |u| &u.failed, pod) && policy::verdict(&o.spec, pod).counts {
            let list = status.uncounted_terminated_pods.get_or_insert_default();
            list.failed.get_or_insert_default().push(uid(pod).to_owned());
            self.changed = true;
        }
    }
}

type List = fn(&k8s_openapi::api::batch::v1::UncountedTerminatedPods) -> &Option<Vec<String>>;

fn has(status: &JobStatus, list: List, pod: &Pod) -> bool {
    status.uncounted_terminated_pods.as_ref().is_some_and(|u| list(u).iter().flatten().any(|known| known == uid(pod)))
}

fn listed(status: &JobStatus) -> usize {
    let lists = status.uncounted_terminated_pods.iter().flat_map(|u| u.succeeded.iter().chain(&u.failed));
    lists.map(Vec::len).sum()
}

/// Whether the pod's finalizer may go once its end is in the status.
fn may_let_go(o: &Observed, pod: &Pod, ending: bool) -> bool {
    if ending || o.job.metadata.deletion_timestamp.is_some() || pods::phase(pod) == "Succeeded" {
        return true;
    }
    let waiting = o.indexes.as_ref().and_then(|i| i.waiting.get(&index_of(pod, &o.spec)?));
    is_failed(pod, &o.spec) && waiting.is_none_or(|kept| uid(kept) != uid(pod))
}

/// Moves those without finalizer from the lists into the counts.
fn count_untracked(status: &mut JobStatus, tracked: &HashSet<String>) -> bool {
    let Some(lists) = &mut status.uncounted_terminated_pods else { return false };
    let mut changed = false;
    for (list, counter) in [(&mut lists.succeeded, &mut status.succeeded), (&mut lists.failed, &mut status.failed)] {
        let Some(uids) = list else { continue };
        let before = uids.len();
        uids.retain(|uid| tracked.contains(uid));
        let gone = i32::try_from(before - uids.len()).unwrap_or(i32::MAX);
        if uids.is_empty() {
            *list = None;
        }
        *counter = nonzero(counter.unwrap_or(0).saturating_add(gone));
        changed |= gone > 0;
    }
    changed
}

fn write_indexes(o: &Observed, status: &mut JobStatus) -> bool {
    let Some(indexes) = &o.indexes else { return false };
    let text = Some(indexes.succeeded.to_string()).filter(|text| !text.is_empty());
    let failed = indexes.failed.as_ref().map(ToString::to_string);
    let changed = (&text, &failed) != (&status.completed_indexes, &status.failed_indexes);
    status.succeeded = nonzero(indexes.succeeded.total());
    status.completed_indexes = text;
    status.failed_indexes = failed;
    changed
}
