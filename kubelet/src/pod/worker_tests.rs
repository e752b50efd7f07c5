//! A worker over a runtime in memory, without an API server: a pod's whole way, and a kubelet that comes back.

use std::{sync::Arc, time::Duration};

use component::{clock::Clock, informer::Informer, random::Random, recorder::Recorder, shutdown::Shutdown};
use k8s_cri::v1;
use k8s_openapi::api::core::v1::{Node as ApiNode, Pod, Service};
use serde_json::json;
use tokio::sync::{mpsc, watch};

use super::{
    configs::tests::facts,
    inbox::Inbox,
    node::{Evict, Index, Network, Node, Registry},
    spec,
    turns::Turns,
    wishes::Wishes,
    worker,
};
use crate::{
    cgroups::Cgroups,
    dispatch::{Dispatcher, LateDispatcher},
    images::{Puller, Settings, providers::Providers, records::Records},
    node::{conditions::Health, own::OwnNode},
    paths::Paths,
    probes::Prober,
    reporting::Reporter,
    runtime::fake::FakeRuntime,
    sources::ObjectSources,
    volumes::{VolumeManager, image::ImageMounts, tokens::Tokens},
};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Bed {
    pub(crate) runtime: Arc<FakeRuntime>,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) evict: Evict,
    pub(crate) recorder: Recorder,
    pub(crate) cgroups: Option<Cgroups>,
    pub(crate) services: Option<Informer<Service>>,
}

impl Bed {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self {
            runtime: Arc::default(),
            folder,
            evict: Arc::new(|_, _| {}),
            recorder: Recorder::silent(),
            cgroups: None,
            services: None,
        }
    }

    /// A kubelet's shared state over the bed's runtime and folders; a second one is the same node after a restart.
    pub(crate) fn node(&self) -> Arc<Node> {
        let (clock, random) = (Clock::system(), Random::seeded(1));
        let root = self.folder.path();
        let facts = super::configs::NodeFacts {
            paths: Paths {
                root: root.join("kubelet"),
                pod_logs: root.join("logs"),
                container_logs: root.join("links"),
            },
            ..facts()
        };
        let sources = Arc::new(ObjectSources::new(None, Arc::new(|_: &str| {})));
        let reporter = Reporter::new(self.recorder.clone(), "node-1");
        let tokens = Tokens::new(None, clock);
        let settings = Settings::default();
        let (running, wishes) = (Registry::default(), Wishes::default());
        wishes.open(&running);
        let (_, network) = watch::channel(Network { ready: true, message: String::new() });
        Arc::new(Node {
            runtime: self.runtime.clone(),
            runtime_name: "fake".into(),
            turns: Turns::with_places(8),
            volumes: VolumeManager::new(
                facts.paths.clone(),
                sources.clone(),
                tokens,
                clock,
                None,
                ImageMounts::native(),
            ),
            puller: Puller::new(
                self.runtime.clone(),
                sources.clone(),
                reporter.clone(),
                clock,
                settings,
                Providers::none(clock),
                Arc::new(Records::new(&facts.paths.root, clock)),
            ),
            facts: Arc::new(facts),
            cgroups: self.cgroups.clone(),
            pod_pids_limit: None,
            sources,
            client: None,
            services: self.services.clone(),
            reporter,
            prober: Prober::new(clock, random.clone()),
            clock,
            random,
            network,
            health: watch::channel(Health::default()).1,
            index: Index::default(),
            wishes,
            running,
            own: OwnNode::of(ApiNode::default()),
            evict: self.evict.clone(),
        })
    }

    /// A node whose pods can be ended for each other, and what gives them their workers.
    pub(crate) fn dispatcher(&mut self) -> (Arc<Node>, Dispatcher) {
        let late = LateDispatcher::default();
        self.evict = late.evict();
        let node = self.node();
        let dispatch = Dispatcher::new(node.clone(), Shutdown::new());
        late.put(dispatch.clone());
        (node, dispatch)
    }

    fn calls(&self) -> Vec<String> {
        self.runtime.state().calls.clone()
    }
}

fn pod(policy: &str) -> Arc<Pod> {
    let object = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": {"restartPolicy": policy,
        "terminationGracePeriodSeconds": 1, "containers": [{"name": "a", "image": "i:1"},
            {"name": "b", "image": "i:1", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
        "volumes": [{"name": "data", "emptyDir": {}}]}});
    Arc::new(serde_json::from_value(object).expect("a pod"))
}

pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never came: {what}"));
}

pub(crate) fn phase(node: &Node) -> String {
    let pod = node.running.find("ns", "p", "u");
    pod.and_then(|pod| pod.status.as_ref()?.phase.clone()).unwrap_or_default()
}

