//! What happened in the cluster that may let a waiting pod fit.

use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};

use crate::objects::{Attachment, Capacity, Claim, CsiDriver, CsiNode, Node, Pod, StorageClass, Volume};

/// A change after the fact. Of storage and devices only what came or changed is told: nothing gets easier when it goes, but for an attachment. Only placed pods make pod events; the exception is [`Event::OwnUpdate`].
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    NodeAdd(&'a Node),
    NodeUpdate {
        old: &'a Node,
        new: &'a Node,
    },
    NodeDelete(&'a Node),
    PodAdd(&'a Pod),
    PodUpdate {
        old: &'a Pod,
        new: &'a Pod,
    },
    PodDelete(&'a Pod),
    Claim {
        old: Option<&'a Claim>,
        new: &'a Claim,
    },
    Volume(&'a Volume),
    StorageClass(&'a StorageClass),
    CsiNode {
        old: Option<&'a CsiNode>,
        new: &'a CsiNode,
    },
    AttachmentDelete(&'a Attachment),
    CsiDriver(&'a CsiDriver),
    Capacity(&'a Capacity),
    ResourceClaim {
        old: Option<&'a ResourceClaim>,
        new: &'a ResourceClaim,
    },
    DeviceClass(&'a DeviceClass),
    ResourceSlice(&'a ResourceSlice),
    /// The waiting pod itself changed.
    OwnUpdate {
        old: &'a Pod,
        new: &'a Pod,
    },
}

impl<'a> Event<'a> {
    /// The node as it is now, if this is about a node that came or changed, and as it was before.
    pub fn node(&self) -> Option<(Option<&'a Node>, &'a Node)> {
        match *self {
            Self::NodeAdd(node) => Some((None, node)),
            Self::NodeUpdate { old, new } => Some((Some(old), new)),
            _ => None,
        }
    }

    /// Upstream's label for metrics. Of several changes at once the first counts.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NodeAdd(_) => "NodeAdd",
            Self::NodeUpdate { old, new } if old.unschedulable != new.unschedulable => "NodeUpdateNodeTaint",
            Self::NodeUpdate { old, new } if old.allocatable != new.allocatable => "NodeUpdateNodeAllocatable",
            Self::NodeUpdate { old, new } if old.metadata.labels != new.metadata.labels => "NodeUpdateNodeLabel",
            Self::NodeUpdate { old, new } if old.taints != new.taints => "NodeUpdateNodeTaint",
            Self::NodeUpdate { .. } => "NodeUpdateNodeDeclaredFeature",
            Self::NodeDelete(_) => "NodeDelete",
            Self::PodAdd(_) => "AssignedPodAdd",
            Self::PodUpdate { old, new } if old.metadata.labels != new.metadata.labels => "AssignedPodUpdatePodLabel",
            Self::PodUpdate { old, new } if old.requests != new.requests => "AssignedPodUpdatePodScaleDown",
            Self::PodUpdate { .. } => "AssignedPodUpdate",
            Self::PodDelete(_) => "AssignedPodDelete",
            Self::Claim { old: None, .. } => "PersistentVolumeClaimAdd",
            Self::Claim { .. } => "PersistentVolumeClaimUpdate",
            Self::Volume(_) => "PersistentVolumeAdd",
            Self::StorageClass(_) => "storage.k8s.io/StorageClassAdd",
            Self::CsiNode { old: None, .. } => "storage.k8s.io/CSINodeAdd",
            Self::CsiNode { .. } => "storage.k8s.io/CSINodeUpdate",
            Self::AttachmentDelete(_) => "storage.k8s.io/VolumeAttachmentDelete",
            Self::CsiDriver(_) => "storage.k8s.io/CSIDriverUpdate",
            Self::Capacity(_) => "storage.k8s.io/CSIStorageCapacityAdd",
            Self::ResourceClaim { old: None, .. } => "resource.k8s.io/ResourceClaimAdd",
            Self::ResourceClaim { .. } => "resource.k8s.io/ResourceClaimUpdate",
            Self::DeviceClass(_) => "resource.k8s.io/DeviceClassAdd",
            Self::ResourceSlice(_) => "resource.k8s.io/ResourceSliceAdd",
            Self::OwnUpdate { old, new } => own_label(old, new),
        }
    }
}

fn own_label(old: &Pod, new: &Pod) -> &'static str {
    if old.metadata.labels != new.metadata.labels {
        "UnschedulablePodUpdatePodLabel"
    } else if old.requests != new.requests {
        "UnschedulablePodUpdatePodScaleDown"
    } else if !old.gates.is_empty() && new.gates.is_empty() {
        "UnschedulablePodUpdatePodSchedulingGatesEliminated"
    } else if old.tolerations != new.tolerations {
        "UnschedulablePodUpdatePodToleration"
    } else if old.device_claims != new.device_claims {
        "UnschedulablePodUpdatePodGeneratedResourceClaim"
    } else {
        "UnschedulablePodUpdate"
    }
}

/// Whether a node's new state can matter to any waiting pod; heartbeats and image lists do not.
pub fn node_changed(old: &Node, new: &Node) -> bool {
    old.metadata.labels != new.metadata.labels
        || old.taints != new.taints
        || old.unschedulable != new.unschedulable
        || old.allocatable != new.allocatable
        || old.declared_features != new.declared_features
}

/// Whether a placed pod's new state can matter to any waiting pod.
pub fn pod_changed(old: &Pod, new: &Pod) -> bool {
    old.metadata.labels != new.metadata.labels
        || old.requests != new.requests
        || old.is_terminating() != new.is_terminating()
}
