//! Pods that come, over a runtime in memory: for a critical one another ends, and two never get the same room.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::worker_tests::{Bed, status, until};

fn pod(name: &str, cpu: &str, priority: i32) -> Arc<Pod> {
    let object = json!({"metadata": {"name": name, "namespace": "ns", "uid": name}, "spec": {"priority": priority,
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "c", "image": "i:1", "resources": {"requests": {"cpu": cpu}}}]}});
    Arc::new(serde_json::from_value(object).expect("a pod"))
}

#[tokio::test]
async fn a_critical_pod_runs_once_another_has_ended() {
    let mut bed = Bed::new();
    let (node, dispatch) = bed.dispatcher();
    dispatch.put(pod("plain", "1500m", 0));
    until("the pod runs", || status(&node, "plain") == "Running").await;
    dispatch.put(pod("late", "1500m", 0));
    until("there is no room", || status(&node, "late") == "Failed OutOfcpu").await;
    dispatch.put(pod("critical", "1500m", 2_000_000_000));
    until("the critical pod runs", || status(&node, "critical") == "Running").await;
    let ended = node.running.get("plain").and_then(|pod| pod.status.clone()).expect("a status");
    assert_eq!((ended.phase.as_deref(), ended.reason.as_deref()), (Some("Failed"), Some("Preempting")));
    assert_eq!(ended.message.as_deref(), Some("Preempted in order to admit critical pod"));
    let why = ended.conditions.iter().flatten().find(|it| it.type_ == "DisruptionTarget").expect("a condition");
    assert_eq!(why.message.as_deref(), Some("Pod was preempted by Kubelet to accommodate a critical pod."));
    let calls = bed.runtime.state().calls.clone();
    let stopped = calls.iter().position(|call| call.starts_with("StopContainer")).expect("the other was stopped");
    let started = calls.iter().rposition(|call| call.starts_with("RunPodSandbox")).expect("it was started");
    assert!(stopped < started, "room first: {calls:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_that_come_at_once_no_more_are_taken_than_fit() {
    let mut bed = Bed::new();
    let (node, dispatch) = bed.dispatcher();
    let names: Vec<String> = (0..12).map(|number| format!("p{number}")).collect();
    names.iter().for_each(|name| dispatch.put(pod(name, "500m", 0)));
    let count = |wanted: &str| names.iter().filter(|name| status(&node, name) == wanted).count();
    until("all are judged", || count("Running") + count("Failed OutOfcpu") == names.len()).await;
    assert_eq!(count("Running"), 4);
}
