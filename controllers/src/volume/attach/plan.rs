//! What is to be done about the volumes of one node.
//!
//! Enter by [`plan`]. Pure. What is attached is known from the VolumeAttachments and the node's status, so nothing need be
//! remembered but since when a volume is to go. Concepts: "Storage", "Non-graceful node shutdown"; the names of fields in a
//! Node's status are a contract with kubelets: they mount what is in `volumesAttached`, and are using what is in
//! `volumesInUse`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::storage::v1::VolumeAttachment;

use super::volume::{Csi, Volume};
use crate::common::nodes;
use crate::common::pod::Pod;

/// So long a node that is not ready may keep a volume mounted.
const UNMOUNT_MAX: Duration = Duration::from_secs(6 * 60);
/// After so long without a word of the driver its pods are told.
const SILENCE_MAX: Duration = Duration::from_secs(2 * 60);

pub(super) struct Wanted {
    pub(super) volume: Volume,
    pub(super) pods: Vec<Arc<Pod>>,
}

/// What other nodes have of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Elsewhere {
    Nothing,
    /// It comes or goes.
    Moving,
    Attached,
}

pub(super) struct World<'a> {
    /// None when it is gone.
    pub(super) node: Option<&'a Node>,
    /// By the unique name.
    pub(super) wanted: &'a BTreeMap<String, Wanted>,
    /// The node's attachments by the unique name of their volume.
    pub(super) attachments: &'a BTreeMap<String, Arc<VolumeAttachment>>,
    pub(super) elsewhere: &'a dyn Fn(&Volume) -> Elsewhere,
    /// What a node that is gone used last, by unique name; None when that is not known.
    pub(super) last_in_use: Option<&'a BTreeSet<String>>,
    /// Since when volumes are to be detached.
    pub(super) going_since: &'a BTreeMap<String, Timestamp>,
    /// Whether a node may lose a mounted volume because of the time that it takes.
    pub(super) forces_by_time: bool,
    pub(super) now: Timestamp,
}

/// What the pods that want a volume are told, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    Attached,
    Exclusive,
    Failed(String),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Detach {
    pub(super) unique: String,
    /// None: nobody need be asked.
    pub(super) attachment: Option<String>,
    /// Ask the server first whether the node uses it.
    pub(super) verify: bool,
    /// Why it is taken away although it may be in use.
    pub(super) forced: Option<&'static str>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// What the node's status is to list as attached; told before anything is detached.
    pub(super) attached: Vec<String>,
    pub(super) attach: Vec<Volume>,
    pub(super) detach: Vec<Detach>,
    pub(super) news: Vec<(String, News)>,
    /// Volumes that are to go, or go.
    pub(super) going: BTreeSet<String>,
    /// Time alone may change the plan then.
    pub(super) again_in: Option<Duration>,
}

pub(super) fn plan(world: &World<'_>) -> Plan {
    let mut plan = Plan::default();
    for (unique, wanted) in world.wanted {
        keep(world, &mut plan, unique, &wanted.volume);
    }
    let listed = attached(world.node).map(str::to_owned);
    let known: BTreeSet<String> = listed.chain(world.attachments.keys().cloned()).collect();
    for unique in known.iter().filter(|unique| !world.wanted.contains_key(*unique)) {
        let_go(world, &mut plan, unique);
    }
    plan
}

/// What the node's status lists.
pub(super) fn attached(node: Option<&Node>) -> impl Iterator<Item = &str> {
    let status = node.and_then(|node| node.status.as_ref());
    status.into_iter().flat_map(|s| s.volumes_attached.iter().flatten()).map(|volume| volume.name.as_str())
}

/// What the kubelet says it uses, by unique name.
pub(super) fn in_use(node: &Node) -> impl Iterator<Item = &str> {
    node.status.iter().flat_map(|s| s.volumes_in_use.iter().flatten()).map(String::as_str)
}

pub(super) fn is_in_use(node: &Node, unique: &str) -> bool {
    in_use(node).any(|name| name == unique)
}

