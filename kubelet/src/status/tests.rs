//! Statuses as upstream writes them, as tables.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::{Value, json};

use super::{Inputs, compute, patch};
use crate::{
    pod::{
        fate::{Stop, Why},
        memory::{Memory, Probed},
        plan::Waiting,
    },
    runtime::{ContainerRecord, ContainerState, Observed, SandboxRecord},
};

fn pod(spec: Value) -> Pod {
    let object = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u", "generation": 3}, "spec": spec});
    serde_json::from_value(object).expect("a pod")
}

pub(super) fn record(name: &str, attempt: u32, state: ContainerState, exit_code: i32) -> ContainerRecord {
    ContainerRecord {
        id: format!("{name}{attempt}"),
        sandbox_id: "s".into(),
        name: name.into(),
        attempt,
        state,
        created_at_ns: i64::from(attempt) + 1,
        started_at_ns: 5_500_000_000,
        finished_at_ns: if state == ContainerState::Exited { 7_900_000_000 } else { 0 },
        exit_code,
        reason: if exit_code == 0 { "Completed".into() } else { "Error".into() },
        message: String::new(),
        image: "docker.io/library/i:1".into(),
        image_ref: "sha256:1".into(),
        log_path: String::new(),
        annotations: [].into(),
        mounts: vec![],
        resources: None,
        user: None,
    }
}

pub(super) struct Case {
    pub(super) pod: Pod,
    pub(super) known: PodStatus,
    /// None where it is what the API knows, as of all pods but static ones.
    pub(super) before: Option<PodStatus>,
    pub(super) observed: Observed,
    pub(super) waiting: BTreeMap<String, Waiting>,
    memory: Memory,
    pub(super) stop: Option<Stop>,
    pub(super) is_final: bool,
}

impl Case {
    pub(super) fn new(spec: Value, records: Vec<ContainerRecord>) -> Self {
        let sandbox = SandboxRecord {
            id: "s".into(),
            attempt: 0,
            ready: true,
            created_at_ns: 1,
            host_network: false,
            ips: vec!["10.0.0.2".into()],
        };
        Self {
            pod: pod(spec),
            known: PodStatus::default(),
            before: None,
            observed: Observed::sorted(vec![sandbox], records),
            waiting: BTreeMap::new(),
            memory: Memory::default(),
            stop: None,
            is_final: false,
        }
    }

    pub(super) fn status(&self) -> PodStatus {
        compute(&Inputs {
            pod: &self.pod,
            known: &self.known,
            before: self.before.as_ref().unwrap_or(&self.known),
            observed: &self.observed,
            waiting: &self.waiting,
            memory: &self.memory,
            stop: self.stop.as_ref(),
            is_final: self.is_final,
            host_ips: &["192.0.2.1".to_owned()],
            runtime_name: "containerd",
            has_recursive_read_only: true,
            now: Timestamp::from_second(100).expect("a time"),
        })
    }
}

pub(super) fn condition(status: &PodStatus, type_: &str) -> (String, String, String) {
    let found = status.conditions.iter().flatten().find(|it| it.type_ == type_).cloned().expect("the condition");
    (found.status, found.reason.unwrap_or_default(), found.message.unwrap_or_default())
}

pub(super) fn one(name: &str) -> Value {
    json!({"name": name, "image": "i"})
}

#[test]
fn phases_follow_the_containers() {
    use ContainerState::{Exited, Running};
    for (policy, records, is_final, phase) in [
        ("Always", vec![], false, "Pending"),
        ("Always", vec![record("a", 0, Running, 0)], false, "Pending"),
        ("Always", vec![record("a", 0, Running, 0), record("b", 0, Running, 0)], false, "Running"),
        ("Always", vec![record("a", 0, Exited, 1), record("b", 0, Exited, 0)], false, "Running"),
        ("OnFailure", vec![record("a", 0, Exited, 1), record("b", 0, Exited, 0)], false, "Running"),
        ("Never", vec![record("a", 0, Exited, 0), record("b", 0, Exited, 0)], false, "Succeeded"),
        ("Never", vec![record("a", 0, Exited, 1), record("b", 0, Exited, 0)], false, "Failed"),
        ("Always", vec![record("a", 0, Exited, 0), record("b", 0, Exited, 0)], true, "Succeeded"),
        ("Always", vec![record("a", 0, Exited, 143), record("b", 0, Exited, 0)], true, "Failed"),
        ("Always", vec![], true, "Failed"),
    ] {
        let shown = format!("{policy} {records:?} {is_final}");
        let mut case = Case::new(json!({"restartPolicy": policy, "containers": [one("a"), one("b")]}), records);
        case.is_final = is_final;
        assert_eq!(case.status().phase.as_deref(), Some(phase), "{shown}");
    }
}

