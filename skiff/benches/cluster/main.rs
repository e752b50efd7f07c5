//! What a cluster costs, beside the same containers made by the runtime alone: `make bench`.
//!
//! One cluster in one process for times, one with every part apart for memory by part. Prints a table and fails only
//! when something does not work: absolute figures vary from machine to machine, ratios are what counts.

mod crowd;
mod memory;
mod mold;
mod names;
mod share;
mod work;

use std::time::{Duration, Instant};

use anyhow::Result;
use testbed::{Bed, Registry, images};

const SKIFF: &str = env!("CARGO_BIN_EXE_skiff");

/// A bed with a registry and a data folder, and `skiff` and kubectl to be run in it.
struct Place {
    bed: Bed,
    registry: Registry,
}

impl Place {
    fn new(name: &str) -> Result<Option<Self>> {
        let Some(bed) = Bed::new(name)? else { return Ok(None) };
        let registry = Registry::start(&bed, 5000)?;
        registry.push(&bed, &images::nginx("docker.io/library/nginx:latest")?, "nginx:latest")?;
        registry.write_mirror(&bed.folder().join("data/containerd/certs.d"))?;
        Ok(Some(Self { bed, registry }))
    }

    fn skiff(&self, arguments: &[&str]) -> Result<Duration> {
        let data = self.bed.folder().join("data").display().to_string();
        let start = Instant::now();
        self.bed.run(&[&[SKIFF], arguments, &["--data-dir", &data]].concat())?;
        Ok(start.elapsed())
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let kubeconfig = format!("KUBECONFIG={}", self.bed.folder().join("data/admin.kubeconfig").display());
        let home = format!("HOME={}", self.bed.folder().display());
        self.bed.run(&[&["env", &kubeconfig, &home, "kubectl"], arguments].concat())
    }
}

fn row(what: &str, measured: &str, beside: &str) {
    println!("{what:<52} {measured:>16}   {beside}");
}

fn seconds(duration: Duration) -> String {
    format!("{:.3} s", duration.as_secs_f64())
}

fn main() -> Result<()> {
    row("WHAT", "MEASURED", "BESIDE");
    let Some(place) = Place::new("bench")? else { return Ok(()) };
    row("skiff up to node Ready, first time", &seconds(place.skiff(&["up", "--node-name=node"])?), "goal 4 s");
    place.skiff(&["down"])?;
    row("skiff up to node Ready, on data that exists", &seconds(place.skiff(&["up"])?), "goal 2 s");
    memory::one_process(&place)?;
    work::warm_up(&place)?;
    let socket = place.bed.folder().join("data/containerd/containerd.sock");
    // A thread that has entered the bed's network stays there: what follows starts from this one.
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let runtime = share::Runtime::connect(&socket, place.bed.folder())?;
            work::all(&place, &runtime)?;
            crowd::all(&place, &runtime)
        });
        thread.join().unwrap_or_else(|_| anyhow::bail!("the bench panicked"))
    })?;
    names::all(&place)?;
    place.skiff(&["reset"])?;
    drop(place);
    memory::by_part()
}
