//! From `skiff up` to an application that resolves a Service's name and is answered by it, all images present.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use figures::{Figure, Sheet};
use testbed::{Cluster, images};

const ROUNDS: usize = 3;

/// A web server behind a Service, and an application that ends once it was answered.
const APPLICATION: &str = r#"{"apiVersion": "v1", "kind": "List", "items": [
    {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {
        "selector": {"app": "web"}, "ports": [{"port": 80}]}},
    {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "labels": {"app": "web"}}, "spec": {
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "web", "image": "nginx", "imagePullPolicy": "IfNotPresent"}]}},
    {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "application"}, "spec": {
        "terminationGracePeriodSeconds": 0, "restartPolicy": "Never",
        "containers": [{"name": "application", "image": "tools", "imagePullPolicy": "IfNotPresent", "command":
            ["sh", "-c", "until curl -sf --max-time 1 http://web/; do sleep 0.02; done"]}]}}]}"#;

pub(crate) fn all(cluster: &Cluster, sheet: &mut Sheet) -> Result<()> {
    cluster.push(&images::tools("docker.io/library/tools:latest")?, "tools:latest")?;
    // The first time pulls the images.
    let taken: Result<Vec<Duration>> = (0..=ROUNDS).map(|_| round(cluster)).collect();
    sheet.add(Figure::seconds("skiff up to an answer by a Service's name", &taken?[1..]).most(5.0));
    Ok(())
}

fn round(cluster: &Cluster) -> Result<Duration> {
    let file = cluster.bed.folder().join("application.json");
    std::fs::write(&file, APPLICATION).context("write the application")?;
    let file = file.display().to_string();
    cluster.skiff(&["down"])?;
    let start = Instant::now();
    cluster.skiff(&["up"])?;
    cluster.kubectl(&["apply", "-f", &file])?;
    cluster.kubectl(&["wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/application", "--timeout=120s"])?;
    let taken = start.elapsed();
    cluster.kubectl(&["delete", "-f", &file])?;
    Ok(taken)
}
