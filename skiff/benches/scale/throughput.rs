//! Pods a second that the scheduler places through the real API server.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use figures::{Figure, Sheet};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::Size;
use crate::hollow::nodes;
use crate::programs::Programs;

const DEADLINE: Duration = Duration::from_secs(300);

/// Of so many nodes one is for pods that tolerate its taint.
const TAINTED: usize = 10;
const IN_FLIGHT: usize = 32;

pub async fn run(size: Size, sheet: &mut Sheet) -> Result<()> {
    let (pods, upstreams) = (size.of(5000), size.of(1000));
    let plain = rate(upstreams, pods, json!({})).await?;
    let what = format!("{pods} pods on {upstreams} nodes scheduled through the API server");
    sheet.add(Figure::new(what, "1/s", [plain]).least(2000.0).beside("upstream, once", [225.0]));
    let nodes = size.of(5000);
    let what = format!("{pods} pods on {nodes} nodes, with spreading and taints, through the API server");
    sheet.add(Figure::new(what, "1/s", [rate(nodes, pods, spread()).await?]).least(2000.0));
    Ok(())
}

/// What a pod asks for that spreads over zones, and over nodes with a taint too.
fn spread() -> Value {
    json!({
        "tolerations": [{"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}],
        "topologySpreadConstraints": [{"maxSkew": 5, "topologyKey": "topology.kubernetes.io/zone",
            "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}],
    })
}

/// Pods wait for the scheduler; measured is from its first binding to its last, as a watcher sees them.
async fn rate(nodes: usize, pods: usize, more: Value) -> Result<f64> {
    let mut programs = Programs::start().await?;
    nodes::register(&programs.client, nodes).await?;
    taint(&programs.client, nodes).await?;
    create(&programs.client, pods, more).await?;
    let bound = tokio::spawn(bound(programs.client.clone(), pods));
    programs.start_scheduler()?;
    let took = tokio::time::timeout(DEADLINE, bound).await.context("not all pods were bound")???;
    Ok((pods - 1) as f64 / took.as_secs_f64())
}

async fn taint(client: &Client, count: usize) -> Result<()> {
    let api = Api::<Node>::all(client.clone());
    let taint = |index| {
        let api = api.clone();
        async move {
            let taints = Patch::Merge(json!({"spec": {"taints": [{"key": "dedicated", "effect": "NoSchedule"}]}}));
            api.patch(&format!("node-{index}"), &PatchParams::default(), &taints).await.map(drop)
        }
    };
    let tainted = futures::stream::iter((0..count).step_by(TAINTED)).map(taint).buffer_unordered(IN_FLIGHT);
    tainted.try_collect::<()>().await.context("taint nodes")
}

async fn create(client: &Client, count: usize, more: Value) -> Result<()> {
    let api = Api::<Pod>::namespaced(client.clone(), "default");
    let requests = json!({"requests": {"cpu": "100m", "memory": "200Mi"}});
    let mut pod = json!({"metadata": {"generateName": "web-", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "nginx", "resources": requests}]}});
    if let (Value::Object(spec), Value::Object(more)) = (&mut pod["spec"], more) {
        spec.extend(more);
    }
    let pod: Pod = serde_json::from_value(pod)?;
    let create = |_| {
        let (api, pod) = (api.clone(), pod.clone());
        async move { api.create(&PostParams::default(), &pod).await.map(drop) }
    };
    let created = futures::stream::iter(0..count).map(create).buffer_unordered(IN_FLIGHT);
    created.try_collect::<()>().await.context("create pods")
}

async fn bound(client: Client, count: usize) -> Result<Duration> {
    let mut events = std::pin::pin!(watcher(
        Api::<nodes::Pod>::namespaced(client, "default"),
        watcher::Config::default().fields("spec.nodeName!=")
    ));
    let mut names = std::collections::HashSet::new();
    let mut first = None;
    while let Some(event) = events.try_next().await? {
        if let Event::Apply(pod) = event {
            first.get_or_insert_with(Instant::now);
            names.insert(pod.name_any());
        }
        if names.len() >= count {
            break;
        }
    }
    Ok(first.map(|first| first.elapsed()).unwrap_or_default())
}
