//! The conditions of a pod (`pkg/kubelet/status/generate.go`). Pure.

use k8s_openapi::{
    api::core::v1::{ContainerStatus, PodCondition, PodStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::{Inputs, whole_second};
use crate::pod::{
    admission::preemption,
    allocation,
    fate::{Stop, Why},
    plan_reset::RESTARTING,
    spec,
};

/// The types that a kubelet writes; all others are kept as they are in the API.
pub(super) const OWNED: [&str; 8] = [
    "PodScheduled",
    "Ready",
    "Initialized",
    "ContainersReady",
    "PodReadyToStartContainers",
    allocation::PENDING,
    "PodResizeInProgress",
    "AllContainersRestarting",
];

/// Others write it too: it is told by the kubelet where it is the kubelet's doing, and never taken away.
pub(super) const DISRUPTION_TARGET: &str = "DisruptionTarget";

/// Truth, reason and message of one condition.
type Verdict = (bool, Option<&'static str>, Option<String>);

/// All conditions: those of others first, then the kubelet's.
pub(super) fn all(inputs: &Inputs<'_>, status: &PodStatus) -> Vec<PodCondition> {
    let known = inputs.known.conditions.as_deref().unwrap_or_default();
    let mut conditions: Vec<PodCondition> =
        known.iter().filter(|condition| !OWNED.contains(&condition.type_.as_str())).cloned().collect();
    let containers_ready = containers_ready(inputs, status);
    let ready = ready(inputs, &conditions, &containers_ready);
    for (type_, verdict) in [
        ("PodReadyToStartContainers", (has_sandbox(inputs), None, None)),
        ("Initialized", initialized(inputs, status)),
        ("Ready", ready),
        ("ContainersReady", containers_ready),
        ("PodScheduled", (true, None, None)),
    ] {
        conditions.push(condition(inputs, type_, verdict));
    }
    if let Some(Stop { why: Why::Evicted { reason, message }, .. }) = inputs.stop.filter(|_| inputs.is_final) {
        conditions.retain(|it| it.type_ != DISRUPTION_TARGET);
        let words = if reason == preemption::REASON { preemption::CONDITION_MESSAGE } else { message };
        let verdict = (true, Some("TerminationByKubelet"), Some(words.to_owned()));
        conditions.push(condition(inputs, DISRUPTION_TARGET, verdict));
    }
    if spec::may_restart_all(inputs.pod) {
        conditions.push(PodCondition {
            observed_generation: None,
            ..condition(inputs, "AllContainersRestarting", all_restarting(inputs, status))
        });
    }
    let resize = &inputs.memory.resize;
    if let Some(pending) = &resize.pending {
        let (reason, message) = (Some(allocation::DEFERRED), Some(pending.message.clone()));
        conditions.push(of_resize(inputs, allocation::PENDING, pending.generation, reason, message));
    }
    if let Some(progress) = &resize.in_progress {
        let reason = progress.error.as_ref().map(|_| "Error");
        conditions.push(of_resize(inputs, "PodResizeInProgress", progress.generation, reason, progress.error.clone()));
    }
    conditions
}

/// A condition that is there only while it is true; its time tells when its reason came.
fn of_resize(
    inputs: &Inputs<'_>,
    type_: &str,
    generation: i64,
    reason: Option<&'static str>,
    message: Option<String>,
) -> PodCondition {
    let before =
        inputs.known.conditions.iter().flatten().find(|it| it.type_ == type_ && it.reason.as_deref() == reason);
    let now = Time(whole_second(inputs.now));
    PodCondition {
        type_: type_.to_owned(),
        status: "True".to_owned(),
        reason: reason.map(str::to_owned),
        message,
        observed_generation: Some(generation),
        last_probe_time: None,
        last_transition_time: before.and_then(|it| it.last_transition_time.clone()).or(Some(now)),
    }
}

fn condition(inputs: &Inputs<'_>, type_: &str, (truth, reason, message): Verdict) -> PodCondition {
    let status = if truth { "True" } else { "False" };
    let before = inputs.known.conditions.iter().flatten().find(|it| it.type_ == type_ && it.status == status);
    PodCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.map(str::to_owned),
        message,
        observed_generation: inputs.pod.metadata.generation,
        last_probe_time: None,
        last_transition_time: before
            .and_then(|it| it.last_transition_time.clone())
            .or(Some(Time(whole_second(inputs.now)))),
    }
}

fn all_restarting(inputs: &Inputs<'_>, status: &PodStatus) -> Verdict {
    match status.phase.as_deref() {
        Some("Failed") => (false, Some("PodFailed"), None),
        Some("Succeeded") => (false, Some("PodCompleted"), None),
        _ if inputs.waiting.values().any(|why| why.reason == RESTARTING) => {
            let message = "container exited with restart policy rule".to_owned();
            (true, Some("RestartAllContainersStarted"), Some(message))
        }
        _ => (false, None, None),
    }
}

fn has_sandbox(inputs: &Inputs<'_>) -> bool {
    let host_network = spec::is_host_network(inputs.pod);
    inputs.observed.ready_sandbox().is_some_and(|sandbox| host_network || !sandbox.ips.is_empty())
}

fn initialized(inputs: &Inputs<'_>, status: &PodStatus) -> Verdict {
    let statuses = status.init_container_statuses.as_deref().unwrap_or_default();
    let is_done = |container: &&k8s_openapi::api::core::v1::Container| {
        let found = statuses.iter().find(|it| it.name == container.name);
        found.is_some_and(|it| if spec::is_sidecar(container) { it.started == Some(true) } else { it.ready })
    };
    if status.phase.as_deref() == Some("Succeeded") {
        return (true, Some("PodCompleted"), None);
    }
    if status.container_statuses.iter().flatten().any(has_started) {
        return (true, None, None);
    }
    let incomplete: Vec<&str> =
        spec::init_containers(inputs.pod).iter().filter(|it| !is_done(it)).map(|it| it.name.as_str()).collect();
    if incomplete.is_empty() {
        return (true, None, None);
    }
    let message = format!("containers with incomplete status: [{}]", incomplete.join(" "));
    (false, Some("ContainersNotInitialized"), Some(message))
}

fn has_started(status: &ContainerStatus) -> bool {
    let ran = |state: &Option<k8s_openapi::api::core::v1::ContainerState>| {
        state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    };
    ran(&status.state) || ran(&status.last_state)
}

fn containers_ready(inputs: &Inputs<'_>, status: &PodStatus) -> Verdict {
    match status.phase.as_deref() {
        Some("Failed") => return (false, Some("PodFailed"), None),
        Some("Succeeded") => return (false, Some("PodCompleted"), None),
        _ => {}
    }
    let statuses = || status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    let is_ready = |name: &str| statuses().any(|it| it.name == name && it.ready);
    let sidecars = spec::init_containers(inputs.pod).iter().filter(|container| spec::is_sidecar(container));
    let unready: Vec<&str> = sidecars
        .chain(&spec::spec(inputs.pod).containers)
        .map(|container| container.name.as_str())
        .filter(|name| !is_ready(name))
        .collect();
    if unready.is_empty() {
        return (true, None, None);
    }
    let message = format!("containers with unready status: [{}]", unready.join(" "));
    (false, Some("ContainersNotReady"), Some(message))
}

fn ready(inputs: &Inputs<'_>, others: &[PodCondition], containers_ready: &Verdict) -> Verdict {
    if !containers_ready.0 {
        return containers_ready.clone();
    }
    let mut messages = Vec::new();
    for gate in spec::spec(inputs.pod).readiness_gates.iter().flatten() {
        let gate = &gate.condition_type;
        match others.iter().find(|condition| condition.type_ == *gate) {
            None => messages.push(format!("corresponding condition of pod readiness gate {gate:?} does not exist.")),
            Some(condition) if condition.status != "True" => messages
                .push(format!("the status of pod readiness gate {gate:?} is not \"True\", but {}", condition.status)),
            Some(_) => {}
        }
    }
    if messages.is_empty() {
        (true, None, None)
    } else {
        (false, Some("ReadinessGatesNotReady"), Some(messages.join(", ")))
    }
}
