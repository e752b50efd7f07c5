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

fn main() -> Result<()> {
    let mut sheet = Sheet::new("cluster");
    sheet.add(Figure::new("size of the program", "MB", [std::fs::metadata(SKIFF)?.len() as f64 / 1e6]).most(40.0));
    let Some(place) = Place::new("bench")? else { return Ok(()) };
    let first = place.skiff(&["up", "--node-name=node"])?;
    sheet.add(Figure::seconds("skiff up to node Ready, first time", &[first]).most(4.0));
    place.skiff(&["down"])?;
    let again = place.skiff(&["up"])?;
    sheet.add(Figure::seconds("skiff up to node Ready, on data that exists", &[again]).most(2.0));
    memory::one_process(&place, &mut sheet)?;
    work::warm_up(&place)?;
    let socket = place.bed.folder().join("data/containerd/containerd.sock");
    // A thread that has entered the bed's network stays there: what follows starts from this one.
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let runtime = share::Runtime::connect(&socket, place.bed.folder())?;
            work::all(&place, &runtime, &mut sheet)?;
            crowd::all(&place, &runtime, &mut sheet)
        });
        thread.join().unwrap_or_else(|_| anyhow::bail!("the bench panicked"))
    })?;
    names::all(&place, &mut sheet)?;
    place.skiff(&["reset"])?;
    drop(place);
    memory::by_part(&mut sheet)?;
    sheet.write(figures::folder!().as_ref())
}