#[test]
fn before_and_during_init_the_containers_wait() {
    let spec = json!({"initContainers": [one("i1"), one("i2")], "containers": [one("c")]});
    let mut case = Case::new(spec, vec![record("i1", 0, ContainerState::Exited, 1)]);
    case.waiting.insert("i1".into(), Waiting { reason: "CrashLoopBackOff".into(), message: "back-off".into() });
    let status = case.status();
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    let init = status.init_container_statuses.as_ref().expect("init statuses");
    let state = init[0].state.clone().unwrap_or_default();
    assert_eq!(state.waiting.and_then(|it| it.reason).as_deref(), Some("CrashLoopBackOff"));
    assert_eq!(init[0].last_state.clone().and_then(|it| it.terminated).map(|it| it.exit_code), Some(1));
    let waiting = |status: &k8s_openapi::api::core::v1::ContainerStatus| {
        status.state.clone().and_then(|it| it.waiting).and_then(|it| it.reason).unwrap_or_default()
    };
    assert_eq!(waiting(&init[1]), "PodInitializing");
    assert_eq!(waiting(&status.container_statuses.as_ref().expect("statuses")[0]), "PodInitializing");
    let message = "containers with incomplete status: [i1 i2]";
    assert_eq!(condition(&status, "Initialized"), ("False".into(), "ContainersNotInitialized".into(), message.into()));
}

#[test]
fn readiness_follows_probes_and_gates() {
    let spec = json!({
        "readinessGates": [{"conditionType": "example.com/ok"}],
        "containers": [{"name": "c", "image": "i", "readinessProbe": {"exec": {}}}]
    });
    let mut case = Case::new(spec, vec![record("c", 0, ContainerState::Running, 0)]);
    let unready = "containers with unready status: [c]";
    assert_eq!(condition(&case.status(), "Ready"), ("False".into(), "ContainersNotReady".into(), unready.into()));
    case.memory.probed.insert("c0".into(), Probed { readiness: Some(true), ..Probed::default() });
    let status = case.status();
    assert_eq!(condition(&status, "ContainersReady").0, "True");
    let (truth, reason, message) = condition(&status, "Ready");
    assert_eq!((truth.as_str(), reason.as_str()), ("False", "ReadinessGatesNotReady"));
    assert_eq!(message, "corresponding condition of pod readiness gate \"example.com/ok\" does not exist.");
    let gate = json!([{"type": "example.com/ok", "status": "True"}]);
    case.known.conditions = serde_json::from_value(gate).expect("conditions");
    assert_eq!(condition(&case.status(), "Ready").0, "True");
}

#[test]
fn a_kubelet_that_comes_back_believes_the_api_until_its_probes_have_run() {
    let spec = json!({"containers": [{"name": "c", "image": "i", "readinessProbe": {"exec": {}}}]});
    let mut case = Case::new(spec, vec![record("c", 0, ContainerState::Running, 0)]);
    case.memory.probed.insert("c0".into(), Probed { readiness: Some(true), ..Probed::default() });
    case.known = case.status();
    case.memory.probed.clear();
    assert_eq!(condition(&case.status(), "Ready").0, "True");
    assert_eq!(patch::between("u", &case.known, &case.status()), None, "and tells nothing");
}

#[test]
fn the_kubelets_verdict_stays() {
    let mut case = Case::new(json!({"containers": [one("c")]}), vec![record("c", 0, ContainerState::Running, 0)]);
    let why = Why::Failed { reason: "DeadlineExceeded".into(), message: "too long".into() };
    case.stop = Some(Stop { why, since: Timestamp::UNIX_EPOCH, grace_period_seconds: 30 });
    let told = |status: &PodStatus| (status.phase.clone().unwrap_or_default(), status.reason.clone());
    let status = case.status();
    assert_eq!(told(&status), ("Running".into(), None), "it still runs: nothing of it is free yet");
    assert_eq!(condition(&status, "Ready").1, "PodFailed");
    case.is_final = true;
    let status = case.status();
    assert_eq!(told(&status), ("Failed".into(), Some("DeadlineExceeded".into())));
    case.known = status;
    case.stop = None;
    case.is_final = false;
    let status = case.status();
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("DeadlineExceeded")));
}

