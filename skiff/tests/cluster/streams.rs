//! kubectl's habits that need containers, with the oldest and the newest kubectl that is here: exec, attach, cp, debug,
//! logs, port-forward, run and drain. `pages/` says what each prints; `pages/alone/` is what changes the node for everybody.
//!
//! From 1.31 on kubectl speaks WebSocket, and the API server SPDY to the kubelet; older ones speak SPDY all the way.

use std::path::Path;

use anyhow::{Context as _, Result};
use testbed::Cluster;
use testbed::pages::{self, Stage, clients};

use crate::support::SKIFF;

#[test]
fn every_kubectl_talks_to_containers() -> Result<()> {
    let Some(cluster) = Cluster::up("streams", SKIFF, &[])? else { return Ok(()) };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster");
    let mut stage = Stage {
        folder: cluster.bed.folder(),
        kubeconfig: &cluster.data().join("admin.kubeconfig"),
        tools: &folder.join("tools.sh"),
        bed: Some(&cluster.bed),
        workers: 4,
    };
    stage.tell(clients::chosen()?, &pages::in_folder(&folder.join("pages"))?).with_context(|| cluster.log())?;
    stage.workers = 1;
    stage.tell(clients::chosen()?, &pages::in_folder(&folder.join("pages/alone"))?).with_context(|| cluster.log())
}
