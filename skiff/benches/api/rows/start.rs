//! Start to `/readyz`, and memory at rest.

use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use super::{Size, list};
use crate::report::Measured;
use crate::server::Server;

const ROUNDS: usize = 5;
/// What a start leaves to do is done by then.
const REST: Duration = Duration::from_secs(5);

/// On an empty folder each time. Only an own server can be started.
pub(super) async fn first(server: &mut Server, measured: &mut Measured) -> Result<()> {
    for _ in 0..ROUNDS {
        if server.is_own() {
            server.stop(Signal::SIGTERM).await?;
            server.forget()?;
        }
        if let Some(took) = server.start().await? {
            measured.add("start-first", took.as_secs_f64());
        }
        if server.is_own() {
            tokio::time::sleep(REST).await;
            measured.add("rss-rest", server.rss_mib()?);
        }
    }
    if !server.is_own() && server.is_near() {
        measured.add("rss-rest", server.rss_mib()?);
    }
    Ok(())
}

pub(super) async fn again(server: &mut Server, size: &Size, measured: &mut Measured) -> Result<()> {
    if !server.is_own() {
        return Ok(());
    }
    list::fill(server, size).await?;
    for (id, signal) in [("start-data", Signal::SIGTERM), ("start-killed", Signal::SIGKILL)] {
        for _ in 0..ROUNDS {
            server.stop(signal).await?;
            let took = server.start().await?;
            took.into_iter().for_each(|took| measured.add(id, took.as_secs_f64()));
        }
    }
    Ok(())
}
