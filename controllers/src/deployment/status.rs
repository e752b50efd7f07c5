//! A Deployment's status: counts, the conditions Available, Progressing and ReplicaFailure, the deadline.
//!
//! Pure. The reasons and messages are the interface that `kubectl rollout status` and people read.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};

use super::facts;
use crate::common::{nonzero, time};

pub(super) const PROGRESSING: &str = "Progressing";
const AVAILABLE: &str = "Available";
const REPLICA_FAILURE: &str = "ReplicaFailure";
const NEW_AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// Whether this sync was a rollout's, whose progress is judged, or only a change of size.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Estimate,
    Keep,
}

fn condition(kind: &str, status: &str, reason: &str, message: String, now: Timestamp) -> DeploymentCondition {
    DeploymentCondition {
        type_: kind.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message),
        last_update_time: Some(time(now)),
        last_transition_time: Some(time(now)),
    }
}

fn find<'a>(status: Option<&'a DeploymentStatus>, kind: &str) -> Option<&'a DeploymentCondition> {
    status?.conditions.iter().flatten().find(|c| c.type_ == kind)
}

fn remove(status: &mut DeploymentStatus, kind: &str) {
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|c| c.type_ != kind);
        if conditions.is_empty() {
            status.conditions = None;
        }
    }
}

/// Same status and reason: it stays as it was. Same status: only the transition time does.
fn put(status: &mut DeploymentStatus, mut new: DeploymentCondition) {
    if let Some(current) = find(Some(status), &new.type_).filter(|c| c.status == new.status) {
        if current.reason == new.reason {
            return;
        }
        new.last_transition_time = current.last_transition_time.clone();
    }
    remove(status, &new.type_);
    status.conditions.get_or_insert_default().push(new);
}

/// Pausing and resuming restart the progress clock: a long pause is no lack of progress.
pub(super) fn check_paused(d: &mut Deployment, paused: bool, now: Timestamp) {
    let current = find(d.status.as_ref(), PROGRESSING).and_then(|c| c.reason.clone());
    if facts::progress_deadline_seconds(d).is_none() || current.as_deref() == Some(TIMED_OUT) {
        return;
    }
    let new = match (paused, current.as_deref() == Some(PAUSED)) {
        (true, false) => condition(PROGRESSING, "Unknown", PAUSED, "Deployment is paused".into(), now),
        (false, true) => condition(PROGRESSING, "Unknown", "DeploymentResumed", "Deployment is resumed".into(), now),
        _ => return,
    };
    put(d.status.get_or_insert_default(), new);
}

/// Starts the progress clock when the new ReplicaSet is made, or first seen.
pub(super) fn note_new_replica_set(d: &mut Deployment, name: &str, created: bool, now: Timestamp) {
    if facts::progress_deadline_seconds(d).is_none() {
        return;
    }
    let known = find(d.status.as_ref(), PROGRESSING).is_some();
    let (reason, message) = match (created, known) {
        (true, _) => ("NewReplicaSetCreated", format!("Created new replica set {name:?}")),
        (false, false) => ("FoundNewReplicaSet", format!("Found new replica set {name:?}")),
        (false, true) => return,
    };
    put(d.status.get_or_insert_default(), condition(PROGRESSING, "True", reason, message, now));
}

/// The status of a Deployment whose new ReplicaSet the API would not take.
pub(super) fn note_create_failure(d: &mut Deployment, message: String, now: Timestamp) {
    if facts::progress_deadline_seconds(d).is_some() {
        let failed = condition(PROGRESSING, "False", "ReplicaSetCreateError", message, now);
        put(d.status.get_or_insert_default(), failed);
    }
}

/// All pods are of the new template, and available, and the controller has seen the newest spec.
pub(super) fn is_complete(d: &Deployment, status: Option<&DeploymentStatus>) -> bool {
    let desired = nonzero(facts::desired(d));
    status.is_some_and(|s| {
        [s.updated_replicas, s.replicas, s.available_replicas].iter().all(|n| n.and_then(nonzero) == desired)
            && s.observed_generation.unwrap_or(0) >= d.metadata.generation.unwrap_or(0)
    })
}

/// Sets the status; returns when to look again for a deadline that may pass in silence.
pub(super) fn set(
    original: &Deployment,
    d: &mut Deployment,
    sets: &[&ReplicaSet],
    new: Option<&ReplicaSet>,
    progress: Progress,
    now: Timestamp,
) -> Option<Duration> {
    let mut status = counts(d, sets, new);
    let availability = availability(d, &status, now);
    put(&mut status, availability);
    if progress == Progress::Estimate {
        estimate(d, &mut status, new, now);
        match replica_failure(sets, new) {
            Some(failure) => put(&mut status, failure),
            None => remove(&mut status, REPLICA_FAILURE),
        }
    }
    d.status = Some(status);
    let unchanged = d.status == original.status && progress == Progress::Estimate;
    if unchanged { recheck(d, now) } else { None }
}

fn counts(d: &Deployment, sets: &[&ReplicaSet], new: Option<&ReplicaSet>) -> DeploymentStatus {
    let sum = |count: fn(&ReplicaSet) -> i32| sets.iter().map(|rs| count(rs)).sum::<i32>();
    let available = sum(facts::available);
    let old = d.status.clone().unwrap_or_default();
    DeploymentStatus {
        observed_generation: d.metadata.generation,
        replicas: nonzero(sum(facts::actual)),
        updated_replicas: nonzero(new.map_or(0, facts::actual)),
        ready_replicas: nonzero(sum(facts::ready)),
        available_replicas: nonzero(available),
        unavailable_replicas: nonzero((sum(facts::replicas) - available).max(0)),
        terminating_replicas: terminating(sets),
        collision_count: old.collision_count,
        conditions: old.conditions,
    }
}

