//! Pods a second that the scheduler places through the real API server.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use figures::{Figure, Sheet};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::Size;
use crate::hollow::nodes;
use crate::programs::{Programs, cpu};

const DEADLINE: Duration = Duration::from_secs(300);
/// A cluster where no node has changed for so long is at rest.
const QUIET: Duration = Duration::from_secs(1);

/// Of so many nodes one is for pods that tolerate its taint.
const TAINTED: usize = 10;
const IN_FLIGHT: usize = 32;

pub async fn plain(size: Size<'_>, sheet: &mut Sheet) -> Result<()> {
    let (pods, nodes) = (size.of(5000), size.of(1000));
    let outcome = place(size, nodes, pods, json!({})).await?;
    let what = format!("{pods} pods on {nodes} nodes scheduled through the API server");
    sheet.add(outcome.rate(what).beside("upstream, once", [225.0]));
    outcome.add_costs(&format!("{nodes} nodes"), sheet);
    Ok(())
}

pub async fn spread(size: Size<'_>, sheet: &mut Sheet) -> Result<()> {
    let (pods, nodes) = (size.of(5000), size.of(5000));
    let outcome = place(size, nodes, pods, spreading()).await?;
    sheet.add(outcome.rate(format!("{pods} pods on {nodes} nodes, with spreading and taints, through the API server")));
    outcome.add_costs(&format!("{nodes} nodes with spreading and taints"), sheet);
    Ok(())
}

/// What it took to place so many pods.
struct Outcome {
    pods: usize,
    took: Duration,
    /// Processor time of each process.
    costs: Vec<(&'static str, Duration)>,
}

impl Outcome {
    fn rate(&self, what: String) -> Figure {
        Figure::new(what, "1/s", [(self.pods - 1) as f64 / self.took.as_secs_f64()]).least(2000.0)
    }

    fn add_costs(&self, on: &str, sheet: &mut Sheet) {
        for (part, cost) in &self.costs {
            let micros = cost.as_secs_f64() * 1e6 / self.pods as f64;
            sheet.add(Figure::new(format!("CPU of {part} a pod scheduled on {on}"), "µs", [micros]));
        }
    }
}

/// What a pod asks for that spreads over zones, and over nodes with a taint too.
fn spreading() -> Value {
    json!({
        "tolerations": [{"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}],
        "topologySpreadConstraints": [{"maxSkew": 5, "topologyKey": "topology.kubernetes.io/zone",
            "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}],
    })
}

/// Pods wait for the scheduler in a cluster that is at rest; measured is from its first binding to its last, as a watcher
/// sees them.
async fn place(size: Size<'_>, nodes: usize, pods: usize, more: Value) -> Result<Outcome> {
    let mut programs = Programs::start(size.program).await?;
    nodes::register(&programs.client, nodes).await?;
    taint(&programs.client, nodes).await?;
    create(&programs.client, pods, more).await?;
    tokio::time::timeout(DEADLINE, settled(&programs.client)).await.context("the nodes do not come to rest")??;
    let (begun, begins) = oneshot::channel();
    let bound = tokio::spawn(bound(programs.client.clone(), pods, begun));
    programs.start_scheduler()?;
    let processes = programs.processes();
    tokio::time::timeout(DEADLINE, begins).await.context("no pod was bound")?.context("the watch of pods ends")?;
    let before = cpu(&processes)?;
    let took = tokio::time::timeout(DEADLINE, bound).await.context("not all pods were bound")???;
    let costs = processes.iter().zip(cpu(&processes)?).zip(before);
    let costs = costs.map(|(((part, _), after), before)| (*part, after.saturating_sub(before))).collect();
    Ok(Outcome { pods, took, costs })
}

/// Returns once nobody changes nodes any more: the controllers have to label, annotate and untaint thousands of new ones.
async fn settled(client: &Client) -> Result<()> {
    let nodes = Api::<PartialObjectMeta<Node>>::all(client.clone());
    let mut events = std::pin::pin!(watcher(nodes, watcher::Config::default()));
    while let Ok(event) = tokio::time::timeout(QUIET, events.try_next()).await {
        event?.context("the watch of nodes ends")?;
    }
    Ok(())
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

/// How long it takes from the first to the last; `begun` is told of the first.
async fn bound(client: Client, count: usize, begun: oneshot::Sender<()>) -> Result<Duration> {
    let mut events = std::pin::pin!(watcher(
        Api::<nodes::Pod>::namespaced(client, "default"),
        watcher::Config::default().fields("spec.nodeName!=")
    ));
    let mut names = std::collections::HashSet::new();
    let (mut first, mut begun) = (None, Some(begun));
    while let Some(event) = events.try_next().await? {
        if let Event::Apply(pod) = event {
            first.get_or_insert_with(Instant::now);
            if let Some(begun) = begun.take() {
                // Whoever is not there any more has given up.
                let _ = begun.send(());
            }
            names.insert(pod.name_any());
        }
        if names.len() >= count {
            break;
        }
    }
    Ok(first.map(|first| first.elapsed()).unwrap_or_default())
}
