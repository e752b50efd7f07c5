//! What the caches know of a node's volumes.

use std::collections::BTreeMap;
use std::sync::Arc;

use component::key::Key;
use k8s_openapi::api::core::v1::{ContainerStatus, Node, PersistentVolume};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::ResourceExt;

use super::super::{facts, pods as claims_of_pods};
use super::plan::{self, Elsewhere, Wanted};
use super::volume::{self, Csi, Volume};
use super::{BY_NODE, BY_VOLUME, Controller, Memory};
use crate::common::pod::{Pod, Volume as PodVolume};
use crate::common::pods::{self, node_name};
use crate::common::{map, pod_status};

/// On nodes whose kubelets do not attach by themselves.
const MANAGED: &str = "volumes.kubernetes.io/controller-managed-attach-detach";

pub(super) fn is_managed(node: &Node) -> bool {
    map(&node.metadata.annotations).contains_key(MANAGED)
}

pub(super) fn persistent_of(attachment: &VolumeAttachment) -> Option<String> {
    attachment.spec.source.persistent_volume_name.clone()
}

/// As its driver says.
pub(super) fn is_attached(attachment: &VolumeAttachment) -> bool {
    attachment.status.as_ref().is_some_and(|status| status.attached)
}

pub(super) fn claim_of(volume: &PersistentVolume) -> Option<Key> {
    let reference = facts::claim_ref(volume)?;
    Some(Key::new(reference.namespace.clone()?, reference.name.clone()?))
}

/// Whether the pod's volumes may go: it has ended, or is going and nothing of it runs.
pub(super) fn is_over(pod: &Pod) -> bool {
    let runs = |status: &ContainerStatus| {
        status.state.as_ref().is_none_or(|state| state.terminated.is_none() && state.waiting.is_none())
    };
    let mut statuses = pod.status.iter().flat_map(|s| {
        let lasting = [&s.init_container_statuses, &s.container_statuses].into_iter().flatten().flatten();
        lasting.chain(s.ephemeral_container_statuses.iter().flatten())
    });
    pods::is_terminal(pod) || (pod.metadata.deletion_timestamp.is_some() && !statuses.any(runs))
}

impl Controller {
    /// The volumes that the pods of a node need attached there, by unique name.
    pub(super) fn wanted(&self, node: &str) -> BTreeMap<String, Wanted> {
        let mut wanted: BTreeMap<String, Wanted> = BTreeMap::new();
        for pod in self.pods.by_index(pod_status::BY_NODE, node).into_iter().filter(|pod| !is_over(pod)) {
            for volume in claims_of_pods::volumes(&pod).filter_map(|volume| self.volume_of(&pod, volume)) {
                let entry = wanted.entry(volume.unique.clone());
                entry.or_insert_with(|| Wanted { volume, pods: Vec::new() }).pods.push(pod.clone());
            }
        }
        wanted
    }

    fn volume_of(&self, pod: &Pod, volume: &PodVolume) -> Option<Volume> {
        let Some(name) = claims_of_pods::claim_name(pod, volume) else { return volume::of_pod(volume) };
        let claim = self.claims.get(&pod.namespace()?, &name)?;
        if volume.ephemeral.is_some() && !claims_of_pods::is_made_for(pod, &claim) {
            return None;
        }
        if facts::claim_phase(&claim) != "Bound" {
            return None;
        }
        let persistent = self.volumes.get("", facts::volume_name(&claim))?;
        let is_bound = facts::claim_ref(&persistent).is_some_and(|reference| reference.uid == claim.metadata.uid);
        is_bound.then(|| self.attachable(&persistent)).flatten()
    }

    /// A driver that nobody has told of is asked to attach.
    fn attachable(&self, persistent: &PersistentVolume) -> Option<Volume> {
        let attaches =
            |driver: &str| self.drivers.get("", driver).is_none_or(|driver| driver.spec.attach_required != Some(false));
        volume::of_persistent(persistent, attaches)
    }

    /// The node's attachments by the unique name of their volume. Where the PersistentVolume is gone, the node's status
    /// still has that name.
    pub(super) fn attachments_of(&self, name: &str, node: Option<&Node>) -> BTreeMap<String, Arc<VolumeAttachment>> {
        let listed = |attachment: &VolumeAttachment| {
            let mut listed = plan::attached(node);
            let named = |unique: &&str| {
                Csi::of_unique(unique).is_some_and(|csi| csi.attachment_name(name) == attachment.name_any())
            };
            listed.find(named).map(str::to_owned)
        };
        let unique = |attachment: &VolumeAttachment| {
            let persistent = persistent_of(attachment).and_then(|name| self.volumes.get("", &name));
            // Whatever its driver says now: it has an attachment.
            let volume = persistent.and_then(|persistent| volume::of_persistent(&persistent, |_| true));
            volume.map(|volume| volume.unique).or_else(|| listed(attachment))
        };
        let all = self.attachments.by_index(BY_NODE, name);
        all.into_iter().filter_map(|attachment| Some((unique(&attachment)?, attachment))).collect()
    }

    /// What other nodes have of a volume.
    pub(super) fn elsewhere(&self, memory: &Memory, volume: &Volume, node: &str) -> Elsewhere {
        if volume.csi.is_none() {
            let has = |other: &Node| plan::attached(Some(other)).any(|unique| unique == volume.unique);
            let is_listed = self.nodes.list().iter().any(|other| other.name_any() != node && has(other));
            let mut told = memory.listed.iter().filter(|(other, _)| *other != node);
            let is_taken = is_listed || told.any(|(_, listed)| listed.contains(&volume.unique));
            return if is_taken { Elsewhere::Attached } else { Elsewhere::Nothing };
        }
        let all = self.attachments.by_index(BY_VOLUME, &volume.name);
        let mut others = all.iter().filter(|attachment| attachment.spec.node_name != node).peekable();
        let own = volume.csi.as_ref().map(|csi| csi.attachment_name(node));
        let is_made = memory.made.iter().any(|(name, made)| made.volume == volume.name && Some(name) != own.as_ref());
        let is_attached =
            |attachment: &VolumeAttachment| is_attached(attachment) && attachment.metadata.deletion_timestamp.is_none();
        match others.peek().is_some() || is_made {
            false => Elsewhere::Nothing,
            true if others.any(|attachment| is_attached(attachment)) => Elsewhere::Attached,
            true => Elsewhere::Moving,
        }
    }

    /// The pods of other nodes that use a PersistentVolume.
    pub(super) fn users_elsewhere(&self, persistent: &str, node: &str) -> Vec<Arc<Pod>> {
        let claim = self.volumes.get("", persistent).and_then(|volume| claim_of(&volume));
        let users = claim.map(|claim| claims_of_pods::using(&self.pods, &claim)).unwrap_or_default();
        let is_there = |pod: &Arc<Pod>| !node_name(pod).is_empty() && node_name(pod) != node && !is_over(pod);
        users.into_iter().filter(is_there).collect()
    }
}