/// None when one of the ReplicaSets does not tell; one that was never synced has none.
fn terminating(sets: &[&ReplicaSet]) -> Option<i32> {
    let known = sets.iter().filter_map(|rs| rs.status.as_ref()).filter(|s| s.observed_generation.unwrap_or(0) != 0);
    known.map(|s| s.terminating_replicas).sum()
}

fn availability(d: &Deployment, status: &DeploymentStatus, now: Timestamp) -> DeploymentCondition {
    let enough = status.available_replicas.unwrap_or(0) >= facts::desired(d) - facts::max_unavailable(d);
    let (value, reason, message) = match enough {
        true => ("True", "MinimumReplicasAvailable", "Deployment has minimum availability."),
        false => ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability."),
    };
    condition(AVAILABLE, value, reason, message.into(), now)
}

fn estimate(d: &Deployment, status: &mut DeploymentStatus, new: Option<&ReplicaSet>, now: Timestamp) {
    if facts::progress_deadline_seconds(d).is_none() {
        return remove(status, PROGRESSING);
    }
    let current = find(d.status.as_ref(), PROGRESSING).cloned();
    let reason = current.as_ref().and_then(|c| c.reason.as_deref());
    if status.replicas == status.updated_replicas && reason == Some(NEW_AVAILABLE) {
        return;
    }
    let subject = match new.and_then(|rs| rs.metadata.name.as_ref()) {
        Some(name) => format!("ReplicaSet {name:?}"),
        None => format!("Deployment {:?}", d.metadata.name.as_deref().unwrap_or_default()),
    };
    if is_complete(d, Some(status)) {
        let message = format!("{subject} has successfully progressed.");
        put(status, condition(PROGRESSING, "True", NEW_AVAILABLE, message, now));
    } else if has_progressed(d.status.as_ref(), status) {
        let mut new = condition(PROGRESSING, "True", "ReplicaSetUpdated", format!("{subject} is progressing."), now);
        if let Some(current) = current.filter(|c| c.status == "True") {
            new.last_transition_time = current.last_transition_time;
        }
        // The update time must move even if status and reason are the same: the deadline counts from it.
        remove(status, PROGRESSING);
        put(status, new);
    } else if timed_out(d, status, now) {
        put(status, condition(PROGRESSING, "False", TIMED_OUT, format!("{subject} has timed out progressing."), now));
    }
}

fn has_progressed(old: Option<&DeploymentStatus>, new: &DeploymentStatus) -> bool {
    let of = |s: Option<&DeploymentStatus>, f: fn(&DeploymentStatus) -> Option<i32>| s.and_then(f).unwrap_or(0);
    let total = |s| of(s, |s| s.replicas) - of(s, |s| s.updated_replicas);
    let new = Some(new);
    total(new) < total(old)
        || of(new, |s| s.updated_replicas) > of(old, |s| s.updated_replicas)
        || of(new, |s| s.ready_replicas) > of(old, |s| s.ready_replicas)
        || of(new, |s| s.available_replicas) > of(old, |s| s.available_replicas)
}

fn timed_out(d: &Deployment, status: &DeploymentStatus, now: Timestamp) -> bool {
    match find(Some(status), PROGRESSING) {
        None => false,
        Some(c) if c.reason.as_deref() == Some(NEW_AVAILABLE) => false,
        Some(c) if c.reason.as_deref() == Some(TIMED_OUT) => true,
        Some(c) => deadline(d, c).is_some_and(|deadline| deadline < now),
    }
}

fn deadline(d: &Deployment, progressing: &DeploymentCondition) -> Option<Timestamp> {
    let seconds = facts::progress_deadline_seconds(d)?;
    let from = progressing.last_update_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |t| t.0);
    from.checked_add(SignedDuration::from_secs(seconds.into())).ok()
}

/// A second late, because stored times have no fractions.
fn recheck(d: &Deployment, now: Timestamp) -> Option<Duration> {
    let current = find(d.status.as_ref(), PROGRESSING)?;
    if is_complete(d, d.status.as_ref()) || matches!(current.reason.as_deref(), Some(TIMED_OUT | NEW_AVAILABLE)) {
        return None;
    }
    let left = deadline(d, current)?.duration_since(now);
    Some(Duration::try_from(left).unwrap_or_default() + Duration::from_secs(1))
}

/// The new ReplicaSet's failure goes before the others'.
fn replica_failure(sets: &[&ReplicaSet], new: Option<&ReplicaSet>) -> Option<DeploymentCondition> {
    let conditions = |rs: &&ReplicaSet| rs.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
    let mut all = new.iter().flat_map(conditions).chain(sets.iter().flat_map(conditions));
    let failure = all.find(|c| c.type_ == REPLICA_FAILURE)?;
    Some(DeploymentCondition {
        type_: failure.type_,
        status: failure.status,
        reason: failure.reason,
        message: failure.message,
        last_update_time: failure.last_transition_time.clone(),
        last_transition_time: failure.last_transition_time,
    })
}
