//! The disruption controller's core: how many pods a budget expects, wants healthy, and lets go.
//!
//! Pure. Concepts: "Disruptions"; `disruptedPods` is how the eviction API tells which pods are about to be deleted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::PodCondition;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use crate::common::pod::Pod;
use crate::common::scaled::scaled;
use crate::common::{pods, time};

/// A pod that was let go and is not being deleted after this long will not be.
const DELETION_TIMEOUT: SignedDuration = SignedDuration::from_secs(120);

/// How long a pod may be called a target of disruption without being deleted.
const STALE_AFTER: SignedDuration = SignedDuration::from_secs(120);

const ALLOWED: &str = "DisruptionAllowed";

/// What a budget asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) expected: i32,
    pub(super) healthy: i32,
}

/// Whether the budget is a part of all pods that the owners ask for, and not only a number.
pub(super) fn needs_scale(spec: &PodDisruptionBudgetSpec) -> bool {
    spec.max_unavailable.is_some() || matches!(spec.min_available, Some(IntOrString::String(_)))
}

/// `scale` is how many pods the owners of these pods ask for; it counts only where [`needs_scale`] says so.
pub(super) fn wanted(spec: &PodDisruptionBudgetSpec, pods: usize, scale: i32) -> Wanted {
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => Wanted { expected: scale, healthy: (scale - scaled(most, scale, true)).max(0) },
        (None, Some(IntOrString::Int(least))) => {
            Wanted { expected: i32::try_from(pods).unwrap_or(i32::MAX), healthy: *least }
        }
        (None, Some(part)) => Wanted { expected: scale, healthy: scaled(part, scale, true) },
        (None, None) => Wanted::default(),
    }
}

/// What is known of a budget after a look at its pods.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) status: PodDisruptionBudgetStatus,
    /// Pods that were let go long ago and are still there.
    pub(super) not_deleted: Vec<Arc<Pod>>,
    /// When the next of those that were let go has had its time.
    pub(super) recheck: Option<Duration>,
}

pub(super) fn look(pdb: &PodDisruptionBudget, pods: &[Arc<Pod>], wanted: Wanted, now: Timestamp) -> Look {
    let old = pdb.status.clone().unwrap_or_default();
    let (mut disrupted, mut not_deleted, mut recheck) = (BTreeMap::<String, Time>::new(), Vec::new(), None);
    for pod in pods.iter().filter(|p| p.metadata.deletion_timestamp.is_none()) {
        let Some(since) = old.disrupted_pods.as_ref().and_then(|d| d.get(&pod.name_any())) else { continue };
        let due = since.0.checked_add(DELETION_TIMEOUT).unwrap_or(Timestamp::MAX);
        if due < now {
            not_deleted.push(pod.clone());
            continue;
        }
        let left = Duration::try_from(due.duration_since(now)).unwrap_or_default();
        recheck = Some(recheck.map_or(left, |known: Duration| known.min(left)));
        disrupted.insert(pod.name_any(), since.clone());
    }
    let healthy = pods.iter().filter(|p| {
        p.metadata.deletion_timestamp.is_none() && !disrupted.contains_key(&p.name_any()) && pods::is_ready(p)
    });
    let healthy = i32::try_from(healthy.count()).unwrap_or(i32::MAX);
    // Without pods nothing is let go: the first that comes may be seen late.
    let allowed = if wanted.expected <= 0 { 0 } else { (healthy - wanted.healthy).max(0) };
    let generation = pdb.metadata.generation;
    let (value, reason) = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let status = PodDisruptionBudgetStatus {
        current_healthy: Some(healthy),
        desired_healthy: Some(wanted.healthy),
        expected_pods: Some(wanted.expected),
        disruptions_allowed: Some(allowed),
        disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
        observed_generation: generation,
        conditions: Some(with_condition(old.conditions, value, reason, "", generation, now)),
    };
    Look { status, not_deleted, recheck }
}

