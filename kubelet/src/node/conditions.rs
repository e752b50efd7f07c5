//! The node's conditions, from what the runtime and the machine say. Pure.

use jiff::Timestamp;
use k8s_openapi::{api::core::v1::NodeCondition, apimachinery::pkg::apis::meta::v1::Time};

/// What the conditions rest on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Why the runtime is not ready: CRI's condition, or that it does not answer. None when it is.
    pub runtime_problem: Option<String>,
    pub network_problem: Option<String>,
    pub memory_pressure: bool,
    pub disk_pressure: bool,
    pub pid_pressure: bool,
    /// The machine goes down: no pod may come any more.
    pub is_shutting_down: bool,
}

/// The four conditions; a transition time is kept while the status is.
pub fn all(health: &Health, known: &[NodeCondition], now: Timestamp) -> Vec<NodeCondition> {
    let pressure = |type_, is: bool, reasons: (&'static str, &'static str), messages: (&'static str, &'static str)| {
        let (reason, message) = if is { (reasons.0, messages.0) } else { (reasons.1, messages.1) };
        (type_, is, reason.to_owned(), message.to_owned())
    };
    let rows = [
        pressure(
            "MemoryPressure",
            health.memory_pressure,
            ("KubeletHasInsufficientMemory", "KubeletHasSufficientMemory"),
            ("kubelet has insufficient memory available", "kubelet has sufficient memory available"),
        ),
        pressure(
            "DiskPressure",
            health.disk_pressure,
            ("KubeletHasDiskPressure", "KubeletHasNoDiskPressure"),
            ("kubelet has disk pressure", "kubelet has no disk pressure"),
        ),
        pressure(
            "PIDPressure",
            health.pid_pressure,
            ("KubeletHasInsufficientPID", "KubeletHasSufficientPID"),
            ("kubelet has insufficient PID available", "kubelet has sufficient PID available"),
        ),
        ready(health),
    ];
    rows.into_iter().map(|row| condition(row, known, now)).collect()
}

fn ready(health: &Health) -> (&'static str, bool, String, String) {
    let problems: Vec<&str> =
        [&health.runtime_problem, &health.network_problem].into_iter().flatten().map(String::as_str).collect();
    let problems = if health.is_shutting_down { vec!["node is shutting down"] } else { problems };
    match problems.as_slice() {
        [] => ("Ready", true, "KubeletReady".into(), "kubelet is posting ready status".into()),
        [one] => ("Ready", false, "KubeletNotReady".into(), (*one).to_owned()),
        several => ("Ready", false, "KubeletNotReady".into(), format!("[{}]", several.join(", "))),
    }
}

fn condition(
    (type_, truth, reason, message): (&str, bool, String, String),
    known: &[NodeCondition],
    now: Timestamp,
) -> NodeCondition {
    let status = if truth { "True" } else { "False" };
    let before = known.iter().find(|condition| condition.type_ == type_ && condition.status == status);
    let now = Time(crate::status::whole_second(now));
    NodeCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: Some(reason),
        message: Some(message),
        last_transition_time: before.and_then(|it| it.last_transition_time.clone()).or(Some(now.clone())),
        last_heartbeat_time: Some(now),
    }
}

/// CRI's word for one of its two conditions, as upstream prints it.
pub fn runtime_condition(type_: &str, reason: &str, message: &str) -> String {
    format!("{type_}=false reason:{reason} message:{message}")
}
