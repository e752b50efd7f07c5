//! Running the parts of a node that joined, at its first start and at every other one.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use component::file_watch::FileWatch;
use component::pipes::Pipes;
use component::shutdown::Shutdown;
use tokio::task::JoinSet;

use super::credentials;
use crate::layout::Layout;
use crate::notify::Notifier;
use crate::part::Part;
use crate::settings::Settings;
use crate::{files, flags, kubeconfig, node, parts, run, runtime};

/// Between two tries to get the parts' tokens.
const PAUSE: Duration = Duration::from_secs(1);

/// Starts the parts and keeps the CNI configuration as the Node is. Returns at shutdown; `tasks` then end by themselves.
pub(crate) async fn start(
    layout: &Layout,
    settings: &Settings,
    notifier: &Notifier,
    shutdown: &Shutdown,
    tasks: &mut JoinSet<()>,
) -> Result<()> {
    // The API server is on another machine.
    let pipes = Pipes::default();
    kubeconfig::write_joined(layout, &settings.server(), &credentials::all(settings))?;
    run::prepare_node(layout, settings)?;
    notifier.status("starting containerd");
    runtime::ensure(layout, settings).await?;
    runtime::keep(tasks, layout, settings, shutdown);
    if settings.runs(Part::Kubelet) {
        parts::spawn(tasks, Part::Kubelet, flags::of(Part::Kubelet, layout, settings)?, shutdown, &pipes)?;
    }
    // The parts of a node that is known start without the API server: Services of before work on while it is away.
    if !credentials::are_there(layout, settings) {
        notifier.status("asking for this node's certificate");
        if shutdown.run_until(exists(&layout.kubeconfig(Part::Kubelet))).await.transpose()?.is_none() {
            return Ok(());
        }
        notifier.status("registering the node");
        if !introduce(layout, settings, shutdown).await? {
            return Ok(());
        }
    }
    for part in credentials::all(settings) {
        parts::spawn(tasks, part, flags::of(part, layout, settings)?, shutdown, &pipes)?;
    }
    // It has done its work, and is a secret.
    files::remove_if_present(&layout.bootstrap_kubeconfig()).context("remove the bootstrap kubeconfig")?;
    tasks.spawn(credentials::keep(layout.clone(), settings.clone(), shutdown.clone()));
    notifier.status("waiting for the node to be Ready");
    node::keep_configured(layout, settings, node::client(layout, settings)?, shutdown, || notifier.ready()).await
}

/// Once the Node is there, gets the other parts' tokens. False when shutdown comes first.
async fn introduce(layout: &Layout, settings: &Settings, shutdown: &Shutdown) -> Result<bool> {
    let Some(node) = node::registered(layout, settings, shutdown).await? else { return Ok(false) };
    let tries = async {
        while let Err(error) = credentials::obtain(layout, settings, &node).await {
            tracing::warn!("the parts have no tokens yet, trying again: {error:#}");
            tokio::time::sleep(PAUSE).await;
        }
    };
    Ok(shutdown.run_until(tries).await.is_some())
}

/// Returns when the file is there.
async fn exists(path: &Path) -> Result<()> {
    let folder = path.parent().context("a file in a folder")?;
    let watch = FileWatch::new().context("watch files")?;
    watch.add_folder(folder).with_context(|| format!("watch {}", folder.display()))?;
    while !path.exists() {
        watch.changed().await.with_context(|| format!("watch {}", folder.display()))?;
    }
    Ok(())
}