/// The status when the pods could not be counted: nothing may be let go.
pub(super) fn failed(pdb: &PodDisruptionBudget, message: &str, now: Timestamp) -> PodDisruptionBudgetStatus {
    let old = pdb.status.clone().unwrap_or_default();
    let observed = old.observed_generation;
    let conditions = with_condition(old.conditions, "False", "SyncFailed", message, observed, now);
    PodDisruptionBudgetStatus {
        disruptions_allowed: Some(0),
        current_healthy: old.current_healthy.or(Some(0)),
        desired_healthy: old.desired_healthy.or(Some(0)),
        expected_pods: old.expected_pods.or(Some(0)),
        conditions: Some(conditions),
        ..old
    }
}

fn with_condition(
    old: Option<Vec<Condition>>,
    status: &str,
    reason: &str,
    message: &str,
    observed_generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let mut all = old.unwrap_or_default();
    let known = all.iter().find(|c| c.type_ == ALLOWED && c.status == status);
    let new = Condition {
        type_: ALLOWED.into(),
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        observed_generation: observed_generation.filter(|g| *g != 0),
        last_transition_time: known.map_or_else(|| time(now), |c| c.last_transition_time.clone()),
    };
    match all.iter_mut().find(|c| c.type_ == ALLOWED) {
        Some(place) => *place = new,
        None => all.push(new),
    }
    all
}

/// How long until the pod's condition that it is to be disrupted has proved untrue; None when it has none to take back.
/// What the kubelet says of itself stays: it takes the time it takes.
pub(super) fn stale_in(pod: &Pod, now: Timestamp) -> Option<Duration> {
    let target = pods::condition(pod, "DisruptionTarget").filter(|c| c.status == "True")?;
    let kubelets = target.reason.as_deref() == Some("TerminationByKubelet");
    if pod.metadata.deletion_timestamp.is_some() || kubelets || pods::is_terminal(pod) {
        return None;
    }
    let since = target.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |t| t.0);
    Some(Duration::try_from(since.checked_add(STALE_AFTER).ok()?.duration_since(now)).unwrap_or_default())
}

