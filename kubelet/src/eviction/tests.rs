//! The node runs out of something: who goes, what it is told, and what the node tells. Over a runtime and a machine in
//! memory, with real workers.

use std::{fs, time::Duration};

use k8s_cri::v1::{ContainerAttributes, ContainerStats, MemoryUsage, UInt64Value};
use serde_json::json;

use super::{
    signal::{Limit, Threshold},
    *,
};
use crate::{
    images::{collect::Policy, records::Records},
    pod::worker_tests::{Bed, status, until},
};

fn pod(name: &str, memory: &str, priority: i32) -> Arc<Pod> {
    let object = json!({"metadata": {"name": name, "namespace": "ns", "uid": name}, "spec": {"priority": priority,
        "terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "i:1",
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            "resources": {"requests": {"memory": memory}, "limits": {"ephemeral-storage": "1Mi"}}}],
        "volumes": [{"name": "data", "emptyDir": {}}]}});
    Arc::new(serde_json::from_value(object).expect("a pod"))
}

struct Machine {
    bed: Bed,
    node: Arc<Node>,
    health: watch::Receiver<Health>,
    manager: Manager,
}

/// A machine with 1000 KiB of memory and these pods, which use 300 KiB each.
async fn machine(pods: &[Arc<Pod>]) -> Machine {
    let mut bed = Bed::new();
    let (node, dispatch) = bed.dispatcher();
    for pod in pods {
        dispatch.put(pod.clone());
        until("the pod runs", || status(&node, spec::uid(pod)) == "Running").await;
    }
    let stats = |(_, container): &(String, k8s_cri::v1::ContainerStatus)| {
        let memory =
            MemoryUsage { working_set_bytes: Some(UInt64Value { value: 300 << 10 }), ..MemoryUsage::default() };
        let attributes = ContainerAttributes { labels: container.labels.clone(), ..ContainerAttributes::default() };
        ContainerStats { attributes: Some(attributes), memory: Some(memory), ..ContainerStats::default() }
    };
    let all: Vec<ContainerStats> = bed.runtime.state().containers.values().map(stats).collect();
    bed.runtime.state().stats = all;
    let threshold =
        Threshold { signal: Signal::MemoryAvailable, limit: Limit::Percent(10.0), grace: None, min_reclaim: None };
    let root = bed.folder.path().join("root");
    let settings = Settings {
        thresholds: vec![threshold],
        transition: Duration::ZERO,
        grace_period_seconds_max: 0,
        storage_limits: true,
        root: root.clone(),
    };
    let (sender, health) = watch::channel(Health::default());
    let policy = Policy { age_min: Duration::ZERO, age_max: None, high_percent: 100, low_percent: 99 };
    let pulls = Arc::new(Records::new(bed.folder.path(), node.clock));
    let images = Collector::new(bed.runtime.clone(), node.clock, policy, node.reporter.clone(), pulls);
    let manager = Manager {
        state: State::new(settings.thresholds.clone(), settings.transition),
        observer: Observer::new(root, bed.folder.path().into(), None),
        settings,
        node: node.clone(),
        dispatch,
        images: Arc::new(images),
        health: sender,
        ending: HashMap::new(),
    };
    let machine = Machine { bed, node, health, manager };
    machine.available(500);
    machine
}

impl Machine {
    /// How much memory is left.
    fn available(&self, kib: i64) {
        let proc = self.bed.folder.path().join("root/proc");
        fs::create_dir_all(&proc).expect("a folder");
        fs::write(proc.join("meminfo"), format!("MemTotal: 1000 kB\nMemAvailable: {kib} kB\n")).expect("a file");
    }
}

#[tokio::test]
async fn under_pressure_one_pod_goes_and_the_node_says_so() {
    let mut machine =
        machine(&[pod("modest", "400Ki", 0), pod("greedy", "100Ki", 0), pod("dear", "100Ki", 1000)]).await;
    machine.manager.turn().await;
    assert!(!machine.health.borrow().memory_pressure);
    machine.available(50);
    machine.manager.turn().await;
    assert!(machine.health.borrow().memory_pressure);
    until("it is evicted", || status(&machine.node, "greedy") == "Failed Evicted").await;
    let told = machine.node.running.get("greedy").and_then(|pod| pod.status.clone()).expect("a status");
    let words = "The node was low on resource: memory. Threshold quantity: 100Ki, available: 50Ki. Container c was using \
                 300Ki, request is 100Ki, has larger consumption of memory. ";
    assert_eq!(told.message.as_deref(), Some(words));
    let why = told.conditions.iter().flatten().find(|it| it.type_ == "DisruptionTarget").expect("a condition");
    assert_eq!((why.status.as_str(), why.reason.as_deref()), ("True", Some("TerminationByKubelet")));
    assert_eq!(why.message.as_deref(), Some(words));
    for name in ["modest", "dear"] {
        assert_eq!(status(&machine.node, name), "Running", "{name}: one goes at a time");
    }
    assert!(machine.manager.ending.contains_key("greedy"), "what it frees is waited for");
    machine.available(500);
    machine.manager.turn().await;
    assert!(!machine.health.borrow().memory_pressure);
    assert_eq!(status(&machine.node, "dear"), "Running");
}

#[tokio::test]
async fn who_takes_more_disk_than_it_may_goes_without_any_pressure() {
    let mut machine = machine(&[pod("full", "400Ki", 0), pod("empty", "400Ki", 0)]).await;
    let volume = machine.node.facts.paths.volume("full", "kubernetes.io/empty-dir", "data");
    fs::write(volume.join("file"), vec![1; 2 << 20]).expect("a file");
    machine.manager.turn().await;
    until("it is evicted", || status(&machine.node, "full") == "Failed Evicted").await;
    let told = machine.node.running.get("full").and_then(|pod| pod.status.clone()).expect("a status");
    let words = "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ";
    assert_eq!(told.message.as_deref(), Some(words));
    assert_eq!(status(&machine.node, "empty"), "Running");
}

#[test]
fn who_must_go_at_once_has_a_second_for_it() {
    let mut pod = Pod::clone(&pod("p", "1Mi", 0));
    pod.spec.get_or_insert_default().termination_grace_period_seconds = Some(30);
    let of = |grace: Option<Duration>, max| {
        let threshold =
            Threshold { signal: Signal::MemoryAvailable, limit: Limit::Amount(1), grace, min_reclaim: None };
        super::grace_period_seconds(&threshold, &pod, max)
    };
    assert_eq!(of(None, 600), 1);
    let soft = Some(Duration::from_secs(60));
    assert_eq!((of(soft, 600), of(soft, 10), of(soft, 0)), (30, 10, 0));
}
