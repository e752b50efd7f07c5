//! The kubelet's own numbers on `/metrics`, under upstream's names: what runs here, what the runtime was asked, how long
//! it took.
//!
//! Enter at [`follow`] for what is counted when it is asked for; the rest is told where it happens.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock, Weak},
    time::Instant,
};

use component::metrics;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod, PodStatus};
use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};

use crate::pod::{node::Node, spec::Role};

static NODE_NAME: LazyLock<IntGaugeVec> =
    LazyLock::new(|| metrics::int_gauge("kubelet_node_name", "The node's name. The count is always 1.", &["node"]));
static RUNNING_PODS: LazyLock<IntGaugeVec> =
    LazyLock::new(|| metrics::int_gauge("kubelet_running_pods", "Number of pods that have a running pod sandbox", &[]));
static RUNNING_CONTAINERS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    metrics::int_gauge("kubelet_running_containers", "Number of containers currently running", &["container_state"])
});
static OPERATIONS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Cumulative number of runtime operations by operation type.";
    metrics::counter("kubelet_runtime_operations_total", help, &["operation_type"])
});
static OPERATION_ERRORS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Cumulative number of runtime operation errors by operation type.";
    metrics::counter("kubelet_runtime_operations_errors_total", help, &["operation_type"])
});
static OPERATION_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    let help = "Duration in seconds of runtime operations. Broken down by operation type.";
    let buckets: Vec<f64> = (0..14).map(|power| 0.005 * 2.5f64.powi(power)).collect();
    metrics::histogram("kubelet_runtime_operations_duration_seconds", help, &["operation_type"], &buckets)
});
static STARTED_PODS: LazyLock<IntCounterVec> =
    LazyLock::new(|| metrics::counter("kubelet_started_pods_total", "Cumulative number of pods started", &[]));
static STARTED_PODS_ERRORS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::counter("kubelet_started_pods_errors_total", "Cumulative number of errors when starting pods", &[])
});
static STARTED_CONTAINERS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Cumulative number of containers started";
    metrics::counter("kubelet_started_containers_total", help, &["container_type"])
});
static STARTED_CONTAINERS_ERRORS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Cumulative number of errors when starting containers";
    metrics::counter("kubelet_started_containers_errors_total", help, &["container_type", "code"])
});
static TERMINATED_CONTAINERS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Cumulative number of container terminations.";
    metrics::counter("kubelet_terminated_containers_total", help, &["container_type", "exit_code", "reason"])
});
static EVICTIONS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Cumulative number of pod evictions by eviction signal";
    metrics::counter("kubelet_evictions", help, &["eviction_signal"])
});
static REJECTIONS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Cumulative number pod admission rejections by the Kubelet.";
    metrics::counter("kubelet_admission_rejections_total", help, &["reason"])
});
static HTTP_FALLBACKS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "The number of times lifecycle handlers successfully fell back to http from https.";
    metrics::counter("kubelet_lifecycle_handler_http_fallbacks_total", help, &[])
});
static LOSING_SUPPORT: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help =
        "the Kubernetes version that the currently running CRI implementation will lose support on if not upgraded.";
    metrics::int_gauge("kubelet_cri_losing_support", help, &["version"])
});
static CGROUP_VERSION: LazyLock<IntGaugeVec> =
    LazyLock::new(|| metrics::int_gauge("kubelet_cgroup_version", "cgroup version on the hosts.", &[]));
static POD_START_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    let help = "Duration in seconds from kubelet seeing a pod for the first time to the pod starting to run";
    let buckets = [
        0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0, 180.0, 240.0, 300.0, 360.0, 480.0,
        600.0, 900.0, 1200.0, 1800.0, 2700.0, 3600.0,
    ];
    metrics::histogram("kubelet_pod_start_duration_seconds", help, &[], &buckets)
});

