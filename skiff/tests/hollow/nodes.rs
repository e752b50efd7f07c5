//! Hollow nodes: they acknowledge their pods, and nothing runs.
//!
//! [`register`] makes the Node objects, [`run`] plays the kubelets of all of them. [`decide`] is what a kubelet says of a
//! pod, and pure. A pod's label `becomes` names the phase that it comes to; without one it is `Running` and ready.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use component::informer::Informers;
use component::random::Random;
use component::shutdown::Shutdown;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Requests of all nodes that may be under way at once.
const IN_FLIGHT_MAX: usize = 64;
const ZONES: usize = 5;

/// Makes `count` Ready nodes, `node-0` and on.
pub async fn register(client: &Client, count: usize) -> Result<()> {
    let api = Api::<Node>::all(client.clone());
    let create = |index| {
        let api = api.clone();
        async move { api.create(&PostParams::default(), &node(index)?).await.context("register a node").map(drop) }
    };
    let results: Vec<Result<()>> = futures::stream::iter(0..count).map(create).buffer_unordered(16).collect().await;
    results.into_iter().collect()
}

fn node(index: usize) -> Result<Node> {
    let name = format!("node-{index}");
    let amounts = json!({"cpu": "64", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": "250"});
    let ready = json!({"type": "Ready", "status": "True", "reason": "KubeletReady",
        "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let node = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux",
            "topology.kubernetes.io/zone": format!("zone-{}", index % ZONES)}},
        "status": {"capacity": amounts, "allocatable": amounts, "conditions": [ready],
            "addresses": [{"type": "InternalIP", "address": address(10, index)}]},
    });
    serde_json::from_value(node).context("a Node")
}

fn address(first: u8, index: usize) -> String {
    format!("{first}.{}.{}.{}", index >> 16 & 255, index >> 8 & 255, index & 255)
}

/// What a hollow node reads of a pod: less memory and time than the whole.
#[derive(Clone, Debug, Deserialize)]
pub struct Pod {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Spec {
    #[serde(rename = "nodeName")]
    node_name: Option<String>,
    #[serde(default)]
    containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Container {
    name: String,
    image: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Status {
    phase: Option<String>,
}

component::api_resource!(NamespaceResourceScope Pod, "", "v1", "Pod", "pods");

/// What to do about a pod.
#[derive(Debug, PartialEq)]
enum Act {
    Nothing,
    /// Tell this status.
    Tell(Value),
    /// Its containers have ended: take it away.
    Remove,
}

fn decide(pod: &Pod, number: usize) -> Act {
    let phase = pod.status.phase.as_deref().unwrap_or("Pending");
    let over = matches!(phase, "Succeeded" | "Failed");
    if pod.spec.node_name.is_none() {
        return Act::Nothing;
    }
    if pod.metadata.deletion_timestamp.is_some() {
        // Whoever holds it by a finalizer wants to know how it ended.
        let held = pod.metadata.finalizers.as_ref().is_some_and(|finalizers| !finalizers.is_empty());
        let asked_at_once = pod.metadata.deletion_grace_period_seconds == Some(0);
        return match (held, over) {
            (true, false) => Act::Tell(status(pod, "Failed", number)),
            (true, true) if asked_at_once => Act::Nothing,
            _ => Act::Remove,
        };
    }
    let becomes = pod.metadata.labels.as_ref().and_then(|labels| labels.get("becomes"));
    let becomes = becomes.map_or("Running", String::as_str);
    if over || phase == becomes {
        return Act::Nothing;
    }
    Act::Tell(status(pod, becomes, number))
}

fn status(pod: &Pod, phase: &str, number: usize) -> Value {
    const THEN: &str = "2026-01-01T00:00:00Z";
    let ready = phase == "Running";
    let condition = |kind: &str, met: bool| json!({"type": kind, "status": if met { "True" } else { "False" }, "lastTransitionTime": THEN});
    let ended = |code: i32| json!({"terminated": {"exitCode": code, "startedAt": THEN, "finishedAt": THEN}});
    let state = match phase {
        "Succeeded" => ended(0),
        "Failed" => ended(1),
        "Running" => json!({"running": {"startedAt": THEN}}),
        _ => json!({"waiting": {"reason": "ContainerCreating"}}),
    };
    let container = |container: &Container| {
        json!({"name": container.name, "image": container.image, "imageID": "", "restartCount": 0, "ready": ready,
            "started": ready, "state": state})
    };
    let ip = address(11, number);
    json!({"status": {
        "phase": phase, "startTime": THEN, "podIP": ip, "podIPs": [{"ip": ip}],
        "conditions": [condition("Initialized", true), condition("Ready", ready), condition("ContainersReady", ready),
            condition("PodScheduled", true)],
        "containerStatuses": pod.spec.containers.iter().map(container).collect::<Vec<_>>(),
    }})
}

/// Plays all kubelets until shutdown.
pub async fn run(client: Client, shutdown: Shutdown) {
    let (seen, mut news) = mpsc::unbounded_channel();
    let pods = Informers::new(client.clone(), Random::from_os(), shutdown.clone()).of::<Pod>();
    pods.on_event(move |event| {
        if !matches!(event, component::informer::Event::Deleted(_)) {
            // Nobody listens any more at shutdown.
            let _ = seen.send(event.object().clone());
        }
    });
    let news = futures::stream::poll_fn(move |context| news.poll_recv(context));
    let acts = news.enumerate().for_each_concurrent(IN_FLIGHT_MAX, |(number, pod): (usize, Arc<Pod>)| {
        let api = Api::<Pod>::namespaced(client.clone(), pod.metadata.namespace.as_deref().unwrap_or_default());
        async move { carry_out(&api, &pod, decide(&pod, number)).await }
    });
    shutdown.run_until(acts).await;
}

/// Failures are not told: the pod has changed meanwhile, which is the next event, or is gone.
async fn carry_out(api: &Api<Pod>, pod: &Pod, act: Act) {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let _ = match act {
        Act::Nothing => Ok(()),
        Act::Tell(mut status) => {
            status["metadata"] = json!({"uid": pod.metadata.uid});
            api.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.map(drop)
        }
        Act::Remove => {
            let mut at_once = DeleteParams::default().grace_period(0);
            at_once.preconditions = Some(Preconditions { uid: pod.metadata.uid.clone(), resource_version: None });
            api.delete(name, &at_once).await.map(drop)
        }
    };
}
