//! The Job controller's core: whether the Job comes to its end, and which pods to make or delete.
//!
//! Enter by [`decide`]. Pure. The order of the questions is the API's: an end that was announced stands, failures go
//! before successes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::JobCondition;

use super::backoff::wait_for_index;
use super::facts::{self, is_failed};
use super::observe::{Indexes, Observed};
use super::{condition, policy};
use crate::common::pod::Pod;
use crate::common::{pods, ranking};

/// At most so many pods are made or deleted in one sync.
pub(super) const BURST: usize = 500;

#[derive(Debug, Default)]
pub(super) struct Decision {
    /// The end, or the interim condition that announces it.
    pub(super) end: Option<JobCondition>,
    pub(super) action: Action,
    /// When the Job's deadline passes.
    pub(super) deadline: Option<Duration>,
}

#[derive(Debug, Default, PartialEq)]
pub(super) enum Action {
    /// The cache is behind, or the Job is being deleted: nothing is known well enough to act on.
    #[default]
    Hold,
    Keep,
    /// Delete these, and count them: their finalizers go with the status.
    End(Vec<Arc<Pod>>),
    /// Delete these, and forget them: there are more than the Job wants.
    Remove(Vec<Arc<Pod>>),
    /// Make so many pods, or one for each index.
    Create(Wanted),
    /// Pods are wanted, but not before this has passed.
    BackOff(Duration),
}

#[derive(Debug, PartialEq)]
pub(super) enum Wanted {
    Count(usize),
    Indexes(Vec<i32>),
}

pub(super) fn decide(o: &Observed) -> Decision {
    if let Some(end) = end(o) {
        return Decision { end: Some(end), action: Action::End(o.active.clone()), deadline: None };
    }
    let action = match o.caught_up && o.job.metadata.deletion_timestamp.is_none() {
        true => manage(o),
        false => Action::Hold,
    };
    Decision { end: None, action, deadline: time_left(o) }
}

fn end(o: &Observed) -> Option<JobCondition> {
    let spec = &o.spec;
    if let Some(met) = condition::find_true(&o.status, "SuccessCriteriaMet") {
        return Some(met.clone());
    }
    if let Some(target) = condition::find_true(&o.status, "FailureTarget") {
        return Some(condition::terminal(target, o.now));
    }
    let failure = |reason, message: &str| Some(condition::failure_target(reason, message, o.now));
    let failed = o.pods.iter().filter(|p| spec.pod_failure_policy.is_some() && is_failed(p, spec));
    if let Some(message) = failed.into_iter().find_map(|p| policy::verdict(spec, p).fails_job) {
        return failure("PodFailurePolicy", &message);
    }
    if o.failed > facts::backoff_limit(spec) || restarted_too_often(o) {
        return failure("BackoffLimitExceeded", "Job has reached the specified backoff limit");
    }
    if time_left(o) == Some(Duration::ZERO) {
        return failure("DeadlineExceeded", "Job was active longer than specified deadline");
    }
    let indexes = o.indexes.as_ref()?;
    if let Some(failed) = indexes.failed.as_ref().map(|f| f.total()) {
        if spec.max_failed_indexes.is_some_and(|most| failed > most) {
            let message = "Job has exceeded the specified maximal number of failed indexes";
            return failure("MaxFailedIndexesExceeded", message);
        }
        if failed > 0 && failed + indexes.succeeded.total() >= facts::indexes(spec) {
            return failure("FailedIndexes", "Job has failed indexes");
        }
    }
    let message = policy::success(spec, &indexes.succeeded)?;
    Some(condition::success_criteria_met("SuccessPolicy", &message, o.now))
}

/// Pods that restart in place count by their restarts.
fn restarted_too_often(o: &Observed) -> bool {
    let template = o.spec.template.spec.as_ref();
    if template.and_then(|s| s.restart_policy.as_deref()) != Some("OnFailure") {
        return false;
    }
    let running = o.pods.iter().filter(|p| matches!(pods::phase(p), "Running" | "Pending"));
    let statuses = running
        .filter_map(|p| p.status.as_ref())
        .flat_map(|s| s.init_container_statuses.iter().flatten().chain(s.container_statuses.iter().flatten()));
    let restarts: i32 = statuses.map(|s| s.restart_count).sum();
    restarts >= facts::backoff_limit(&o.spec).max(1)
}

