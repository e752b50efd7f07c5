//! `skiff status`: what runs, and whether the node is Ready.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Node;
use kube::Api;

use crate::layout::Layout;
use crate::settings::Settings;
use crate::{block_on, daemon, node, runtime};

/// A cluster that takes longer to answer is not well.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Exit code 0 when the node is Ready, else 1.
pub(crate) fn status(layout: &Layout) -> Result<ExitCode> {
    let Some(settings) = Settings::load(layout)? else {
        println!("There is no cluster in {}.", layout.root().display());
        return Ok(ExitCode::FAILURE);
    };
    let parts = match daemon::running(layout)? {
        Some(pid) => format!("process {pid}"),
        None => "stopped".to_owned(),
    };
    println!("parts:      {parts}");
    let ready = block_on(async {
        println!("containerd: {}", describe_runtime(layout, &settings).await);
        let (text, ready) = describe_node(layout, &settings).await;
        println!("node:       {text}");
        Ok(ready)
    })?;
    match &settings.joined {
        Some(joined) => println!("cluster:    {}", joined.server),
        None => println!("kubeconfig: {}", layout.admin_kubeconfig().display()),
    }
    Ok(if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn describe_runtime(layout: &Layout, settings: &Settings) -> String {
    let own = || runtime::own_endpoint(layout);
    let endpoint = settings.container_runtime_endpoint.clone().unwrap_or_else(own);
    let version = async { runtime::cri::Runtime::connect(&endpoint).await?.version().await };
    match version.await {
        Ok(version) => format!("{version} at {endpoint}"),
        Err(_) => "stopped".to_owned(),
    }
}

async fn describe_node(layout: &Layout, settings: &Settings) -> (String, bool) {
    let name = &settings.node_name;
    let node = async {
        let nodes: Api<Node> = Api::all(node::client(layout, settings)?);
        tokio::time::timeout(TIMEOUT, nodes.get(name)).await.context("no answer in time")?.context("get the node")
    };
    match node.await {
        Ok(node) if node::is_ready(&node) => (format!("{name} is Ready"), true),
        Ok(_) => (format!("{name} is not Ready"), false),
        Err(error) => (format!("{name} is unknown: {error:#}"), false),
    }
}