fn keep(world: &World<'_>, plan: &mut Plan, unique: &str, volume: &Volume) {
    let is_listed = attached(world.node).any(|listed| listed == unique);
    let is_there = |plan: &mut Plan| {
        if !is_listed {
            plan.news.push((unique.to_owned(), News::Attached));
        }
        plan.attached.push(unique.to_owned());
    };
    let Some(csi) = &volume.csi else {
        if volume.exclusive && !is_listed && (world.elsewhere)(volume) == Elsewhere::Attached {
            return plan.news.push((unique.to_owned(), News::Exclusive));
        }
        return is_there(plan);
    };
    let Some(attachment) = world.attachments.get(unique) else {
        match (world.elsewhere)(volume) {
            Elsewhere::Attached if volume.exclusive => plan.news.push((unique.to_owned(), News::Exclusive)),
            // It wakes this node when it has come to rest.
            Elsewhere::Moving if volume.exclusive => {}
            _ => plan.attach.push(volume.clone()),
        }
        return;
    };
    let status = attachment.status.as_ref();
    if attachment.metadata.deletion_timestamp.is_some() {
        // It is asked for again once it is gone.
    } else if status.is_some_and(|status| status.attached) {
        is_there(plan);
    } else if let Some(error) = status.and_then(|status| status.attach_error.as_ref()) {
        plan.news.push((unique.to_owned(), News::Failed(error.message.clone().unwrap_or_default())));
    } else {
        let since = attachment.metadata.creation_timestamp.as_ref().map_or(world.now, |time| time.0);
        match SILENCE_MAX.checked_sub(elapsed(since, world.now)).filter(|left| !left.is_zero()) {
            Some(left) => wake(plan, left),
            None => {
                let Csi { driver, handle } = csi;
                let why =
                    format!("timed out waiting for external-attacher of {driver} CSI driver to attach volume {handle}");
                plan.news.push((unique.to_owned(), News::Failed(why)));
            }
        }
    }
}

fn let_go(world: &World<'_>, plan: &mut Plan, unique: &str) {
    let attachment = world.attachments.get(unique);
    plan.going.insert(unique.to_owned());
    if attachment.is_some_and(|attachment| attachment.metadata.deletion_timestamp.is_some()) {
        return;
    }
    let since = world.going_since.get(unique).copied().unwrap_or(world.now);
    let left = UNMOUNT_MAX.saturating_sub(elapsed(since, world.now));
    let is_late = left.is_zero() && world.forces_by_time;
    let is_ready = world.node.is_some_and(nodes::is_ready);
    let is_out = world.node.is_some_and(|node| nodes::taints(node).iter().any(|t| t.key == nodes::OUT_OF_SERVICE));
    // A node that is gone may run on, with the volumes that it used.
    let may_be_mounted = match world.node {
        Some(node) => is_in_use(node, unique),
        None => world.last_in_use.is_none_or(|used| used.contains(unique)),
    };
    let loses_it = is_out || (is_late && !is_ready);
    if may_be_mounted && !loses_it {
        let is_attached = attachment.and_then(|a| a.status.as_ref()).is_none_or(|status| status.attached);
        if is_attached {
            plan.attached.push(unique.to_owned());
        }
        if !left.is_zero() {
            wake(plan, left);
        }
        return;
    }
    plan.detach.push(Detach {
        unique: unique.to_owned(),
        attachment: attachment.and_then(|attachment| attachment.metadata.name.clone()),
        verify: !is_late && !is_out,
        forced: match (is_late, is_out) {
            (true, _) => Some("timeout"),
            (false, true) => Some("out-of-service"),
            (false, false) => None,
        },
    });
}

fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

fn wake(plan: &mut Plan, wait: Duration) {
    plan.again_in = Some(plan.again_in.map_or(wait, |known| known.min(wait)));
}

/// What a pod is told of a volume that another node has. `users` are the pods there: names of those in other namespaces
/// are nobody's business.
pub(super) fn taken_by(users: &[Arc<Pod>], namespace: Option<&str>) -> String {
    let (here, others): (Vec<_>, Vec<_>) =
        users.iter().partition(|user| user.metadata.namespace.as_deref() == namespace);
    let names: Vec<&str> = here.iter().filter_map(|user| user.metadata.name.as_deref()).collect();
    let others = others.len();
    match (names.is_empty(), others) {
        (true, 0) => "Volume is already exclusively attached to one node and can't be attached to another".to_owned(),
        (true, _) => format!("Volume is already used by {others} pod(s) in different namespaces"),
        (false, 0) => format!("Volume is already used by pod(s) {}", names.join(", ")),
        (false, _) => {
            format!("Volume is already used by pod(s) {} and {others} pod(s) in different namespaces", names.join(", "))
        }
    }
}