/// Phase and reason.
pub(crate) fn status(node: &Node, uid: &str) -> String {
    let status = node.running.get(uid).and_then(|pod| pod.status.clone()).unwrap_or_default();
    [status.phase, status.reason].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

const START: [&str; 5] =
    ["RunPodSandbox ", "CreateContainer a", "StartContainer ", "CreateContainer b", "StartContainer "];

#[tokio::test]
async fn a_pod_comes_runs_and_leaves_nothing() {
    let bed = Bed::new();
    let (node, inbox) = (bed.node(), Inbox::default());
    let task = tokio::spawn(worker::run(node.clone(), inbox.clone(), pod("Always"), false, Shutdown::new()));
    until("the pod runs", || phase(&node) == "Running").await;
    assert_eq!(bed.calls(), START);
    assert!(bed.folder.path().join("kubelet/pods/u/volumes/kubernetes.io~empty-dir/data").is_dir());
    inbox.tell(|news| news.gone = true);
    tokio::time::timeout(PATIENCE, task).await.expect("in time").expect("no panic");
    let state = bed.runtime.state();
    assert!(state.sandboxes.is_empty() && state.containers.is_empty());
    assert!(!bed.folder.path().join("kubelet/pods/u").exists());
    assert!(!bed.folder.path().join("logs/ns_p_u").exists());
}

#[tokio::test]
async fn a_kubelet_that_comes_back_starts_nothing_twice() {
    let mut bed = Bed::new();
    let (node, shutdown) = (bed.node(), Shutdown::new());
    let task = tokio::spawn(worker::run(node.clone(), Inbox::default(), pod("Always"), false, shutdown.clone()));
    until("the pod runs", || phase(&node) == "Running").await;
    shutdown.trigger();
    tokio::time::timeout(PATIENCE, task).await.expect("in time").expect("no panic");
    for has_looked in [false, true] {
        let (again, dispatch) = bed.dispatcher();
        if has_looked {
            dispatch.look_at_all(false).await.expect("a look");
        }
        let _task = tokio::spawn(worker::run(again.clone(), Inbox::default(), pod("Always"), false, Shutdown::new()));
        until("the pod runs", || phase(&again) == "Running").await;
        assert_eq!(bed.calls(), START);
    }
}

#[tokio::test]
async fn the_runtime_is_not_asked_what_it_has_of_a_pod_that_is_new() {
    let mut bed = Bed::new();
    let (node, dispatch) = bed.dispatcher();
    dispatch.look_at_all(false).await.expect("a look");
    let run = |gone| tokio::spawn(worker::run(node.clone(), Inbox::default(), pod("Always"), gone, Shutdown::new()));
    let task = run(false);
    until("the pod runs", || phase(&node) == "Running").await;
    assert_eq!((bed.calls(), bed.runtime.state().lists), (START.map(str::to_owned).to_vec(), 1), "looked once, at all");
    task.abort();
    let _ = task.await;
    let task = run(false);
    until("one that follows a worker that failed asks", || bed.runtime.state().lists == 2).await;
    task.abort();
    let _ = task.await;
    let end = tokio::time::timeout(PATIENCE, run(true)).await;
    end.expect("in time").expect("no panic");
    assert!(bed.runtime.state().sandboxes.is_empty() && bed.runtime.state().containers.is_empty());
    // Asked for what is left, and nothing is: its like would be new again.
    assert!(!node.index.may_hold("u") && node.index.may_hold("u"));
}

#[tokio::test]
async fn a_failed_start_is_tried_again() {
    let bed = Bed::new();
    bed.runtime.state().failing.insert("CreateContainer");
    let node = bed.node();
    let _task = tokio::spawn(worker::run(node.clone(), Inbox::default(), pod("Always"), false, Shutdown::new()));
    until("the pod runs", || phase(&node) == "Running").await;
    let creations = bed.calls().iter().filter(|call| *call == "CreateContainer a").count();
    assert_eq!(creations, 2);
}

#[tokio::test]
async fn a_failed_stop_is_not_tried_again_at_once() {
    let bed = Bed::new();
    let (node, inbox) = (bed.node(), Inbox::default());
    let task = tokio::spawn(worker::run(node.clone(), inbox.clone(), pod("Always"), false, Shutdown::new()));
    until("the pod runs", || phase(&node) == "Running").await;
    bed.runtime.state().failing.insert("StopContainer");
    let started = tokio::time::Instant::now();
    inbox.tell(|news| news.gone = true);
    tokio::time::timeout(PATIENCE, task).await.expect("in time").expect("no panic");
    let stops = bed.calls().iter().filter(|call| call.starts_with("StopContainer")).count();
    assert!(stops == 3 && started.elapsed() >= Duration::from_secs(1), "{stops} {:?}", started.elapsed());
}

#[tokio::test]
async fn what_could_not_be_removed_once_stands_in_the_way_no_longer() {
    let bed = Bed::new();
    bed.runtime.state().failing.extend(["StartContainer", "RemoveContainer"]);
    let node = bed.node();
    let _task = tokio::spawn(worker::run(node.clone(), Inbox::default(), pod("Always"), false, Shutdown::new()));
    until("the pod runs", || phase(&node) == "Running").await;
    let removals = bed.calls().iter().filter(|call| call.starts_with("RemoveContainer")).count();
    assert_eq!(removals, 2);
}

#[tokio::test]
async fn nothing_starts_before_its_volume_stands() {
    let bed = Bed::new();
    let (node, inbox) = (bed.node(), Inbox::default());
    let path = bed.folder.path().join("comes-later");
    let with = |ephemeral: serde_json::Value| {
        let mut object = serde_json::to_value(&*pod("Always")).expect("a pod");
        let late = json!({"name": "late", "hostPath": {"path": path, "type": "Directory"}});
        object["spec"]["volumes"].as_array_mut().expect("volumes").push(late);
        object["spec"]["ephemeralContainers"] = ephemeral;
        Arc::new(serde_json::from_value::<Pod>(object).expect("a pod"))
    };
    let _task = tokio::spawn(worker::run(node.clone(), inbox.clone(), with(json!([])), false, Shutdown::new()));
    until("the pod runs, as nobody uses what is not there", || phase(&node) == "Running").await;
    let mounts = json!([{"name": "late", "mountPath": "/late"}]);
    let debug = with(json!([{"name": "debug", "image": "i:1", "volumeMounts": mounts}]));
    inbox.tell(|news| news.object = Some(debug));
    let knows = |pod: &Pod| spec::ephemeral_containers(pod).iter().any(|container| container.name == "debug");
    until("the kubelet knows of it", || node.running.get("u").is_some_and(|pod| knows(&pod))).await;
    std::fs::create_dir(&path).expect("a folder");
    until("it starts", || bed.calls().iter().any(|call| call == "CreateContainer debug")).await;
    assert_eq!(bed.runtime.state().missing_mounts, Vec::<String>::new());
}

#[tokio::test]
async fn a_pod_whose_containers_have_all_ended_gives_its_sandbox_back() {
    let bed = Bed::new();
    let (node, inbox) = (bed.node(), Inbox::default());
    let _task = tokio::spawn(worker::run(node.clone(), inbox.clone(), pod("Never"), false, Shutdown::new()));
    until("the pod runs", || phase(&node) == "Running").await;
    let ids: Vec<String> = bed.runtime.state().containers.keys().cloned().collect();
    ids.iter().for_each(|id| bed.runtime.exit(id, 0));
    inbox.look();
    until("the pod is over", || phase(&node) == "Succeeded").await;
    until("the sandbox stops", || bed.calls().iter().any(|call| call.starts_with("StopPodSandbox"))).await;
    assert!(bed.runtime.state().containers.len() == 2, "the containers stay for their logs");
}

#[tokio::test]
async fn each_wait_of_a_container_that_fails_is_told_once() {
    let (queue, mut events) = mpsc::channel(100);
    let bed = Bed { recorder: Recorder::to(queue), ..Bed::new() };
    let (node, inbox) = (bed.node(), Inbox::default());
    let _task = tokio::spawn(worker::run(node.clone(), inbox.clone(), pod("Always"), false, Shutdown::new()));
    until("the pod runs", || phase(&node) == "Running").await;
    let running = || {
        let state = bed.runtime.state();
        let is_a = |status: &&v1::ContainerStatus| status.metadata.as_ref().is_some_and(|it| it.name == "a");
        let mut all = state.containers.values().map(|(_, status)| status).filter(is_a);
        all.find(|it| it.state() == v1::ContainerState::ContainerRunning).map(|it| it.id.clone())
    };
    // The first restart is made at once.
    for _ in 0..2 {
        until("it runs", || running().is_some()).await;
        let id = running().expect("one");
        bed.runtime.exit(&id, 1);
        let now = i64::try_from(node.clock.now().as_nanosecond()).expect("in range");
        bed.runtime.state().containers.get_mut(&id).expect("it").1.finished_at = now;
        inbox.look();
    }
    let told = async {
        loop {
            let event = events.recv().await.expect("an event");
            if event.reason.as_deref() == Some("BackOff") {
                return event;
            }
        }
    };
    let event = tokio::time::timeout(PATIENCE, told).await.expect("in time");
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    assert_eq!(event.message.as_deref(), Some("Back-off restarting failed container a in pod p_ns(u)"));
    assert_eq!(event.involved_object.field_path.as_deref(), Some("spec.containers{a}"));
    inbox.look();
    inbox.tell(|news| news.gone = true);
    until("the pod is gone", || bed.runtime.state().sandboxes.is_empty()).await;
    let more = std::iter::from_fn(|| events.try_recv().ok()).filter(|it| it.reason.as_deref() == Some("BackOff"));
    assert_eq!(more.count(), 0);
}
