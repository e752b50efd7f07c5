//! Watches what the runtime says of itself and of pod networking (CRI `Status`).
//!
//! The runtime finds CNI files by itself; the kubelet is woken by the same folder, asks a moment later, and besides
//! that as often as upstream does, so that a node is Ready soon after its CNI file has appeared.

use std::{path::PathBuf, time::Duration};

use component::{file_watch::FileWatch, shutdown::Shutdown};
use tokio::sync::watch;

use super::conditions::{Health, runtime_condition};
use crate::{pod::node::Network, runtime::SharedRuntime};

/// Upstream's period.
const PERIOD: Duration = Duration::from_secs(5);
/// A runtime may keep its CNI files in another folder than the one that is watched.
const PERIOD_NOT_READY: Duration = Duration::from_secs(2);
/// How soon and how often the runtime is asked after the folder changed: it needs a moment to load the file.
const AFTER_CHANGE: [Duration; 5] = [
    Duration::from_millis(50),
    Duration::from_millis(150),
    Duration::from_millis(300),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// Keeps `health` and `network` up to date until shutdown. `cni_folder` is the CNI configuration folder.
pub async fn watch(
    runtime: SharedRuntime,
    cni_folder: PathBuf,
    health: watch::Sender<Health>,
    network: watch::Sender<Network>,
    shutdown: Shutdown,
) {
    let folder = FileWatch::new();
    if let Err(error) = folder.as_ref().map_err(ToString::to_string).and_then(|it| add(it, &cni_folder)) {
        tracing::warn!(error, "the CNI configuration folder cannot be watched; it is looked at every few seconds");
    }
    let mut quick = AFTER_CHANGE.iter();
    loop {
        look(&runtime, &health, &network).await;
        let ready = network.borrow().ready;
        let pause = if ready { PERIOD } else { quick.next().copied().unwrap_or(PERIOD_NOT_READY) };
        let changed = async {
            let changed = match &folder {
                Ok(folder) => folder.changed().await.is_ok(),
                Err(_) => false,
            };
            if !changed {
                std::future::pending::<()>().await;
            }
            // The folder itself may only now have come.
            folder.iter().for_each(|folder| drop(add(folder, &cni_folder)));
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = changed => quick = AFTER_CHANGE.iter(),
            () = shutdown.cancelled() => return,
        }
    }
}

fn add(watch: &FileWatch, folder: &std::path::Path) -> Result<(), String> {
    watch.add_folder_or_parent(folder).map_err(|error| error.to_string())
}

async fn look(runtime: &SharedRuntime, health: &watch::Sender<Health>, network: &watch::Sender<Network>) {
    let (runtime_problem, state) = match runtime.status().await {
        Ok(answer) => {
            let conditions = answer.status.map(|status| status.conditions).unwrap_or_default();
            let problem = |type_: &str| match conditions.iter().find(|condition| condition.r#type == type_) {
                Some(condition) if condition.status => None,
                Some(condition) => Some(runtime_condition(type_, &condition.reason, &condition.message)),
                None => Some(format!("{type_} is not set")),
            };
            let runtime_problem = problem("RuntimeReady").map(|it| format!("container runtime not ready: {it}"));
            let network = match problem("NetworkReady") {
                None => Network { ready: true, message: String::new() },
                Some(message) => Network { ready: false, message },
            };
            (runtime_problem, Some(network))
        }
        Err(error) => (Some(format!("container runtime is down: {}", error.rpc())), None),
    };
    // A runtime that does not answer says nothing about its network: what was known stays.
    if let Some(state) = state {
        network.send_if_modified(|known| replace(known, state));
    }
    let network_problem = Some(network.borrow().clone()).filter(|network| !network.ready);
    let network_problem = network_problem.map(|it| format!("container runtime network not ready: {}", it.message));
    health.send_if_modified(|known| replace(known, Health { runtime_problem, network_problem, ..known.clone() }));
}

fn replace<T: PartialEq>(known: &mut T, next: T) -> bool {
    let changed = *known != next;
    *known = next;
    changed
}
