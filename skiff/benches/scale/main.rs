//! A large cluster of hollow nodes: what the control plane takes in time and memory. Part of `make bench`.
//!
//! API server, controller manager and scheduler are programs of their own, over TLS, as in a real cluster; the nodes
//! only acknowledge their pods (`tests/hollow`), in this process. Needs neither root nor a container runtime.
//! `cargo bench -p skiff --bench scale -- 0.01` does a hundredth of it, `--only` some of its rows. Fails only when something
//! does not work: absolute figures vary from machine to machine, and stand beside their goals.

mod deployment;
#[path = "../../tests/hollow/mod.rs"]
mod hollow;
mod large;
mod programs;
mod throughput;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use figures::Sheet;

/// Measures a control plane with many nodes.
#[derive(Debug, Parser)]
#[command(name = "scale-bench")]
struct Options {
    /// How much of everything: 0.1 is a tenth.
    #[arg(value_name = "PART", default_value_t = 1.0)]
    size: f64,
    /// Only these rows; repeat for more.
    #[arg(long, value_enum)]
    only: Vec<Row>,
    /// The program to measure, of another build perhaps.
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_skiff"))]
    program: PathBuf,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is measured, each with a control plane of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Row {
    /// Plain pods on 1,000 nodes.
    Throughput,
    /// Pods that spread and tolerate taints on 5,000 nodes.
    Spread,
    /// One large Deployment.
    Deployment,
    /// A large cluster at rest.
    Large,
}

/// Of what, and how much.
#[derive(Clone, Copy)]
pub struct Size<'a> {
    part: f64,
    program: &'a std::path::Path,
}

impl Size<'_> {
    fn of(self, whole: usize) -> usize {
        ((whole as f64 * self.part).ceil() as usize).max(1)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let mut sheet = Sheet::new("scale");
    // What could not be measured takes nothing away from the rest.
    let measured = all(&options, &mut sheet).await;
    sheet.write(figures::folder!().as_ref())?;
    measured
}

async fn all(options: &Options, sheet: &mut Sheet) -> Result<()> {
    let size = Size { part: options.size, program: &options.program };
    let wanted = |row: &&Row| options.only.is_empty() || options.only.contains(row);
    for row in Row::value_variants().iter().filter(wanted) {
        match row {
            Row::Throughput => throughput::plain(size, sheet).await?,
            Row::Spread => throughput::spread(size, sheet).await?,
            Row::Deployment => deployment::run(size, sheet).await?,
            Row::Large => large::run(size, sheet).await?,
        }
    }
    Ok(())
}
