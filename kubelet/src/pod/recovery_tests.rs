//! A kubelet killed at every changing CRI call, with nothing, half or all of the call done; the next one must bring the
//! pod to the same end: nothing started twice, nothing left behind.

use std::sync::Arc;

use component::shutdown::Shutdown;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::json;

use super::{
    inbox::Inbox,
    node::Node,
    worker,
    worker_tests::{Bed, PATIENCE, phase, until},
};
use crate::{
    orphans,
    runtime::{
        fake::{Cut, FakeRuntime},
        labels::Identity,
    },
};

/// More calls than a start or an end makes: the loops below end when a kubelet lives through.
const CALLS_MAX: usize = 40;

type Task = tokio::task::JoinHandle<Option<PodStatus>>;

fn pod(policy: &str) -> Arc<Pod> {
    let object = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": {"restartPolicy": policy,
        "terminationGracePeriodSeconds": 1,
        "initContainers": [{"name": "side", "image": "i:1", "restartPolicy": "Always"}],
        "containers": [{"name": "a", "image": "i:1"},
            {"name": "b", "image": "i:1", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
        "volumes": [{"name": "data", "emptyDir": {}}]}});
    Arc::new(serde_json::from_value(object).expect("a pod"))
}

/// A kubelet's worker for the pod; aborting it is `kill -9`.
fn live(node: &Arc<Node>, inbox: &Inbox, pod: &Arc<Pod>, gone: bool) -> Task {
    tokio::spawn(worker::run(node.clone(), inbox.clone(), pod.clone(), gone, Shutdown::new()))
}

/// True when the kubelet was killed at the cut, false when it reached `end` without coming to it.
async fn killed(runtime: &FakeRuntime, task: Task, end: impl Future<Output = ()>) -> bool {
    let died = tokio::select! {
        () = runtime.died() => true,
        () = end => false,
    };
    task.abort();
    let _ = task.await;
    died
}

fn running(bed: &Bed) -> Vec<(String, u32)> {
    let state = bed.runtime.state();
    let running = k8s_cri::v1::ContainerState::ContainerRunning as i32;
    let mut names: Vec<(String, u32)> = state
        .containers
        .values()
        .filter(|(_, it)| it.state == running)
        .filter_map(|(_, it)| it.metadata.as_ref().map(|it| (it.name.clone(), it.attempt)))
        .collect();
    names.sort();
    names
}

fn has_all_running(bed: &Bed) -> bool {
    running(bed).len() == 3
}

#[tokio::test]
async fn a_start_cut_anywhere_is_finished_by_the_next_kubelet() {
    for cut in [Cut::Nothing, Cut::Half, Cut::All] {
        for policy in ["Always", "Never"] {
            for call in 0..CALLS_MAX {
                let bed = Bed::new();
                let pod = pod(policy);
                bed.runtime.cut(call, cut);
                let node = bed.node();
                let task = live(&node, &Inbox::default(), &pod, false);
                let was_killed = killed(&bed.runtime, task, until("the pod runs", || phase(&node) == "Running")).await;
                bed.runtime.mend();
                let again = bed.node();
                let task = live(&again, &Inbox::default(), &pod, false);
                let what = format!("{policy}: cut {cut:?} at call {call}");
                until(&what, || phase(&again) == "Running" && has_all_running(&bed)).await;
                let each = [("a".to_owned(), 0), ("b".to_owned(), 0), ("side".to_owned(), 0)];
                assert_eq!(running(&bed), each, "{what}: nobody counts a restart");
                assert!(bed.runtime.state().twice.is_empty(), "{what}: started twice");
                let ready = bed.runtime.state().sandboxes.values().filter(|it| it.state == 0).count();
                assert_eq!(ready, 1, "{what}: one sandbox");
                task.abort();
                if !was_killed {
                    assert!(call > 6, "{policy}: the start makes more calls than {call}");
                    break;
                }
            }
        }
    }
}

/// Ends the pod as a kubelet does for what nobody has any more.
async fn clear(bed: &Bed) -> (Arc<Node>, Task) {
    let node = bed.node();
    let containers = node.runtime.list_containers(None).await.expect("a list");
    let identity = Identity { uid: "u".into(), namespace: "ns".into(), name: "p".into() };
    let rest = Arc::new(orphans::restored(&identity, &containers));
    let task = live(&node, &Inbox::default(), &rest, true);
    (node, task)
}

#[tokio::test]
async fn an_end_cut_anywhere_is_finished_by_the_next_kubelet() {
    for cut in [Cut::Nothing, Cut::Half, Cut::All] {
        for call in 0..CALLS_MAX {
            let bed = Bed::new();
            let (node, inbox) = (bed.node(), Inbox::default());
            let task = live(&node, &inbox, &pod("Always"), false);
            until("the pod runs", || phase(&node) == "Running" && has_all_running(&bed)).await;
            bed.runtime.cut(call, cut);
            inbox.tell(|news| news.gone = true);
            let is_empty = || {
                let state = bed.runtime.state();
                state.containers.is_empty() && state.sandboxes.is_empty()
            };
            let was_killed = killed(&bed.runtime, task, until("the pod is gone", is_empty)).await;
            bed.runtime.mend();
            let (_node, task) = clear(&bed).await;
            let what = format!("cut {cut:?} at call {call}");
            tokio::time::timeout(PATIENCE, task).await.expect(&what).expect("no panic");
            assert!(is_empty(), "{what}: the runtime holds nothing");
            assert!(!bed.folder.path().join("kubelet/pods/u").exists(), "{what}: no volumes");
            assert!(!bed.folder.path().join("logs/ns_p_u").exists(), "{what}: no logs");
            if !was_killed {
                assert!(call > 4, "the end makes more calls than {call}");
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_resize_cut_anywhere_is_finished_by_the_next_kubelet() {
    let sized = |cpu: &str| {
        let object = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u", "generation": 2},
            "spec": {"terminationGracePeriodSeconds": 1,
            "containers": [{"name": "a", "image": "i:1", "resources": {"requests": {"cpu": cpu}, "limits": {"cpu": cpu}}}]}});
        Arc::new(serde_json::from_value::<Pod>(object).expect("a pod"))
    };
    for cut in [Cut::Nothing, Cut::All] {
        let bed = Bed::new();
        let (node, inbox) = (bed.node(), Inbox::default());
        let task = live(&node, &inbox, &sized("100m"), false);
        until("the pod runs", || phase(&node) == "Running").await;
        bed.runtime.cut(0, cut);
        inbox.tell(|news| news.object = Some(sized("200m")));
        assert!(killed(&bed.runtime, task, std::future::pending()).await);
        let again = bed.node();
        let _task = live(&again, &Inbox::default(), &sized("200m"), false);
        let shares = || {
            let state = bed.runtime.state();
            let (_, container) = state.containers.values().next()?;
            container.resources.as_ref()?.linux.as_ref().map(|it| it.cpu_shares)
        };
        until("the container has its new share", || shares() == Some(204)).await;
        let is_calm = |pod: Arc<Pod>| {
            let conditions = pod.status.as_ref().and_then(|it| it.conditions.clone()).unwrap_or_default();
            !conditions.iter().any(|it| it.type_ == "PodResizeInProgress")
        };
        let is_done = || phase(&again) == "Running" && again.running.find("ns", "p", "u").is_some_and(is_calm);
        until("and nothing is in progress any more", is_done).await;
        assert_eq!(running(&bed), [("a".to_owned(), 0)], "no restart");
    }
}