#[test]
fn an_evicted_pod_has_failed_once_it_has_ended() {
    let mut case = Case::new(json!({"containers": [one("c")]}), vec![record("c", 0, ContainerState::Running, 0)]);
    case.known.phase = Some("Running".into());
    let why = Why::Evicted { reason: "Evicted".into(), message: "too much".into() };
    case.stop = Some(Stop { why, since: Timestamp::UNIX_EPOCH, grace_period_seconds: 30 });
    let disrupted = |status: &PodStatus| status.conditions.iter().flatten().any(|it| it.type_ == "DisruptionTarget");
    let status = case.status();
    assert_eq!((status.phase.as_deref(), status.reason.as_deref(), disrupted(&status)), (Some("Running"), None, false));
    assert_eq!(condition(&status, "Ready").0, "True");
    case.observed.containers = vec![record("c", 0, ContainerState::Exited, 137)];
    assert_eq!(case.status().phase.as_deref(), Some("Running"), "its sandbox is still there");
    case.is_final = true;
    let status = case.status();
    assert_eq!(
        (status.phase.as_deref(), status.reason.as_deref(), disrupted(&status)),
        (Some("Failed"), Some("Evicted"), true)
    );
    case.observed.containers = vec![record("c", 0, ContainerState::Exited, 0)];
    let status = case.status();
    let told = (status.phase.as_deref(), status.reason.as_deref(), disrupted(&status));
    assert_eq!(told, (Some("Succeeded"), None, true), "it ended well when it was asked to");
}

#[test]
fn termination_messages_share_the_pods_room() {
    let containers = ["a", "b", "c", "d"].map(one);
    let mut told = record("a", 0, ContainerState::Exited, 1);
    told.message = "é".repeat(3000);
    let mut last = record("b", 0, ContainerState::Exited, 1);
    last.message = "x".repeat(4096);
    let records = vec![told, last, record("b", 1, ContainerState::Running, 0)];
    let status = Case::new(json!({"containers": containers}), records).status();
    let statuses = status.container_statuses.as_deref().expect("statuses");
    let length = |state: &Option<k8s_openapi::api::core::v1::ContainerState>| {
        let terminated = state.as_ref().and_then(|state| state.terminated.as_ref());
        terminated.and_then(|it| it.message.as_ref()).map(String::len)
    };
    assert_eq!((length(&statuses[0].state), length(&statuses[1].last_state)), (Some(3072), Some(3072)));
}

#[test]
fn the_address_of_the_nodes_family_comes_first() {
    let mut case = Case::new(json!({"containers": [one("c")]}), vec![]);
    let ips = |status: &PodStatus| status.pod_ips.iter().flatten().map(|it| it.ip.clone()).collect::<Vec<_>>();
    case.observed.sandboxes[0].ips = vec!["fd00::2".into(), "10.0.0.2".into(), "10.0.0.3".into()];
    let status = case.status();
    assert_eq!((ips(&status), status.pod_ip.as_deref()), (vec!["10.0.0.2".into(), "fd00::2".into()], Some("10.0.0.2")));
    case.observed.sandboxes[0].ips = vec!["fd00::2".into()];
    assert_eq!(ips(&case.status()), ["fd00::2"]);
}

