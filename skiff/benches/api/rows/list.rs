//! Memory and lists with 3,000 pods and 3,000 ConfigMaps.

use std::time::{Duration, Instant};

use anyhow::Result;
use figures::samples;

use super::Size;
use crate::objects;
use crate::report::Measured;
use crate::server::Server;

const OBJECTS: usize = 3000;
const ROUNDS: usize = 10;
/// Memory is looked at when what writing left to do is done.
const REST: Duration = Duration::from_secs(5);

pub(super) async fn fill(server: &mut Server, size: &Size) -> Result<()> {
    for plural in ["pods", "configmaps"] {
        server.fill(plural, size.of(OBJECTS)).await?;
    }
    Ok(())
}

pub(super) async fn measure(server: &mut Server, size: &Size, measured: &mut Measured) -> Result<()> {
    fill(server, size).await?;
    tokio::time::sleep(REST).await;
    if server.is_near() {
        measured.add("rss-filled", server.rss_mib()?);
    }
    let client = server.client()?;
    // More than was asked for may be held, of what other groups made.
    let path = format!("{}?limit={}", objects::path("pods"), size.of(OBJECTS));
    client.drain(&path).await?;
    for _ in 0..ROUNDS {
        let (before, start) = (server.cpu_time()?, Instant::now());
        let bytes = client.drain(&path).await?;
        measured.add("list-time", samples::millis(start.elapsed()));
        measured.add("list-bytes", bytes as f64 / 1e6);
        if server.is_near() {
            measured.add("list-cpu", samples::millis(server.cpu_time()? - before));
        }
    }
    Ok(())
}
