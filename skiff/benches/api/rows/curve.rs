//! All that grows with the number of pods: memory, list, start of a watch, restart to ready.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use figures::samples;
use http_body_util::BodyExt as _;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::Size;
use crate::client::Client;
use crate::objects;
use crate::report::{Measured, Point};
use crate::server::Server;

const PODS: [usize; 5] = [1_000, 3_000, 10_000, 30_000, 100_000];
const ROUNDS: usize = 3;
/// Memory is looked at when what writing left to do is done.
const REST: Duration = Duration::from_secs(5);
/// What the last of the initial events bears.
const END: &[u8] = b"k8s.io/initial-events-end";
/// How a frame of an event begins that ends the watch.
const REFUSED: &[u8] = br#"{"type":"ERROR""#;

pub(super) async fn measure(server: &mut Server, size: &Size, measured: &mut Measured) -> Result<()> {
    if server.is_own() {
        server.stop(Signal::SIGTERM).await?;
        server.forget()?;
    }
    for pods in PODS.into_iter().filter(|pods| *pods <= size.pods) {
        // What other groups left on a server that cannot be emptied is part of the curve.
        let pods = pods.max(server.held("pods"));
        let point = point(server, pods, measured).await.with_context(|| format!("with {pods} pods"))?;
        println!("  {point:?}");
        measured.curve.push(point);
    }
    sum_up(measured);
    Ok(())
}

async fn point(server: &mut Server, pods: usize, measured: &mut Measured) -> Result<Point> {
    let (made, took) = server.fill("pods", pods).await?;
    if made > 0 {
        measured.add("curve-fill", made as f64 / took.as_secs_f64());
    }
    tokio::time::sleep(REST).await;
    let rss_mib = if server.is_near() { server.rss_mib()? } else { 0.0 };
    let client = server.client()?;
    let (mut list, mut list_cpu, mut watch, mut follow) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (cpu, start) = (server.cpu_time()?, Instant::now());
        client.drain(&objects::path("pods")).await?;
        list.push(samples::millis(start.elapsed()));
        list_cpu.push(samples::millis(server.cpu_time()? - cpu));
        watch.extend(initial_events(&client).await?.map(samples::millis));
        follow.push(samples::millis(newest(&client).await?));
    }
    Ok(Point {
        pods,
        rss_mib,
        list_ms: samples::median(&list),
        list_cpu_ms: samples::median(&list_cpu),
        watch_ms: (!watch.is_empty()).then(|| samples::median(&watch)),
        follow_ms: samples::median(&follow),
        restart_s: restart(server, pods, measured).await?,
    })
}

/// A watch that begins with all there is, until it says that this was all; none of a server that has no such watches, as
/// upstream's has none with an old etcd.
async fn initial_events(client: &Client) -> Result<Option<Duration>> {
    let query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let start = Instant::now();
    let mut body = client.open(&format!("{}?{query}", objects::path("pods"))).await?.into_body();
    // The mark may lie across two frames.
    let mut tail: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame?;
        tail.extend_from_slice(frame.data_ref().map_or(&[], |data| data.as_ref()));
        if tail.windows(END.len()).any(|window| window == END) {
            return Ok(Some(start.elapsed()));
        }
        if tail.starts_with(REFUSED) {
            println!("  no watch with initial events: {}", String::from_utf8_lossy(&tail).trim_end());
            return Ok(None);
        }
        tail.drain(..tail.len().saturating_sub(END.len()));
    }
    anyhow::bail!("the watch ended before its initial events")
}

/// A watch that begins with what comes, until it is open.
async fn newest(client: &Client) -> Result<Duration> {
    let list: Value = client.get(&format!("{}?limit=1", objects::path("pods"))).await?;
    let version = list["metadata"]["resourceVersion"].as_str().context("a list without version")?.to_owned();
    let start = Instant::now();
    client.open(&format!("{}?watch=true&resourceVersion={version}", objects::path("pods"))).await?;
    Ok(start.elapsed())
}

/// Seconds from start to ready, of an own server; and that it still has all pods.
async fn restart(server: &mut Server, pods: usize, measured: &mut Measured) -> Result<Option<f64>> {
    if !server.is_own() {
        return Ok(None);
    }
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        server.stop(Signal::SIGTERM).await?;
        took.extend(server.start().await?.map(|took| took.as_secs_f64()));
    }
    let list: Value = server.client()?.get(&format!("{}?limit=1", objects::path("pods"))).await?;
    let held = list["metadata"]["remainingItemCount"].as_u64().unwrap_or(0) + 1;
    ensure!(held == pods as u64, "{held} of {pods} pods came back");
    if Some(&pods) == PODS.last() {
        took.iter().for_each(|seconds| measured.add("start-many", *seconds));
    }
    Ok(Some(samples::median(&took)))
}

/// Whether it grows with the number, or faster.
fn sum_up(measured: &mut Measured) {
    const KIB_PER_MIB: f64 = 1024.0;
    let (Some(first), Some(last)) = (measured.curve.first().cloned(), measured.curve.last().cloned()) else { return };
    let more = (last.pods - first.pods) as f64;
    let growth = |pick: fn(&Point) -> f64| (pick(&last) / last.pods as f64) / (pick(&first) / first.pods as f64);
    measured.add("curve-pods", last.pods as f64);
    measured.add("curve-rss-1000", first.rss_mib);
    measured.add("curve-rss", last.rss_mib);
    if more > 0.0 {
        measured.add("curve-pod", (last.rss_mib - first.rss_mib) * KIB_PER_MIB / more);
    }
    measured.add("curve-list", last.list_ms);
    measured.add("curve-list-pod", growth(|point| point.list_ms));
    if let (Some(_), Some(watch_ms)) = (first.watch_ms, last.watch_ms) {
        measured.add("curve-watch", watch_ms);
        measured.add("curve-watch-pod", growth(|point| point.watch_ms.unwrap_or_default()));
    }
    measured.add("curve-follow", last.follow_ms);
}