/// Until `activeDeadlineSeconds` have passed; None without them, or while the Job's clock stands still.
fn time_left(o: &Observed) -> Option<Duration> {
    let seconds = o.spec.active_deadline_seconds.filter(|_| !facts::is_suspended(&o.spec))?;
    let started = o.status.start_time.as_ref().map_or(o.now, |t| t.0);
    let due = started.checked_add(SignedDuration::from_secs(seconds)).ok()?;
    Some(Duration::try_from(due.duration_since(o.now)).unwrap_or_default())
}

fn manage(o: &Observed) -> Action {
    let active = o.active.len();
    if facts::is_suspended(&o.spec) {
        return match active {
            0 => Action::Keep,
            count => Action::Remove(surplus(o, count)),
        };
    }
    let want = wanted(o);
    let mut remove = surplus(o, active.saturating_sub(want));
    if !remove.is_empty() {
        remove.truncate(BURST);
        return Action::Remove(remove);
    }
    let terminating = if facts::replaces_only_failed(&o.spec) { count(o.terminating) } else { 0 };
    match want.saturating_sub(terminating).saturating_sub(active) {
        0 => Action::Keep,
        missing => create(o, missing.min(BURST)),
    }
}

fn count(n: i32) -> usize {
    usize::try_from(n).unwrap_or(0)
}

/// How many pods should be active.
fn wanted(o: &Observed) -> usize {
    let parallelism = count(facts::parallelism(&o.spec));
    match o.spec.completions {
        // A work queue: after the first success the others come to their ends, and nobody follows.
        None if o.succeeded > 0 => o.active.len(),
        None => parallelism,
        Some(completions) => count(completions.saturating_sub(o.succeeded)).min(parallelism),
    }
}

fn create(o: &Observed, missing: usize) -> Action {
    let Some(indexes) = &o.indexes else { return backed_off(o, Wanted::Count(missing)) };
    let pending = pending(o, indexes, missing);
    if indexes.failed.is_none() {
        return backed_off(o, Wanted::Indexes(pending));
    }
    let wait = |index: &i32| indexes.waiting.get(index).map_or(Duration::ZERO, |pod| wait_for_index(pod, o.now));
    let soonest = pending.iter().map(wait).min();
    let ready: Vec<i32> = pending.into_iter().filter(|index| wait(index).is_zero()).collect();
    match soonest {
        Some(soonest) if ready.is_empty() => Action::BackOff(soonest),
        _ => Action::Create(Wanted::Indexes(ready)),
    }
}

fn backed_off(o: &Observed, wanted: Wanted) -> Action {
    match o.record.wait(o.now) {
        Duration::ZERO => Action::Create(wanted),
        wait => Action::BackOff(wait),
    }
}

/// The lowest indexes without a pod.
fn pending(o: &Observed, indexes: &Indexes, missing: usize) -> Vec<i32> {
    let of = |pods: &mut dyn Iterator<Item = &Arc<Pod>>| -> BTreeSet<i32> {
        pods.filter_map(|p| facts::completion_index(p)).collect()
    };
    let mut taken = indexes.succeeded.with(&of(&mut o.active.iter()));
    if facts::replaces_only_failed(&o.spec) {
        taken = taken.with(&of(&mut o.pods.iter().filter(|p| pods::is_terminating(p))));
    }
    if let Some(failed) = &indexes.failed {
        taken = taken.merge(failed);
    }
    taken.missing(missing, facts::indexes(&o.spec))
}

/// At least `least` of the active pods: those whose index is taken twice or is none of the Job's, then the least far on.
fn surplus(o: &Observed, least: usize) -> Vec<Arc<Pod>> {
    let (mut remove, mut left) = (Vec::new(), Vec::new());
    match &o.indexes {
        None => left = o.active.clone(),
        Some(_) => {
            for group in o.active.chunk_by(|a, b| facts::completion_index(a) == facts::completion_index(b)) {
                let known = facts::index_of(&group[0], &o.spec).is_some();
                let mut group = ranking::in_order(group.to_vec(), &[], o.now);
                left.extend(group.pop_if(|_| known));
                remove.append(&mut group);
            }
        }
    }
    if remove.len() < least {
        let more = least - remove.len();
        remove.extend(ranking::pods_to_delete(left, &[], more, o.now));
    }
    remove
}
