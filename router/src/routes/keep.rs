//! Keeps the routes as the nodes are.

use std::net::IpAddr;

use super::tool::{self, ToolError};
use super::{Backend, NodeView, Plan, plan};

/// What was written, and where it stands.
pub(crate) struct Keeper {
    backend: Backend,
    node_name: String,
    /// `None` when it must be looked at.
    written: Option<Plan>,
}

impl Keeper {
    pub(crate) fn new(backend: Backend, node_name: &str) -> Keeper {
        Keeper { backend, node_name: node_name.to_owned(), written: None }
    }

    /// Looks at the routes anew at the next write: somebody may have removed some. Where there are none nobody can.
    pub(crate) fn forget(&mut self) {
        self.written.take_if(|written| !written.is_empty());
    }

    /// Makes the routes lead to these nodes. What fails is tried again with the next write.
    pub(crate) async fn sync(&mut self, nodes: &[NodeView]) -> Result<(), ToolError> {
        let wanted = plan(nodes, &self.node_name, self.backend);
        if self.written.as_ref() == Some(&wanted) {
            return Ok(());
        }
        let me = nodes.iter().find(|node| node.name == self.node_name);
        if let Some(me) = me
            && let Some(IpAddr::V4(address)) = me.address(true)
            && self.backend == Backend::Vxlan
        {
            tool::ensure_device(address, &me.pod_ranges).await?;
        }
        let present = match self.written.take() {
            Some(written) => written,
            None => tool::present().await?,
        };
        tool::apply(&wanted, &present).await?;
        if wanted != present {
            tracing::info!(routes = wanted.len(), "routes to other nodes' pods are written");
        }
        self.written = Some(wanted);
        Ok(())
    }
}

/// Takes all routes of ours away, and the tunnel.
pub(crate) async fn remove() -> Result<(), ToolError> {
    tool::apply(&Plan::new(), &tool::present().await?).await?;
    tool::remove_device().await
}
