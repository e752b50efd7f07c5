//! What is put in order after each look at everything: the share of the Burstable pods, and what is left of pods that are
//! gone.
//!
//! Enter at [`run`]. Beside the looks: systemd, or an unmount, may take its time, and no pod is to wait for that.

use std::{sync::Arc, time::Duration};

use component::shutdown::Shutdown;
use tokio::{sync::watch, time::Instant};

use crate::{orphans, pod::node::Node};

/// How often folders and cgroups of pods that are gone are looked for.
const CLEAR_PERIOD: Duration = Duration::from_secs(60);

/// Until shutdown. `looks` tells of each look, and whether whoever has no worker after it is gone for good.
pub async fn run(
    mut looks: watch::Receiver<bool>,
    node: Arc<Node>,
    is_living: impl Fn(&str) -> bool + Send + Sync,
    shutdown: Shutdown,
) {
    let tidy = async {
        let mut clear_at = Instant::now();
        while looks.changed().await.is_ok() {
            let has_all = *looks.borrow_and_update();
            weigh_burstable(&node).await;
            if has_all && Instant::now() >= clear_at {
                orphans::clear(&node, &is_living).await;
                clear_at = Instant::now() + CLEAR_PERIOD;
            }
        }
    };
    let _ = shutdown.run_until(tidy).await;
}

async fn weigh_burstable(node: &Node) {
    if let Some(cgroups) = &node.cgroups
        && let Err(error) = cgroups.weigh_burstable(&node.running.list()).await
    {
        tracing::warn!(%error, "the Burstable pods' share of the CPU cannot be set");
    }
}
