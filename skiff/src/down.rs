//! `skiff down`: stops the parts, every container and containerd, as a shutdown of the machine would. Data stays.

use anyhow::Result;

use crate::layout::Layout;
use crate::settings::Settings;
use crate::{block_on, daemon, runtime};

pub(crate) fn down(layout: &Layout) -> Result<()> {
    let Some(settings) = Settings::load(layout)? else {
        println!("There is no cluster in {}.", layout.root().display());
        return Ok(());
    };
    block_on(stop(layout, &settings, false))?;
    println!("Stopped. Its data stays in {}; skiff up starts it again.", layout.root().display());
    Ok(())
}

/// The parts first: a running kubelet would start again what is stopped below it.
pub(crate) async fn stop(layout: &Layout, settings: &Settings, remove_pods: bool) -> Result<()> {
    daemon::stop(layout).await?;
    if settings.container_runtime_endpoint.is_some() || runtime::server_pid(layout).await.is_none() {
        return Ok(());
    }
    let mut runtime = runtime::cri::Runtime::connect(&runtime::own_endpoint(layout)).await?;
    let failures = runtime.end_pods(remove_pods).await?;
    runtime::stop(layout).await?;
    match failures.first() {
        Some(first) => anyhow::bail!("{} pods or containers did not stop, the first because: {first}", failures.len()),
        None => Ok(()),
    }
}
