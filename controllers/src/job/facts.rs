//! What can be read off a Job and its pods: modes and limits, indexes, failures, the tracking finalizer.
//!
//! Pure. Concepts: "Jobs". The names below are the API's.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::ContainerStatus;

use super::policy;
use crate::common::pod::Pod;
use crate::common::{jobs, map, pods};

pub(super) const TRACKING_FINALIZER: &str = "batch.kubernetes.io/job-tracking";
pub(super) const COMPLETION_INDEX: &str = "batch.kubernetes.io/job-completion-index";
pub(super) const INDEX_FAILURE_COUNT: &str = "batch.kubernetes.io/job-index-failure-count";
pub(super) const INDEX_IGNORED_FAILURE_COUNT: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
const CONTROLLER_NAME: &str = "kubernetes.io/job-controller";

/// The other controller that the Job asks for, if it does.
pub(super) fn managed_by_other(job: &Job) -> Option<&str> {
    job.spec.as_ref()?.managed_by.as_deref().filter(|name| *name != CONTROLLER_NAME)
}

/// Whether the Job has come to its end, well or not.
pub(super) fn is_finished(job: &Job) -> bool {
    jobs::ended(job).is_some()
}

pub(super) fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode.as_deref() == Some("Indexed")
}

pub(super) fn is_suspended(spec: &JobSpec) -> bool {
    spec.suspend == Some(true)
}

pub(super) fn parallelism(spec: &JobSpec) -> i32 {
    spec.parallelism.unwrap_or(1)
}

/// The number of indexes. Only for Indexed Jobs, which always have one.
pub(super) fn indexes(spec: &JobSpec) -> i32 {
    spec.completions.unwrap_or(0)
}

pub(super) fn backoff_limit(spec: &JobSpec) -> i32 {
    spec.backoff_limit.unwrap_or(6)
}

/// Whether a pod is replaced only once it has ended, and not when its deletion begins.
pub(super) fn replaces_only_failed(spec: &JobSpec) -> bool {
    spec.pod_replacement_policy.as_deref() == Some("Failed") || spec.pod_failure_policy.is_some()
}

pub(super) fn is_tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|f| f == TRACKING_FINALIZER)
}

pub(super) fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// The pod's index; None when it says none, or one that the Job does not have.
pub(super) fn index_of(pod: &Pod, spec: &JobSpec) -> Option<i32> {
    completion_index(pod).filter(|index| *index < indexes(spec))
}

/// The pod's index, however large.
pub(super) fn completion_index(pod: &Pod) -> Option<i32> {
    map(&pod.metadata.annotations).get(COMPLETION_INDEX)?.parse().ok().filter(|index| *index >= 0)
}

/// A pod that ended badly. One that is being deleted counts too, since nobody may be left to say how it ended; unless
/// the Job waits for that.
pub(super) fn is_failed(pod: &Pod, spec: &JobSpec) -> bool {
    match pods::phase(pod) {
        "Failed" => true,
        "Succeeded" => false,
        _ => !replaces_only_failed(spec) && pod.metadata.deletion_timestamp.is_some(),
    }
}

/// How often the pod's index failed before this pod: counted against its limit, and ignored by the failure policy.
pub(super) fn failures_before(pod: &Pod) -> (i32, i32) {
    let read = |name| map(&pod.metadata.annotations).get(name).and_then(|text| text.parse::<i32>().ok());
    let count = |name| read(name).filter(|n| *n >= 0).unwrap_or(0);
    (count(INDEX_FAILURE_COUNT), count(INDEX_IGNORED_FAILURE_COUNT))
}

/// The same counts with this pod's own failure.
pub(super) fn failures_with(pod: &Pod, spec: &JobSpec) -> (i32, i32) {
    let (counted, ignored) = failures_before(pod);
    if policy::verdict(spec, pod).counts { (counted + 1, ignored) } else { (counted, ignored + 1) }
}

/// When the pod ended: by its containers, else since when it is not ready, else when its deletion was asked for.
pub(super) fn finished_at(pod: &Pod) -> Timestamp {
    let not_ready = pods::condition(pod, "Ready").filter(|c| c.status == "False");
    containers_finished_at(pod)
        .or_else(|| not_ready.and_then(|c| c.last_transition_time.as_ref()).map(|t| t.0))
        .or_else(|| {
            let deletion = pod.metadata.deletion_timestamp.as_ref()?.0;
            let grace = SignedDuration::from_secs(pod.metadata.deletion_grace_period_seconds.unwrap_or(0));
            deletion.checked_sub(grace).ok()
        })
        .or_else(|| pod.metadata.creation_timestamp.as_ref().map(|t| t.0))
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

/// None as long as one of them runs. Sidecars end last, and count too.
fn containers_finished_at(pod: &Pod) -> Option<Timestamp> {
    let status = pod.status.as_ref()?;
    let sidecars = status.init_container_statuses.iter().flatten().filter(|s| is_sidecar(pod, s));
    let all = status.container_statuses.iter().flatten().chain(sidecars);
    let ends: Option<Vec<_>> = all.map(|s| s.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()).collect();
    ends?.into_iter().map(|t| t.0).max()
}

fn is_sidecar(pod: &Pod, status: &ContainerStatus) -> bool {
    let inits = pod.spec.iter().flat_map(|s| s.init_containers.iter().flatten());
    inits.into_iter().any(|c| c.name == status.name && c.restart_policy.as_deref() == Some("Always"))
}
