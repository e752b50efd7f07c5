//! Manifests that come, go and change, over a runtime in memory and without an API server.

use component::informer::Event;
use serde_json::json;

use super::*;
use crate::pod::worker_tests::{Bed, status, until};

fn manifest(image: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: web}}, spec: {{terminationGracePeriodSeconds: 1, \
         containers: [{{name: c, image: '{image}'}}]}}}}"
    )
}

fn static_pod(image: &str) -> Arc<Pod> {
    Arc::new(manifest::parse(&manifest(image), "/web.yaml", "node-1").expect("a pod"))
}

#[tokio::test]
async fn a_manifest_made_again_is_its_pod_started_again() {
    let mut bed = Bed::new();
    let (node, dispatch) = bed.dispatcher();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("web.yaml");
    std::fs::write(&file, manifest("i:1")).expect("a manifest");
    let (sender, wanted) = watch::channel(Pods::new());
    let (path, shutdown) = (folder.path().to_owned(), Shutdown::new());
    let task = tokio::spawn(read_until_shutdown(path, node.clone(), dispatch, sender, shutdown.clone()));
    let find = || node.running.find("default", "web-node-1", "");
    let runs = || find().is_some_and(|pod| status(&node, spec::uid(&pod)) == "Running");
    until("it runs", runs).await;
    let pod = find().expect("it");
    let log = node.facts.paths.log_folder(&spec::identity(&pod)).join("c/0.log");
    std::fs::write(&log, "hello\n").expect("a log, as a runtime would write it");
    std::fs::remove_file(&file).expect("removed");
    std::fs::write(&file, manifest("i:1")).expect("made again");
    let restarts = || {
        let statuses = find()?.status.as_ref()?.container_statuses.clone()?;
        statuses.first()?.state.as_ref()?.running.as_ref()?;
        Some(statuses.first()?.restart_count)
    };
    until("it runs again", || restarts() == Some(1)).await;
    assert!(wanted.borrow().contains_key(spec::uid(&pod)) && log.exists());
    let stops = bed.runtime.state().calls.iter().filter(|call| call.starts_with("StopPodSandbox")).count();
    assert_eq!(stops, 1);
    std::fs::remove_file(&file).expect("removed");
    until("it is gone", || find().is_none()).await;
    assert!(!log.exists(), "nothing is counted by its logs any more");
    shutdown.trigger();
    task.await.expect("no panic");
}

#[tokio::test]
async fn what_goes_while_a_change_settles_goes_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let again = |name: &str| {
        std::fs::remove_file(folder.path().join(name)).expect("removed");
        std::fs::write(folder.path().join(name), manifest("i:1")).expect("made again");
    };
    ["a", "b"].into_iter().for_each(|name| std::fs::write(folder.path().join(name), "").expect("a manifest"));
    let watch = FileWatch::new().expect("a watch");
    watch.add_folder(folder.path()).expect("watched");
    again("a");
    let removed = watch.changed().await.expect("a change");
    let pause = async { ["a", "b"].into_iter().for_each(again) };
    assert_eq!(settled(Some(&watch), removed, pause).await, ["a", "b"].map(OsString::from).into());
    assert_eq!(watch.queued(), None, "nothing is left that would end them again");
}

#[tokio::test]
async fn a_manifest_that_went_while_it_waited_never_runs() {
    let mut bed = Bed::new();
    let (node, dispatch) = bed.dispatcher();
    let [first, second] = ["i:1", "i:2"].map(static_pod);
    dispatch.put(first.clone());
    until("it runs", || status(&node, spec::uid(&first)) == "Running").await;
    dispatch.gone(spec::uid(&first));
    dispatch.put(second.clone());
    assert!(!dispatch.has(spec::uid(&second)), "it waits for the end of the other");
    dispatch.gone(spec::uid(&second));
    until("the first is gone", || !dispatch.has(spec::uid(&first))).await;
    assert!(!dispatch.has(spec::uid(&second)));
}

#[tokio::test]
async fn a_mirror_stays_until_its_pod_has_ended() {
    let mut bed = Bed::new();
    let (node, dispatch) = bed.dispatcher();
    let [first, second] = ["i:1", "i:2"].map(static_pod);
    let holds = |pod: &Arc<Pod>| dispatch.holds_static(|it| spec::uid(it) == spec::uid(pod));
    dispatch.put(first.clone());
    until("it runs", || status(&node, spec::uid(&first)) == "Running").await;
    dispatch.gone(spec::uid(&first));
    dispatch.put(second.clone());
    assert!(holds(&first) && !holds(&second));
    let ended = tokio::time::timeout(crate::pod::worker_tests::PATIENCE, dispatch.static_pod_ended());
    ended.await.expect("its end is told");
    assert!(!holds(&first) && holds(&second));
}

#[tokio::test]
async fn no_pod_of_the_api_is_taken_for_a_static_one() {
    let mut bed = Bed::new();
    let (node, dispatch) = bed.dispatcher();
    let object = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u",
        "annotations": {"kubernetes.io/config.source": "file"}}, "spec": {"containers": [{"name": "a", "image": "i:1"}]}});
    let pod: Arc<Pod> = Arc::new(serde_json::from_value(object).expect("a pod"));
    dispatch.event(&Event::Added(pod.clone()));
    until("it runs", || status(&node, "u") == "Running").await;
    let shown = node.running.get("u").expect("it");
    assert!(spec::is_static(&pod) && !spec::is_static(&shown) && !spec::is_critical(&shown));
}
