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

fn record(name: &str, attempt: u32, state: ContainerState, exit_code: i32) -> ContainerRecord {
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

struct Case {
    pod: Pod,
    known: PodStatus,
    observed: Observed,
    waiting: BTreeMap<String, Waiting>,
    memory: Memory,
    stop: Option<Stop>,
    is_final: bool,
}

impl Case {
    fn new(spec: Value, records: Vec<ContainerRecord>) -> Self {
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
            observed: Observed::sorted(vec![sandbox], records),
            waiting: BTreeMap::new(),
            memory: Memory::default(),
            stop: None,
            is_final: false,
        }
    }

    fn status(&self) -> PodStatus {
        compute(&Inputs {
            pod: &self.pod,
            known: &self.known,
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

fn condition(status: &PodStatus, type_: &str) -> (String, String, String) {
    let found = status.conditions.iter().flatten().find(|it| it.type_ == type_).cloned().expect("the condition");
    (found.status, found.reason.unwrap_or_default(), found.message.unwrap_or_default())
}

fn one(name: &str) -> Value {
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
    let status = case.status();
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("DeadlineExceeded")));
    case.known = status;
    case.stop = None;
    let status = case.status();
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("DeadlineExceeded")));
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
