//! Statuses of pods whose containers are replaced, restarted together, or gone from the runtime.

use jiff::Timestamp;
use k8s_openapi::{api::core::v1::PodStatus, apimachinery::pkg::apis::meta::v1::Time};
use serde_json::json;

use super::tests::{Case, condition, one, record};
use crate::{
    pod::{
        fate::{Stop, Why},
        plan::Waiting,
    },
    runtime::{ContainerState, labels::CONTAINER_HASH},
};

#[test]
fn a_container_that_makes_way_for_its_new_definition_ends_no_pod() {
    let mut old = record("c", 0, ContainerState::Exited, 143);
    old.annotations.insert(CONTAINER_HASH.into(), "other".into());
    let mut case = Case::new(json!({"restartPolicy": "Never", "containers": [one("c")]}), vec![old]);
    assert_eq!(case.status().phase.as_deref(), Some("Running"));
    case.stop = Some(Stop { why: Why::Deleted, since: Timestamp::UNIX_EPOCH, grace_period_seconds: 1 });
    case.is_final = true;
    assert_eq!(case.status().phase.as_deref(), Some("Failed"));
}

#[test]
fn an_init_container_that_left_no_trace_has_passed_once_the_pod_is_initialized() {
    let spec = json!({"initContainers": [one("i")], "containers": [one("c")]});
    let told = |case: &Case| {
        let status = case.status();
        let init = status.init_container_statuses.as_ref().expect("init statuses")[0].clone();
        let ended = init.state.clone().and_then(|it| it.terminated);
        let words = ended.and_then(|it| it.message).unwrap_or_default();
        (status.phase.unwrap_or_default(), init.ready, words)
    };
    let mut case = Case::new(spec, vec![]);
    assert_eq!(told(&case), ("Pending".into(), false, String::new()));
    case.observed.containers =
        vec![record("i", 0, ContainerState::Exited, 0), record("c", 0, ContainerState::Running, 0)];
    case.known = case.status();
    case.observed.containers.remove(0);
    assert_eq!(told(&case), ("Running".into(), true, String::new()), "the API knows how it ended");
    let words = "Unable to get init container status from container runtime and pod has been initialized, treat it as \
                 exited normally";
    let annotations = case.pod.metadata.annotations.get_or_insert_default();
    annotations.insert("kubernetes.io/config.source".into(), "file".into());
    case.before = Some(PodStatus::default());
    assert_eq!(
        told(&case),
        ("Running".into(), true, words.into()),
        "of a static pod it only knows what its mirror says"
    );
    case.known = PodStatus::default();
    assert_eq!(told(&case), ("Running".into(), true, words.into()));
}

#[test]
fn what_a_mirror_tells_of_another_run_is_not_told_of_this_one() {
    let ended = record("c", 0, ContainerState::Exited, 137);
    let mut case = Case::new(json!({"containers": [one("c")]}), vec![ended]);
    case.known = case.status();
    let (mut fresh, mut again) = (record("c", 0, ContainerState::Running, 0), Vec::new());
    fresh.id = "other".into();
    for before in [Some(PodStatus::default()), None] {
        case.before = before;
        case.observed.containers.clear();
        let first = case.status().container_statuses.expect("statuses").remove(0);
        case.observed.containers = vec![fresh.clone()];
        let then = case.status().container_statuses.expect("statuses").remove(0);
        let waits = first.state.is_some_and(|it| it.waiting.is_some());
        again.push((waits, then.last_state.and_then(|it| it.terminated).map(|it| it.exit_code)));
    }
    assert_eq!(again, [(true, None), (false, Some(137))], "where it is this kubelet's own word it goes on");
}

#[test]
fn a_pod_that_the_api_tells_nothing_of_began_when_it_was_first_said_to() {
    let mut case = Case::new(json!({"containers": [one("c")]}), Vec::new());
    let begun = Some(Time(Timestamp::from_second(40).expect("a time")));
    case.before = Some(PodStatus { start_time: begun.clone(), ..PodStatus::default() });
    assert_eq!(case.status().start_time, begun);
}

#[test]
fn restarts_of_all_containers_are_told_of_pods_that_may_have_them() {
    let rules = json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}]);
    let container = json!({"name": "c", "image": "i", "restartPolicy": "Never", "restartPolicyRules": rules});
    let spec = json!({"restartPolicy": "Never", "containers": [container]});
    let mut case = Case::new(spec, vec![record("c", 0, ContainerState::Running, 0)]);
    let told = |case: &Case| condition(&case.status(), "AllContainersRestarting");
    assert_eq!(told(&case), ("False".into(), String::new(), String::new()));
    let why = Waiting { reason: "RestartingAllContainers".into(), message: String::new() };
    case.waiting.insert("c".into(), why);
    let words = "container exited with restart policy rule";
    assert_eq!(told(&case), ("True".into(), "RestartAllContainersStarted".into(), words.into()));
    case.waiting.clear();
    case.observed.containers = vec![record("c", 0, ContainerState::Exited, 0)];
    assert_eq!(told(&case), ("False".into(), "PodCompleted".into(), String::new()));
}