/// Counts pods and containers whenever metrics are asked for, as long as the node is there.
pub(crate) fn follow(node: &Arc<Node>) {
    NODE_NAME.with_label_values(&[node.facts.node_name.as_str()]).set(1);
    HTTP_FALLBACKS.with_label_values::<&str>(&[]).inc_by(0);
    if let Some(cgroups) = &node.cgroups {
        CGROUP_VERSION.with_label_values::<&str>(&[]).set(if cgroups.hierarchy().is_v2() { 2 } else { 1 });
    }
    let node: Weak<Node> = Arc::downgrade(node);
    metrics::before_scrape(move || {
        let Some(node) = node.upgrade() else { return false };
        let (pods, states) = counts(&node.running.list());
        RUNNING_PODS.with_label_values::<&str>(&[]).set(pods);
        RUNNING_CONTAINERS.reset();
        for (state, count) in states {
            RUNNING_CONTAINERS.with_label_values(&[state]).set(count);
        }
        true
    });
}

/// Pods of which anything runs, and containers by their state. Pure.
fn counts(pods: &[Arc<Pod>]) -> (i64, BTreeMap<&'static str, i64>) {
    let (mut running, mut states) = (0, BTreeMap::from([("exited", 0), ("running", 0)]));
    for status in pods.iter().filter_map(|pod| pod.status.as_ref()) {
        let lists = [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
        let of = lists.into_iter().flat_map(|list| list.iter().flatten()).filter_map(|it| it.state.as_ref());
        let (alive, dead) = of.fold((0, 0), |(alive, dead), state| {
            (alive + i64::from(state.running.is_some()), dead + i64::from(state.terminated.is_some()))
        });
        running += i64::from(alive > 0);
        *states.entry("running").or_default() += alive;
        *states.entry("exited").or_default() += dead;
    }
    (running, states)
}

/// A call of the runtime; dropped without an end it was given up.
pub(crate) struct Operation {
    kind: &'static str,
    started: Instant,
}

impl Operation {
    /// `name` is CRI's.
    pub(crate) fn begin(name: &'static str) -> Self {
        let kind = operation_type(name);
        OPERATIONS.with_label_values(&[kind]).inc();
        Self { kind, started: Instant::now() }
    }

    pub(crate) fn end(self, has_failed: bool) {
        OPERATION_SECONDS.with_label_values(&[self.kind]).observe(self.started.elapsed().as_secs_f64());
        if has_failed {
            OPERATION_ERRORS.with_label_values(&[self.kind]).inc();
        }
    }
}

/// Upstream's name of a call.
fn operation_type(name: &'static str) -> &'static str {
    match name {
        "Version" => "version",
        "Status" => "status",
        "RuntimeConfig" => "runtime_config",
        "UpdateRuntimeConfig" => "update_runtime_config",
        "ListPodSandbox" => "list_podsandbox",
        "PodSandboxStatus" => "podsandbox_status",
        "RunPodSandbox" => "run_podsandbox",
        "StopPodSandbox" => "stop_podsandbox",
        "RemovePodSandbox" => "remove_podsandbox",
        "ListContainers" => "list_containers",
        "ContainerStatus" => "container_status",
        "CreateContainer" => "create_container",
        "StartContainer" => "start_container",
        "StopContainer" => "stop_container",
        "RemoveContainer" => "remove_container",
        "UpdateContainerResources" => "update_container",
        "ReopenContainerLog" => "reopen_container_log",
        "CheckpointContainer" => "checkpoint_container",
        "ExecSync" => "exec_sync",
        "Exec" => "exec",
        "Attach" => "attach",
        "PortForward" => "port_forward",
        "ListContainerStats" => "list_container_stats",
        "ListImages" => "list_images",
        "ImageStatus" => "image_status",
        "PullImage" => "pull_image",
        "RemoveImage" => "remove_image",
        "ImageFsInfo" => "image_fs_info",
        other => other,
    }
}

pub(crate) fn pod_started(has_failed: bool) {
    let family = if has_failed { &STARTED_PODS_ERRORS } else { &STARTED_PODS };
    family.with_label_values::<&str>(&[]).inc();
}

/// Every start is counted; one that failed also by its reason.
pub(crate) fn container_started(role: Role, failure: Option<&str>) {
    let kind = match role {
        Role::Init | Role::Sidecar => "init_container",
        Role::Regular => "container",
        Role::Ephemeral => "ephemeral_container",
    };
    STARTED_CONTAINERS.with_label_values(&[kind]).inc();
    if let Some(reason) = failure {
        STARTED_CONTAINERS_ERRORS.with_label_values(&[kind, reason]).inc();
    }
}

/// A pod may not run here. Extended resources are many: they share one reason, as upstream has it.
pub(crate) fn rejected(reason: &str) {
    let own = ["OutOfcpu", "OutOfmemory", "OutOfephemeral-storage", "OutOfpods"];
    let is_extended = reason.starts_with("OutOf") && !own.contains(&reason);
    REJECTIONS.with_label_values(&[if is_extended { "OutOfExtendedResources" } else { reason }]).inc();
}

/// A hook asked for HTTPS reached a plain server.
pub(crate) fn hook_fell_back() {
    HTTP_FALLBACKS.with_label_values::<&str>(&[]).inc();
}

/// The runtime does not tell its cgroup driver: upstream says that it will not do with Kubernetes 1.37.
pub(crate) fn runtime_is_too_old() {
    LOSING_SUPPORT.with_label_values(&["1.37.0"]).set(1);
}

/// Counts the containers that have ended since the status before.
pub(crate) fn containers_ended(before: &PodStatus, now: &PodStatus) {
    type Of = fn(&PodStatus) -> &Option<Vec<ContainerStatus>>;
    let lists: [(&str, Of); 3] = [
        ("init_container", |it| &it.init_container_statuses),
        ("container", |it| &it.container_statuses),
        ("ephemeral_container", |it| &it.ephemeral_container_statuses),
    ];
    for (kind, list) in lists {
        let known = |name: &str| list(before).iter().flatten().find(|it| it.name == name);
        for end in list(now).iter().flatten().flat_map(|status| new_ends(known(&status.name), status)) {
            let code = end.exit_code.to_string();
            let reason = end.reason.as_deref().unwrap_or_default();
            TERMINATED_CONTAINERS.with_label_values(&[kind, code.as_str(), reason]).inc();
        }
    }
}

/// The ends that the status before did not tell. One that back-off, or a new start, follows at once shows as the last state
/// alone; one without a container's ID is a guess there.
fn new_ends<'a>(
    before: Option<&'a ContainerStatus>,
    now: &'a ContainerStatus,
) -> impl Iterator<Item = &'a ContainerStateTerminated> {
    let end = |state: &'a Option<ContainerState>| state.as_ref()?.terminated.as_ref();
    let is_known = move |id: &Option<String>| {
        before
            .is_some_and(|it| [&it.state, &it.last_state].into_iter().filter_map(end).any(|it| it.container_id == *id))
    };
    let current = end(&now.state);
    let earlier = end(&now.last_state).filter(|it| {
        before.is_some() && it.container_id.is_some() && current.is_none_or(|now| now.container_id != it.container_id)
    });
    current.into_iter().chain(earlier).filter(move |it| !is_known(&it.container_id))
}

