//! What `kubectl get pods` shows.

use machinery::meta;
use serde_json::{Value, json};

use crate::kinds::Column;
use crate::rest::table::{AGE, NAME, age, since};

const fn column(name: &'static str, kind: &'static str, priority: i32, description: &'static str) -> Column {
    Column { name, kind, priority, description }
}

pub const COLUMNS: &[Column] = &[
    NAME,
    column("Ready", "string", 0, "The aggregate readiness state of this pod for accepting traffic."),
    column("Status", "string", 0, "The aggregate status of the containers in this pod."),
    column(
        "Restarts",
        "string",
        0,
        "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
    ),
    AGE,
    column("IP", "string", 1, "podIP address allocated to the pod. Routable at least within the cluster."),
    column("Node", "string", 1, "NodeName indicates in which node this pod is scheduled."),
    column("Nominated Node", "string", 1, "The node that scheduling this pod will likely free."),
    column("Readiness Gates", "string", 1, "Conditions that count for the pod's readiness."),
];

pub fn cells(pod: &Value, now: i64) -> Vec<Value> {
    let summary = Summary::of(pod);
    let or_none = |text: &str| Value::from(if text.is_empty() { "<none>" } else { text });
    vec![
        meta::name(pod).into(),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.into(),
        restarts(summary.restarts, &summary.last_restart, now).into(),
        age(pod, now).into(),
        or_none(meta::text(pod, "status.podIP")),
        or_none(meta::text(pod, "spec.nodeName")),
        or_none(meta::text(pod, "status.nominatedNodeName")),
        gates(pod),
    ]
}

/// That it has ended: a client may leave such rows out.
pub fn completed(pod: &Value) -> Option<Value> {
    let phase = meta::text(pod, "status.phase");
    let message = match phase {
        "Succeeded" => "The pod has completed successfully.",
        "Failed" => "The pod failed.",
        _ => return None,
    };
    Some(json!({"type": "Completed", "status": "True", "reason": phase, "message": message}))
}

fn restarts(count: i64, last: &str, now: i64) -> String {
    if count == 0 || last.is_empty() { count.to_string() } else { format!("{count} ({} ago)", since(last, now)) }
}

fn gates(pod: &Value) -> Value {
    let gates = meta::list(pod, "spec.readinessGates");
    if gates.is_empty() {
        return "<none>".into();
    }
    let is_true = |kind: &Value| {
        meta::list(pod, "status.conditions")
            .iter()
            .any(|condition| condition["type"] == *kind && condition["status"] == "True")
    };
    let met = gates.iter().filter(|gate| is_true(&gate["conditionType"])).count();
    format!("{met}/{}", gates.len()).into()
}

/// What the containers' states come to.
struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: String,
}

impl Summary {
    fn of(pod: &Value) -> Self {
        let phase = meta::text(pod, "status.phase");
        let reason = meta::text(pod, "status.reason");
        let mut summary = Self {
            reason: if reason.is_empty() { phase } else { reason }.to_owned(),
            ready: 0,
            total: meta::list(pod, "spec.containers").len(),
            restarts: 0,
            last_restart: String::new(),
        };
        let gated = meta::list(pod, "status.conditions")
            .iter()
            .any(|condition| condition["type"] == "PodScheduled" && condition["reason"] == "SchedulingGated");
        if gated {
            summary.reason = "SchedulingGated".to_owned();
        }
        if !summary.read_init(pod) {
            summary.read_main(pod);
        }
        if meta::is_deleting(pod) {
            let lost = reason == "NodeLost";
            if lost {
                summary.reason = "Unknown".to_owned();
            } else if !matches!(phase, "Failed" | "Succeeded") {
                summary.reason = "Terminating".to_owned();
            }
        }
        summary
    }

    /// The first init container that has not ended well tells the reason; whether there is one.
    fn read_init(&mut self, pod: &Value) -> bool {
        let specs = meta::list(pod, "spec.initContainers");
        let is_sidecar =
            |name: &Value| specs.iter().any(|spec| spec["name"] == *name && spec["restartPolicy"] == "Always");
        let statuses = meta::list(pod, "status.initContainerStatuses");
        self.total += specs.iter().filter(|spec| spec["restartPolicy"] == "Always").count();
        let mut initializing = false;
        for (position, status) in statuses.iter().enumerate() {
            self.count(status);
            let sidecar = is_sidecar(&status["name"]);
            if sidecar && status["ready"] == true {
                self.ready += 1;
            }
            let state = &status["state"];
            let done =
                meta::at(state, "terminated.exitCode").as_i64() == Some(0) || (sidecar && status["started"] == true);
            if done || initializing {
                continue;
            }
            initializing = true;
            let waiting = meta::text(state, "waiting.reason");
            self.reason = if !state["terminated"].is_null() {
                format!("Init:{}", ended(&state["terminated"]))
            } else if !waiting.is_empty() && waiting != "PodInitializing" {
                format!("Init:{waiting}")
            } else {
                format!("Init:{position}/{}", specs.len())
            };
        }
        initializing
    }

    fn read_main(&mut self, pod: &Value) {
        let mut running = false;
        for status in meta::list(pod, "status.containerStatuses").iter().rev() {
            self.count(status);
            let state = &status["state"];
            let waiting = meta::text(state, "waiting.reason");
            if !waiting.is_empty() {
                self.reason = waiting.to_owned();
            } else if !state["terminated"].is_null() {
                self.reason = ended(&state["terminated"]);
            } else if status["ready"] == true && !state["running"].is_null() {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" && running {
            let is_ready = meta::list(pod, "status.conditions")
                .iter()
                .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
            self.reason = if is_ready { "Running" } else { "NotReady" }.to_owned();
        }
    }

    fn count(&mut self, status: &Value) {
        self.restarts += status["restartCount"].as_i64().unwrap_or(0);
        let finished = meta::text(status, "lastState.terminated.finishedAt");
        if finished > self.last_restart.as_str() {
            self.last_restart = finished.to_owned();
        }
    }
}

fn ended(terminated: &Value) -> String {
    let reason = meta::text(terminated, "reason");
    if !reason.is_empty() {
        return reason.to_owned();
    }
    match terminated["signal"].as_i64() {
        Some(signal) if signal != 0 => format!("Signal:{signal}"),
        _ => format!("ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_matters_most() {
        let mut pod = json!({
            "metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]},
            "status": {"phase": "Running", "containerStatuses": [
                {"name": "a", "ready": true, "state": {"running": {}}, "restartCount": 2},
                {"name": "b", "ready": false, "state": {"waiting": {"reason": "CrashLoopBackOff"}}},
            ]},
        });
        let shown =
            |pod: &Value| cells(pod, 0)[1..4].iter().map(|cell| cell.as_str().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(shown(&pod), ["1/2", "CrashLoopBackOff", "2"]);
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(shown(&pod)[1], "Terminating");
    }
}
