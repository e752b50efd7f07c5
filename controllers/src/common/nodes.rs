//! Facts about nodes, and how their taints are changed.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use super::error::{Doing, Error};
use super::{map, time};

pub(crate) const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub(crate) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
pub(crate) const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
pub(crate) const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
pub(crate) const NO_SCHEDULE: &str = "NoSchedule";
pub(crate) const NO_EXECUTE: &str = "NoExecute";

/// How often a change is tried again over what is there then.
const CONFLICT_RETRIES: usize = 5;

pub(crate) fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.iter().flatten().find(|c| c.type_ == kind)
}

pub(crate) fn is_ready(node: &Node) -> bool {
    condition(node, "Ready").is_some_and(|c| c.status == "True")
}

pub(crate) fn taints(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|s| s.taints.as_deref()).unwrap_or_default()
}

/// Region and zone as one word; empty when the node tells neither.
pub(crate) fn zone_key(node: &Node) -> String {
    let labels = map(&node.metadata.labels);
    let label = |new: &str, old: &str| labels.get(new).or(labels.get(old)).cloned().unwrap_or_default();
    let region = label("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region");
    let zone = label("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone");
    if region.is_empty() && zone.is_empty() { String::new() } else { format!("{region}:\0:{zone}") }
}

pub(crate) fn taint(key: &str, effect: &str, now: Timestamp) -> Taint {
    Taint { key: key.into(), effect: effect.into(), value: None, time_added: Some(time(now)) }
}

/// Changes a node's taints as they are on the server now. `change` returns None when they are right.
///
/// The whole list is written, with the version it was read at: others taint nodes too.
pub(crate) async fn change_taints(
    client: &Client,
    name: &str,
    change: impl Fn(&Node) -> Option<Vec<Taint>>,
) -> Result<bool, Error> {
    let api = Api::<Node>::all(client.clone());
    let mut tries = 0;
    loop {
        let Some(node) = api.get_opt(name).await.doing("get node", name)? else { return Ok(false) };
        let Some(taints) = change(&node) else { return Ok(false) };
        let patch =
            json!({"metadata": {"resourceVersion": node.metadata.resource_version}, "spec": {"taints": taints}});
        let patched = api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        match patched.doing("change taints of node", name) {
            Err(e) if e.is_conflict() && tries < CONFLICT_RETRIES => tries += 1,
            Err(e) if e.is_not_found() => return Ok(false),
            other => return other.map(|_| true),
        }
    }
}