pub(crate) fn evicted(signal: &str) {
    EVICTIONS.with_label_values(&[signal]).inc();
}

/// A pod has come to run for the first time.
pub(crate) fn pod_runs(pod: &Pod, now: jiff::Timestamp) {
    let Some(seen) = pod.status.as_ref().and_then(|status| status.start_time.as_ref()) else { return };
    POD_START_SECONDS.with_label_values::<&str>(&[]).observe(now.duration_since(seen.0).as_secs_f64().max(0.0));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_runs_is_counted() {
        let pod = |states: [serde_json::Value; 2]| -> Arc<Pod> {
            let [a, b] = states.map(|state| json!({"name": "c", "state": state, "image": "", "imageID": "", "ready": false, "restartCount": 0}));
            Arc::new(
                serde_json::from_value(json!({"status": {"initContainerStatuses": [a], "containerStatuses": [b]}}))
                    .expect("a pod"),
            )
        };
        let (running, ended) = (json!({"running": {}}), json!({"terminated": {"exitCode": 0}}));
        let pods = [pod([ended.clone(), running.clone()]), pod([ended.clone(), ended]), pod([json!({}), running])];
        assert_eq!(counts(&pods), (2, BTreeMap::from([("exited", 3), ("running", 2)])));
    }

    #[test]
    fn each_end_of_a_container_is_counted_once() {
        let status = |state: serde_json::Value| -> PodStatus {
            let one =
                json!({"name": "c", "state": state, "image": "", "imageID": "", "ready": false, "restartCount": 0});
            serde_json::from_value(json!({"containerStatuses": [one]})).expect("a status")
        };
        let running = status(json!({"running": {}}));
        let ended = status(json!({"terminated": {"exitCode": 139, "reason": "Error"}}));
        let nothing = PodStatus::default();
        for (before, now) in [(&nothing, &running), (&running, &ended), (&ended, &ended), (&nothing, &ended)] {
            containers_ended(before, now);
        }
        assert_eq!(ends_with(139), 2);
    }

    fn ends_with(exit_code: i32) -> u64 {
        TERMINATED_CONTAINERS.with_label_values(&["container", &exit_code.to_string(), "Error"]).get()
    }

    #[test]
    fn an_end_counts_also_where_back_off_follows_at_once() {
        let status = |state: &serde_json::Value, last: &serde_json::Value| -> PodStatus {
            let one = json!({"name": "c", "state": state, "lastState": last, "image": "", "imageID": "", "ready": false,
                "restartCount": 0});
            serde_json::from_value(json!({"containerStatuses": [one]})).expect("a status")
        };
        let (running, waiting) = (json!({"running": {}}), json!({"waiting": {"reason": "CrashLoopBackOff"}}));
        let end = |id: &str| json!({"terminated": {"exitCode": 140, "reason": "Error", "containerID": id}});
        let lost = json!({"terminated": {"exitCode": 140, "reason": "Error"}});
        let (a, b, none) = (end("a"), end("b"), json!({}));
        let turns = [
            (&running, &none, 0),
            (&waiting, &a, 1),
            (&running, &a, 1),
            (&b, &a, 2),
            (&b, &b, 2),
            (&waiting, &b, 2),
            (&running, &b, 2),
            (&waiting, &lost, 2),
        ];
        let mut before = PodStatus::default();
        for (state, last, wanted) in turns {
            let now = status(state, last);
            containers_ended(&before, &now);
            assert_eq!(ends_with(140), wanted, "{state} {last}");
            before = now;
        }
        containers_ended(&PodStatus::default(), &status(&waiting, &a));
        assert_eq!(ends_with(140), 2, "a kubelet that comes back does not count what was before it");
    }

    #[test]
    fn refusals_for_extended_resources_share_one_reason() {
        ["OutOfcpu", "OutOfexample.com/a", "OutOfexample.com/b"].into_iter().for_each(rejected);
        let text = String::from_utf8(metrics::text()).expect("text");
        assert!(text.contains("kubelet_admission_rejections_total{reason=\"OutOfExtendedResources\"} 2\n"), "{text}");
        assert!(text.contains("kubelet_admission_rejections_total{reason=\"OutOfcpu\"}"), "{text}");
    }

    #[test]
    fn calls_of_the_runtime_have_upstreams_names() {
        Operation::begin("RunPodSandbox").end(true);
        let text = String::from_utf8(metrics::text()).expect("text");
        for wanted in [
            "kubelet_runtime_operations_total{operation_type=\"run_podsandbox\"}",
            "kubelet_runtime_operations_errors_total{operation_type=\"run_podsandbox\"}",
            "kubelet_runtime_operations_duration_seconds_bucket{operation_type=\"run_podsandbox\",le=\"0.0125\"}",
        ] {
            assert!(text.contains(wanted), "{wanted} in {text}");
        }
    }
}
