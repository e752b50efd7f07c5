//! Who has a pod's place, at every moment.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::*;
use crate::pod::worker_tests::{Bed, status, until};

fn static_pod(uid: &str) -> Arc<Pod> {
    let object = json!({"metadata": {"name": "web", "namespace": "ns", "uid": uid,
        "annotations": {spec::CONFIG_SOURCE: "file"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    Arc::new(serde_json::from_value(object).expect("a pod"))
}

/// Somebody looks all the time while static pods of one name follow each other: a place that is free for a moment, between
/// the end of one and the start of the next, would be taken by a third.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_place_of_a_static_pod_is_not_free_before_the_next_has_it() {
    let mut bed = Bed::new();
    let (_node, dispatch) = bed.dispatcher();
    dispatch.put(static_pod("0"));
    let is_over = Arc::new(AtomicBool::new(false));
    let look = {
        let (dispatch, is_over) = (dispatch.clone(), is_over.clone());
        move || {
            let mut free = 0;
            while !is_over.load(Ordering::Relaxed) {
                free += usize::from(dispatch.lock().is_empty());
            }
            free
        }
    };
    let look = std::thread::spawn(look);
    for round in 1..=40 {
        let (before, next) = ((round - 1).to_string(), round.to_string());
        // In this order: the one before may end as soon as it is told to, and then there must be a next.
        dispatch.put(static_pod(&next));
        dispatch.gone(&before);
        until("the next has the place", || dispatch.has(&next)).await;
    }
    is_over.store(true, Ordering::Relaxed);
    assert_eq!(look.join().expect("no panic"), 0, "times that the place was free");
}

/// As after a list that began anew: what the worker before it made of the pod at its end is not what the API has.
#[tokio::test]
async fn a_pod_of_the_api_that_comes_back_runs_again() {
    let mut bed = Bed::new();
    let (node, dispatch) = bed.dispatcher();
    let object = json!({"metadata": {"name": "web", "namespace": "ns", "uid": "u"},
        "spec": {"restartPolicy": "Always", "terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "i:1"}]}});
    let pod: Arc<Pod> = Arc::new(serde_json::from_value(object).expect("a pod"));
    dispatch.put(pod.clone());
    until("the pod runs", || status(&node, "u") == "Running").await;
    dispatch.gone("u");
    dispatch.put(pod);
    let starts = || bed.runtime.state().calls.iter().filter(|call| call.starts_with("StartContainer")).count();
    until("the pod runs again", || starts() == 2 && status(&node, "u") == "Running").await;
}

#[tokio::test]
async fn a_step_that_panics_costs_the_pod_its_worker_only() {
    for call in ["RunPodSandbox", "CreateContainer", "StartContainer", "StopContainer", "RemovePodSandbox"] {
        let mut bed = Bed::new();
        let (node, dispatch) = bed.dispatcher();
        bed.runtime.state().panicking = Some(call);
        dispatch.put(static_pod("u"));
        until("the pod runs", || status(&node, "u") == "Running").await;
        dispatch.gone("u");
        let is_empty = || bed.runtime.state().sandboxes.is_empty() && bed.runtime.state().containers.is_empty();
        until("the pod is gone", || is_empty() && !dispatch.has("u")).await;
        assert_eq!(bed.runtime.state().panicking, None, "{call} was made");
    }
}
