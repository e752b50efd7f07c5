//! Pods a second that the scheduler places through the real API server.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use figures::{Figure, Sheet};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use crate::Size;
use crate::hollow::nodes;
use crate::programs::Programs;

const DEADLINE: Duration = Duration::from_secs(300);

/// Pods wait for the scheduler; measured is from its first binding to its last, as a watcher sees them.
pub async fn run(size: Size, sheet: &mut Sheet) -> Result<()> {
    let (nodes, pods) = (size.of(1000), size.of(5000));
    let mut programs = Programs::start().await?;
    nodes::register(&programs.client, nodes).await?;
    create(&programs.client, pods).await?;
    let bound = tokio::spawn(bound(programs.client.clone(), pods));
    programs.start_scheduler()?;
    let took = tokio::time::timeout(DEADLINE, bound).await.context("not all pods were bound")???;
    let rate = (pods - 1) as f64 / took.as_secs_f64();
    let what = format!("{pods} pods on {nodes} nodes scheduled through the API server");
    sheet.add(Figure::new(what, "1/s", [rate]).least(2000.0).beside("upstream, once", [225.0]));
    Ok(())
}

async fn create(client: &Client, count: usize) -> Result<()> {
    let api = Api::<Pod>::namespaced(client.clone(), "default");
    let requests = json!({"requests": {"cpu": "100m", "memory": "200Mi"}});
    let pod = json!({"metadata": {"generateName": "web-", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "nginx", "resources": requests}]}});
    let pod: Pod = serde_json::from_value(pod)?;
    let create = |_| {
        let (api, pod) = (api.clone(), pod.clone());
        async move { api.create(&PostParams::default(), &pod).await.map(drop) }
    };
    futures::stream::iter(0..count).map(create).buffer_unordered(32).try_collect::<()>().await.context("create pods")
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
