//! Node address management: each node gets a part of the pods' addresses, one of each family.
//!
//! Enter by [`run`]. A node keeps its part for life; what has been given out is known from the nodes themselves.

mod cidr;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use component::context::Context;
use component::flags::Values;
use component::informer::{Event, Informer};
use component::queue::{self, Queue};
use component::recorder::Type;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use self::cidr::CidrSet;
use crate::common::error::{Doing, Error};
use crate::common::ranges::{is_ipv6, parse};

const WORKERS: usize = 30;

/// The cluster's ranges with the prefix length of a node's part, and the Services' ranges to keep off.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) cluster: Vec<(IpNet, u8)>,
    pub(crate) services: Vec<IpNet>,
}

impl Settings {
    /// From the flags; None when nodes are not given addresses here.
    pub(crate) fn from_flags(values: &Values) -> Result<Option<Self>, String> {
        if !values.bool("allocate-node-cidrs") {
            return Ok(None);
        }
        let ranges = |name: &str| {
            let texts = values.str(name).split(',').map(str::trim).filter(|text| !text.is_empty());
            texts.map(parse).collect::<Result<Vec<IpNet>, String>>()
        };
        let (cluster, services) = (ranges("cluster-cidr"), ranges("service-cluster-ip-range"));
        let cluster = cluster.map_err(|e| format!("cluster-cidr: {e}"))?;
        let dual = match cluster.as_slice() {
            [] => return Err("cluster-cidr is required with allocate-node-cidrs".into()),
            [_] => false,
            [a, b] if is_ipv6(a) != is_ipv6(b) => true,
            [_, _] => return Err("cluster-cidr: two CIDRs must be of two families".into()),
            _ => return Err("cluster-cidr: at most one CIDR of each family".into()),
        };
        let prefix = |name: &str| match values.int(name) {
            0 => Ok(None),
            prefix => u8::try_from(prefix).map(Some).map_err(|_| format!("{name}: invalid mask size {prefix}")),
        };
        if dual && prefix("node-cidr-mask-size")?.is_some() {
            let both = "use node-cidr-mask-size-ipv4 and node-cidr-mask-size-ipv6 in a dual-stack cluster";
            return Err(format!("node-cidr-mask-size: {both}"));
        }
        let of = |cidr: &IpNet| {
            let family = if is_ipv6(cidr) { "node-cidr-mask-size-ipv6" } else { "node-cidr-mask-size-ipv4" };
            let given = prefix(family)?.or(prefix("node-cidr-mask-size")?);
            Ok::<_, String>((*cidr, given.unwrap_or(if is_ipv6(cidr) { 64 } else { 24 })))
        };
        let cluster: Vec<(IpNet, u8)> = cluster.iter().map(of).collect::<Result<_, _>>()?;
        for (cidr, prefix) in &cluster {
            CidrSet::new(*cidr, *prefix)?;
        }
        Ok(Some(Settings { cluster, services: services.map_err(|e| format!("service-cluster-ip-range: {e}"))? }))
    }
}

struct Controller {
    ctx: Context,
    nodes: Informer<Node>,
    queue: Queue<String>,
    sets: Mutex<Vec<CidrSet>>,
    /// UIDs of nodes whose CIDRs were written, until the cache shows it: a sync in between would give them others.
    written: Mutex<HashSet<String>>,
}

/// Runs until the context's shutdown.
pub(crate) async fn run(ctx: Context, settings: Settings) {
    let mut sets: Vec<CidrSet> =
        settings.cluster.iter().filter_map(|(cidr, prefix)| CidrSet::new(*cidr, *prefix).ok()).collect();
    for set in &mut sets {
        for services in &settings.services {
            set.occupy(*services);
        }
    }
    let controller = Arc::new(Controller {
        nodes: ctx.informers.of(),
        queue: Queue::new("cidrallocator_node"),
        sets: Mutex::new(sets),
        written: Mutex::default(),
        ctx,
    });
    let shutdown = controller.ctx.shutdown.clone();
    if shutdown.run_until(controller.nodes.synced()).await.is_none() {
        return;
    }
    // All that is taken, before any is given out.
    controller.nodes.list().iter().for_each(|node| controller.occupy(node));
    controller.nodes.notify(&controller, |this, event| match event {
        Event::Deleted(node) => {
            this.written().remove(&node.uid().unwrap_or_default());
            this.release(&cidrs(node));
        }
        _ => this.queue.add(event.object().name_any()),
    });
    queue::run(controller.queue.clone(), WORKERS, shutdown, |name| controller.sync(name)).await;
}

fn cidrs(node: &Node) -> Vec<IpNet> {
    let spec = node.spec.as_ref();
    spec.and_then(|s| s.pod_cidrs.as_ref()).into_iter().flatten().filter_map(|text| parse(text).ok()).collect()
}

impl Controller {
    fn sets(&self) -> MutexGuard<'_, Vec<CidrSet>> {
        self.sets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn written(&self) -> MutexGuard<'_, HashSet<String>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn occupy(&self, node: &Node) {
        for (set, cidr) in self.sets().iter_mut().zip(cidrs(node)) {
            if !set.occupy(cidr) {
                tracing::warn!(node = node.name_any(), %cidr, "the node's pod CIDR is outside of the cluster CIDR");
            }
        }
    }

    fn release(&self, cidrs: &[IpNet]) {
        self.sets().iter_mut().zip(cidrs).for_each(|(set, cidr)| set.release(*cidr));
    }

    /// One of each set, or of none.
    fn allocate(&self) -> Option<Vec<IpNet>> {
        let mut sets = self.sets();
        let mut given = Vec::with_capacity(sets.len());
        for set in sets.iter_mut() {
            match set.allocate() {
                Some(cidr) => given.push(cidr),
                None => {
                    sets.iter_mut().zip(given).for_each(|(set, cidr)| set.release(cidr));
                    return None;
                }
            }
        }
        Some(given)
    }

    async fn sync(&self, name: String) -> Result<(), Error> {
        let Some(node) = self.nodes.get("", &name).filter(|n| n.metadata.deletion_timestamp.is_none()) else {
            return Ok(());
        };
        let uid = node.uid().unwrap_or_default();
        if !cidrs(&node).is_empty() {
            self.written().remove(&uid);
            self.occupy(&node);
            return Ok(());
        }
        if self.written().contains(&uid) {
            return Ok(());
        }
        let Some(given) = self.allocate() else {
            self.tell(&node, "CIDRNotAvailable");
            let reason = "CIDR allocation failed; there are no remaining CIDRs left to allocate in the accepted range";
            return Err(Error::refused("allocate pod CIDR of node", name, reason));
        };
        let texts: Vec<String> = given.iter().map(ToString::to_string).collect();
        let patch = json!({
            "metadata": {"uid": node.metadata.uid},
            "spec": {"podCIDR": texts.first(), "podCIDRs": texts},
        });
        let api = Api::<Node>::all(self.ctx.client.clone());
        let patched = api.patch(&name, &PatchParams::default(), &Patch::Strategic(&patch)).await;
        match patched.doing("set pod CIDR of node", &name) {
            Ok(_) => {
                self.written().insert(uid);
                Ok(())
            }
            Err(error) => {
                // Without an answer the write may have happened: then the range is the node's, and stays taken.
                if error.status().is_some_and(|s| s.code < 500) {
                    self.release(&given);
                }
                self.tell(&node, "CIDRAssignmentFailed");
                Err(error)
            }
        }
    }

    fn tell(&self, node: &Node, status: &str) {
        let message = format!("Node {} status is now: {status}", node.name_any());
        self.ctx.recorder.event(node, Type::Normal, status, message);
    }
}