#[test]
fn a_pod_tells_what_it_has_as_a_whole() {
    let with = |name: &str, resources: Value, more: Value| {
        let mut container = json!({"name": name, "image": "i", "resources": resources});
        container.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        container
    };
    let both = |cpu: &str, memory: &str| json!({"cpu": cpu, "memory": memory});
    let all = json!({"requests": both("100m", "64Mi"), "limits": both("200m", "64Mi")});
    let disk = json!({"requests": {"memory": "64Mi", "ephemeral-storage": "1Gi"}, "limits": {"memory": "128Mi"}});
    let init = with("i", json!({"requests": {"cpu": "1"}}), json!({}));
    let sidecar = with("s", all.clone(), json!({"restartPolicy": "Always"}));
    let none = json!({});
    for (spec, running, allocated, resources) in [
        (json!({"containers": [with("c", none.clone(), none.clone())]}), true, Value::Null, json!({})),
        (
            json!({"containers": [with("c", all.clone(), none.clone())], "initContainers": [sidecar, init]}),
            true,
            both("1100m", "128Mi"),
            json!({"requests": both("1100m", "128Mi")}),
        ),
        (
            json!({"containers": [with("c", all.clone(), none.clone()), with("d", disk.clone(), none.clone())]}),
            false,
            json!({"cpu": "100m", "ephemeral-storage": "1Gi", "memory": "128Mi"}),
            json!({"requests": {"cpu": "100m", "ephemeral-storage": "1Gi", "memory": "128Mi"},
                "limits": both("200m", "192Mi")}),
        ),
        (
            json!({"containers": [with("c", all.clone(), none.clone()), with("d", disk, none.clone())]}),
            true,
            json!({"cpu": "100m", "ephemeral-storage": "1Gi", "memory": "128Mi"}),
            json!({"requests": both("100m", "128Mi"), "limits": {"memory": "192Mi"}}),
        ),
        (
            json!({"containers": [with("c", none.clone(), none)], "resources": all, "overhead": both("50m", "8Mi")}),
            true,
            both("150m", "72Mi"),
            json!({"requests": both("150m", "64Mi"), "limits": both("250m", "72Mi")}),
        ),
    ] {
        let state = if running { ContainerState::Running } else { ContainerState::Created };
        let names = spec["containers"].as_array().expect("containers").iter();
        let names = names.chain(spec["initContainers"].as_array().into_iter().flatten());
        let records = names.filter_map(|it| it["name"].as_str()).map(|name| match name {
            "i" => record(name, 0, ContainerState::Exited, 0),
            _ => record(name, 0, state, 0),
        });
        let status = Case::new(spec.clone(), records.collect()).status();
        let told = serde_json::to_value(&status).expect("a status");
        assert_eq!((&told["allocatedResources"], &told["resources"]), (&allocated, &resources), "{spec}");
    }
}

#[test]
fn times_are_whole_seconds_and_the_last_run_is_told() {
    let records = vec![record("c", 0, ContainerState::Exited, 3), record("c", 1, ContainerState::Running, 0)];
    let case = Case::new(json!({"containers": [one("c")]}), records);
    let status = case.status();
    let found = &status.container_statuses.as_ref().expect("statuses")[0];
    assert_eq!(found.restart_count, 1);
    assert_eq!(found.container_id.as_deref(), Some("containerd://c1"));
    let last = found.last_state.clone().and_then(|it| it.terminated).expect("the last run");
    assert_eq!((last.exit_code, last.finished_at.map(|it| it.0.as_nanosecond())), (3, Some(7_000_000_000)));
    assert_eq!(status.observed_generation, Some(3));
    assert_eq!(status.pod_ip.as_deref(), Some("10.0.0.2"));
}

#[test]
fn patches_hold_only_what_changed_and_keep_foreign_conditions() {
    let mut case = Case::new(json!({"containers": [one("c")]}), vec![]);
    case.known = case.status();
    let foreign = json!({"type": "DisruptionTarget", "status": "True"});
    let foreign = serde_json::from_value(foreign).expect("a condition");
    case.known.conditions.get_or_insert_default().push(foreign);
    assert_eq!(patch::between("u", &case.known, &case.status()), None);
    case.observed = Observed::sorted(case.observed.sandboxes, vec![record("c", 0, ContainerState::Running, 0)]);
    let patch = patch::between("u", &case.known, &case.status()).expect("a difference");
    let mut keys: Vec<&String> = patch["status"].as_object().expect("an object").keys().collect();
    keys.sort();
    assert_eq!(keys, ["conditions", "containerStatuses", "phase"]);
    let types: Vec<&Value> =
        patch["status"]["conditions"].as_array().expect("a list").iter().map(|it| &it["type"]).collect();
    assert_eq!(types, ["Ready", "ContainersReady"]);
    assert_eq!(patch["status"]["conditions"][0]["reason"], Value::Null, "a reason that is gone is removed");
}

#[test]
fn mounts_are_told_as_they_came_to_be() {
    let mount = |more: Value| {
        let mut mount = json!({"name": "v", "mountPath": "/v"});
        mount.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        mount
    };
    for (asked, read_only, recursive) in [
        (json!({}), None, None),
        (json!({"readOnly": true}), Some(true), Some("Disabled")),
        (json!({"readOnly": true, "recursiveReadOnly": "IfPossible"}), Some(true), Some("Enabled")),
    ] {
        let container = json!({"name": "a", "image": "i", "volumeMounts": [mount(asked.clone())]});
        let scene = Case::new(json!({"containers": [container]}), vec![record("a", 0, ContainerState::Running, 0)]);
        let status = scene.status();
        let told = status.container_statuses.as_deref().and_then(|it| it[0].volume_mounts.clone()).expect("mounts");
        assert_eq!((told[0].read_only, told[0].recursive_read_only.as_deref()), (read_only, recursive), "{asked}");
    }
}
