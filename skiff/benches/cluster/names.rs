//! From `skiff up` to an application that resolves a Service's name and is answered by it, all images present.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use figures::{Figure, Sheet};
use testbed::images;

use crate::Place;

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

pub(crate) fn all(place: &Place, sheet: &mut Sheet) -> Result<()> {
    place.registry.push(&place.bed, &images::tools("docker.io/library/tools:latest")?, "tools:latest")?;
    // The first time pulls the images.
    let taken: Result<Vec<Duration>> = (0..=ROUNDS).map(|_| round(place)).collect();
    sheet.add(Figure::seconds("skiff up to an answer by a Service's name", &taken?[1..]).most(5.0));
    Ok(())
}

fn round(place: &Place) -> Result<Duration> {
    let file = place.bed.folder().join("application.json");
    std::fs::write(&file, APPLICATION).context("write the application")?;
    let file = file.display().to_string();
    place.skiff(&["down"])?;
    let start = Instant::now();
    place.skiff(&["up"])?;
    place.kubectl(&["apply", "-f", &file])?;
    place.kubectl(&["wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/application", "--timeout=120s"])?;
    let taken = start.elapsed();
    place.kubectl(&["delete", "-f", &file])?;
    Ok(taken)
}
