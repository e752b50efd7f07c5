//! A node full of pods: a hundred in one go beside the runtime alone, and how soon the API knows that a container has died.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use figures::{Figure, Sheet};
use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use kube::runtime::watcher::{self, watcher};
use kube::runtime::{WatchStreamExt as _, wait::await_condition};
use serde_json::json;
use testbed::Cluster;

use crate::share::Runtime;
use crate::work::{Client, GONE, beside_share, roll_out, take_away};

pub(crate) const PODS: i32 = 100;
/// A hundred pods take the machine for some seconds.
const ROUNDS: usize = 3;
const SINGLE_ROUNDS: usize = 10;
const NAME: &str = "single";

pub(crate) fn all(cluster: &Cluster, runtime: &Runtime, sheet: &mut Sheet) -> Result<()> {
    let client = Client::of(cluster)?;
    let crowds = (0..ROUNDS).map(|_| {
        let (share, _) = runtime.start_and_stop(PODS as usize)?;
        runtime.wait_until_empty()?;
        let taken = client.run(roll_out(&client.kube, PODS))?;
        client.run(take_away(&client.kube))?;
        runtime.wait_until_empty()?;
        Ok((share, taken))
    });
    let (shares, taken): (Vec<_>, Vec<_>) = crowds.collect::<Result<Vec<_>>>()?.into_iter().unzip();
    let crowd = Figure::seconds("100 pods in one go, all ready", &taken);
    sheet.add(beside_share(crowd, &shares, |share| share * 1.1));
    let singles = (0..=SINGLE_ROUNDS).map(|_| {
        let (share, _) = runtime.start_and_stop(1)?;
        Ok((share, client.run(single(&client.kube))?))
    });
    // The first pulls the image.
    let (shares, singles): (Vec<_>, Vec<_>) = singles.collect::<Result<Vec<_>>>()?.into_iter().skip(1).unzip();
    let (started, told): (Vec<_>, Vec<_>) = singles.into_iter().unzip();
    sheet.add(beside_share(Figure::seconds("a pod created to running", &started), &shares, |share| share + 0.05));
    sheet.add(Figure::seconds("a container's death to its status (clock of 0.01 s)", &told).most(0.1));
    Ok(())
}

/// How long a pod takes from its creation to running, and how long after its end the API tells of it.
///
/// The container leaves the machine's uptime as its last word.
async fn single(kube: &kube::Client) -> Result<(Duration, Duration)> {
    let pods: Api<Pod> = Api::default_namespaced(kube.clone());
    let last_words = "sleep 1; read up rest </proc/uptime; echo $up >/dev/termination-log; exit 1";
    let pod = json!({
        "metadata": {"name": NAME},
        "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [{
            "name": "main", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", last_words]}]},
    });
    let start = Instant::now();
    pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    let only = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
    let mut changes = std::pin::pin!(watcher(pods.clone(), only).applied_objects());
    let mut started = None;
    let died = loop {
        let pod = changes.try_next().await?.context("the watch ended")?;
        let statuses = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
        let state = statuses.into_iter().next().and_then(|status| status.state).unwrap_or_default();
        if state.running.is_some() && started.is_none() {
            started = Some(start.elapsed());
        }
        if let Some(terminated) = state.terminated {
            break terminated.message.context("no last words")?;
        }
    };
    let told = uptime(&std::fs::read_to_string("/proc/uptime")?)?.saturating_sub(uptime(&died)?);
    ensure!(told < GONE, "{died} is not an uptime of this machine");
    pods.delete(NAME, &DeleteParams::default()).await?;
    await_condition(pods, NAME, |pod: Option<&Pod>| pod.is_none()).await?;
    Ok((started.context("never seen running")?, told))
}

fn uptime(text: &str) -> Result<Duration> {
    let seconds = text.split_whitespace().next().context("no uptime")?;
    Ok(Duration::from_secs_f64(seconds.parse().context("uptime in seconds")?))
}
