//! What a cluster costs, beside the same containers made by the runtime alone: `make bench`.
//!
//! One cluster in one process for times, one with every part apart for memory by part. Fails only when something does
//! not work: absolute figures vary from machine to machine, ratios are what counts.

mod crowd;
mod memory;
mod mold;
mod names;
mod share;
mod work;

use std::time::{Duration, Instant};

use anyhow::Result;
use figures::{Figure, Sheet};
use testbed::Cluster;

const SKIFF: &str = env!("CARGO_BIN_EXE_skiff");

/// How long `skiff` takes for what it is asked.
fn timed(cluster: &Cluster, arguments: &[&str]) -> Result<Duration> {
    let start = Instant::now();
    cluster.skiff(arguments)?;
    Ok(start.elapsed())
}

fn main() -> Result<()> {
    let mut sheet = Sheet::new("cluster");
    sheet.add(Figure::new("size of the program", "MB", [std::fs::metadata(SKIFF)?.len() as f64 / 1e6]).most(40.0));
    let Some(cluster) = Cluster::prepare("bench", SKIFF)? else { return Ok(()) };
    // What could not be measured takes nothing away from the rest.
    let measured = all(cluster, &mut sheet);
    sheet.write(figures::folder!().as_ref())?;
    measured
}

fn all(cluster: Cluster, sheet: &mut Sheet) -> Result<()> {
    let first = timed(&cluster, &["up", "--node-name=node"])?;
    sheet.add(Figure::seconds("skiff up to node Ready, first time", &[first]).most(4.0));
    cluster.skiff(&["down"])?;
    let again = timed(&cluster, &["up"])?;
    sheet.add(Figure::seconds("skiff up to node Ready, on data that exists", &[again]).most(2.0));
    memory::one_process(&cluster, sheet)?;
    work::warm_up(&cluster)?;
    let socket = cluster.data().join("containerd/containerd.sock");
    // A thread that has entered the bed's network stays there: what follows starts from this one.
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let runtime = share::Runtime::connect(&socket, cluster.bed.folder())?;
            work::all(&cluster, &runtime, sheet)?;
            crowd::all(&cluster, &runtime, sheet)
        });
        thread.join().unwrap_or_else(|_| anyhow::bail!("the bench panicked"))
    })?;
    names::all(&cluster, sheet)?;
    cluster.skiff(&["reset"])?;
    drop(cluster);
    memory::by_part(sheet)
}
