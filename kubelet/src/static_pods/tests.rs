//! Manifests that come, go and change, over a runtime in memory and without an API server.

use component::{
    informer::{Event, Informers},
    random::Random,
};
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
        let [status] = &statuses[..] else { return None };
        status.state.as_ref()?.running.as_ref()?;
        Some((status.restart_count, status.last_state.as_ref()?.terminated.as_ref()?.exit_code))
    };
    until("it runs again, and tells how it ended", || restarts() == Some((1, 143))).await;
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
async fn a_mirror_tells_a_static_pod_nothing_of_its_containers() {
    let mut bed = Bed::new();
    let (node, dispatch) = bed.dispatcher();
    let pod = static_pod("i:1");
    let ended = json!({"exitCode": 137, "containerID": "fake://old"});
    let mut mirror = (*pod).clone();
    mirror.metadata.uid = Some("mirror".into());
    mirror.metadata.resource_version = Some("7".into());
    let hash = spec::annotation(&pod, spec::CONFIG_HASH).expect("a hash").to_owned();
    mirror.metadata.annotations.get_or_insert_default().insert(spec::CONFIG_MIRROR.into(), hash);
    mirror.status = serde_json::from_value(json!({"startTime": "2026-01-01T00:00:00Z", "containerStatuses": [{
        "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 4, "containerID": "fake://old",
        "state": {"terminated": ended}}]}))
    .expect("a status");
    dispatch.event(&Event::Added(Arc::new(mirror.clone())));
    dispatch.put(pod.clone());
    until("it runs", || status(&node, spec::uid(&pod)) == "Running").await;
    let told = node.running.get(spec::uid(&pod)).and_then(|pod| pod.status.clone()).expect("a status");
    assert_eq!(told.start_time, mirror.status.and_then(|it| it.start_time), "what it knows of the pod itself");
    let container = told.container_statuses.expect("statuses").remove(0);
    assert_eq!((container.restart_count, container.last_state), (0, None));
}

/// Whose API server never answers.
fn silent() -> Informers {
    let never = |_: http::Request<kube::client::Body>| {
        std::future::pending::<Result<http::Response<kube::client::Body>, std::convert::Infallible>>()
    };
    let client = kube::Client::new(tower::service_fn(never), "default");
    Informers::new(client, Random::seeded(1), Shutdown::new())
}

#[tokio::test]
async fn neither_a_static_pod_nor_an_end_waits_for_an_api_server_that_is_away() {
    let mut bed = Bed::new();
    bed.services = Some(silent().of());
    let (node, dispatch) = bed.dispatcher();
    let mut of_api = (*static_pod("i:1")).clone();
    of_api.metadata.annotations = None;
    (of_api.metadata.uid, of_api.metadata.name) = (Some("u".into()), Some("other".into()));
    dispatch.put(Arc::new(of_api));
    let pod = static_pod("i:1");
    dispatch.put(pod.clone());
    until("the static pod runs", || status(&node, spec::uid(&pod)) == "Running").await;
    assert_eq!(status(&node, "u"), "Pending", "its environment tells of Services");
    dispatch.gone("u");
    until("the other has ended", || !dispatch.has("u")).await;
}

#[tokio::test]
async fn a_static_pod_has_its_deadline() {
    let mut bed = Bed::new();
    let (node, dispatch) = bed.dispatcher();
    let text = manifest("i:1").replace("containers:", "activeDeadlineSeconds: 1, containers:");
    let pod = Arc::new(manifest::parse(&text, "/web.yaml", "node-1").expect("a pod"));
    dispatch.put(pod.clone());
    until("it is over", || status(&node, spec::uid(&pod)) == "Failed DeadlineExceeded").await;
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