/// That condition, taken back.
pub(super) fn no_longer_target(pod: &Pod, now: Timestamp) -> PodCondition {
    let observed = pods::condition(pod, "DisruptionTarget").and_then(|target| target.observed_generation);
    PodCondition {
        type_: "DisruptionTarget".into(),
        status: "False".into(),
        observed_generation: observed.and(pod.metadata.generation),
        last_transition_time: Some(time(now)),
        // Fields that a patch leaves out would stay.
        reason: Some(String::new()),
        message: Some(String::new()),
        ..PodCondition::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn now() -> Timestamp {
        "2026-01-01T00:10:00Z".parse().unwrap()
    }

    fn budget(spec: Value, status: Value) -> PodDisruptionBudget {
        let value =
            json!({"metadata": {"name": "b", "namespace": "n", "generation": 3}, "spec": spec, "status": status});
        serde_json::from_value(value).unwrap()
    }

    fn pod(name: &str, ready: bool, deleting: bool) -> Arc<Pod> {
        let deletion = deleting.then_some("2026-01-01T00:00:00Z");
        let conditions = json!([{"type": "Ready", "status": if ready { "True" } else { "False" }}]);
        let value =
            json!({"metadata": {"name": name, "deletionTimestamp": deletion}, "status": {"conditions": conditions}});
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn budgets_in_numbers() {
        // Spec, pods, scale, then: expected, desired.
        let rows = [
            (json!({"minAvailable": 2}), 3, 0, (3, 2)),
            (json!({"minAvailable": 5}), 3, 0, (3, 5)),
            (json!({"minAvailable": "50%"}), 3, 5, (5, 3)),
            (json!({"minAvailable": "100%"}), 3, 5, (5, 5)),
            (json!({"minAvailable": "0%"}), 3, 5, (5, 0)),
            (json!({"maxUnavailable": 1}), 3, 5, (5, 4)),
            (json!({"maxUnavailable": 9}), 3, 5, (5, 0)),
            (json!({"maxUnavailable": "30%"}), 3, 10, (10, 7)),
            (json!({"maxUnavailable": "33%"}), 3, 10, (10, 6)),
            (json!({"maxUnavailable": 0, "minAvailable": 3}), 3, 5, (5, 5)),
            (json!({}), 3, 5, (0, 0)),
        ];
        for (spec, pods, scale, (expected, healthy)) in rows {
            let parsed = serde_json::from_value(spec.clone()).unwrap();
            assert_eq!(wanted(&parsed, pods, scale), Wanted { expected, healthy }, "{spec}");
        }
    }

    #[test]
    fn what_may_go() {
        let pods = [pod("a", true, false), pod("b", true, false), pod("c", false, false), pod("d", true, true)];
        let disrupted = |time: &str| json!({"disruptedPods": {"a": time, "gone": time}});
        // Status, expected, desired, then: healthy, allowed, still disrupted, overdue, seconds to the next look.
        let rows = [
            (json!({}), (4, 1), (2, 1, vec![], 0, None)),
            (json!({}), (4, 2), (2, 0, vec![], 0, None)),
            (json!({}), (4, 3), (2, 0, vec![], 0, None)),
            (json!({}), (0, 0), (2, 0, vec![], 0, None)),
            (disrupted("2026-01-01T00:09:30Z"), (4, 0), (1, 1, vec!["a"], 0, Some(90))),
            (disrupted("2026-01-01T00:07:59Z"), (4, 0), (2, 2, vec![], 1, None)),
        ];
        for (status, (expected, healthy), want) in rows {
            let pdb = budget(json!({}), status.clone());
            let look = look(&pdb, &pods, Wanted { expected, healthy }, now());
            let s = look.status;
            let names: Vec<_> = s.disrupted_pods.unwrap_or_default().into_keys().collect();
            let got = (s.current_healthy.unwrap(), s.disruptions_allowed.unwrap());
            assert_eq!(got, (want.0, want.1), "{status}");
            assert_eq!((names, look.not_deleted.len()), (want.2.into_iter().map(String::from).collect(), want.3));
            assert_eq!(look.recheck, want.4.map(Duration::from_secs));
            let condition = &s.conditions.unwrap()[0];
            let reason = if want.1 > 0 { "SufficientPods" } else { "InsufficientPods" };
            assert_eq!((condition.reason.as_str(), condition.observed_generation), (reason, Some(3)));
        }
    }

    #[test]
    fn the_condition_keeps_its_time() {
        let mut pdb = budget(json!({}), json!({}));
        let wanted = Wanted { expected: 1, healthy: 1 };
        pdb.status = Some(look(&pdb, &[], wanted, now()).status);
        let later = look(&pdb, &[], wanted, "2026-01-01T00:20:00Z".parse().unwrap()).status;
        assert_eq!(pdb.status.as_ref(), Some(&later), "nothing new is nothing to write");
        pdb.status = Some(failed(&pdb, "found no controllers for pod \"x\"", now()));
        let condition = &pdb.status.as_ref().unwrap().conditions.as_ref().unwrap()[0];
        assert_eq!((condition.reason.as_str(), condition.status.as_str()), ("SyncFailed", "False"));
    }

    #[test]
    fn stale_targets() {
        let target = |reason: &str, status: &str, since: &str, phase: &str| {
            let condition =
                json!({"type": "DisruptionTarget", "status": status, "reason": reason, "lastTransitionTime": since});
            serde_json::from_value::<Pod>(
                json!({"metadata": {}, "status": {"phase": phase, "conditions": [condition]}}),
            )
            .unwrap()
        };
        let rows = [
            ("EvictionByEvictionAPI", "True", "2026-01-01T00:09:00Z", "Running", Some(60)),
            ("EvictionByEvictionAPI", "True", "2026-01-01T00:07:00Z", "Running", Some(0)),
            ("EvictionByEvictionAPI", "False", "2026-01-01T00:07:00Z", "Running", None),
            ("TerminationByKubelet", "True", "2026-01-01T00:07:00Z", "Running", None),
            ("EvictionByEvictionAPI", "True", "2026-01-01T00:07:00Z", "Failed", None),
        ];
        for (reason, status, since, phase, want) in rows {
            let pod = target(reason, status, since, phase);
            assert_eq!(stale_in(&pod, now()), want.map(Duration::from_secs), "{reason} {status} {phase}");
        }
        let pod = target("EvictionByEvictionAPI", "True", "2026-01-01T00:07:00Z", "Running");
        let condition = no_longer_target(&pod, now());
        assert_eq!((condition.status.as_str(), condition.reason.as_deref()), ("False", Some("")));
    }
}
