//! A large cluster of hollow nodes: what the control plane takes in time and memory. Part of `make bench`.
//!
//! API server, controller manager and scheduler are programs of their own, over TLS, as in a real cluster; the nodes
//! only acknowledge their pods (`tests/hollow`), in this process. Needs neither root nor a container runtime.
//! `cargo bench -p skiff --bench scale -- 0.01` does a hundredth of it. Fails only when something does not work: absolute
//! figures vary from machine to machine, and stand beside their goals.

mod deployment;
#[path = "../../tests/hollow/mod.rs"]
mod hollow;
mod large;
mod programs;
mod throughput;

use anyhow::Result;
use figures::Sheet;

/// How much of everything.
#[derive(Clone, Copy)]
pub struct Size(f64);

impl Size {
    fn of(self, whole: usize) -> usize {
        ((whole as f64 * self.0).ceil() as usize).max(1)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    // cargo itself passes `--bench`.
    let size = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).map_or(Size(1.0), Size);
    let mut sheet = Sheet::new("scale");
    // What could not be measured takes nothing away from the rest.
    let measured = all(size, &mut sheet).await;
    sheet.write(figures::folder!().as_ref())?;
    measured
}

async fn all(size: Size, sheet: &mut Sheet) -> Result<()> {
    throughput::run(size, sheet).await?;
    deployment::run(size, sheet).await?;
    large::run(size, sheet).await
}
