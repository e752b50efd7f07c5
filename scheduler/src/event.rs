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

    /// Upstream's label for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NodeAdd(_) => "NodeAdd",
            Self::NodeUpdate { .. } => "NodeUpdate",
            Self::NodeDelete(_) => "NodeDelete",
            Self::PodAdd(_) => "AssignedPodAdd",
            Self::PodUpdate { .. } => "AssignedPodUpdate",
            Self::PodDelete(_) => "AssignedPodDelete",
            Self::Claim { old: None, .. } => "PvcAdd",
            Self::Claim { .. } => "PvcUpdate",
            Self::Volume(_) => "PvAdd",
            Self::StorageClass(_) => "StorageClassAdd",
            Self::CsiNode { old: None, .. } => "CSINodeAdd",
            Self::CsiNode { .. } => "CSINodeUpdate",
            Self::AttachmentDelete(_) => "VolumeAttachmentDelete",
            Self::CsiDriver(_) => "CSIDriverAdd",
            Self::Capacity(_) => "CSIStorageCapacityAdd",
            Self::ResourceClaim { old: None, .. } => "ResourceClaimAdd",
            Self::ResourceClaim { .. } => "ResourceClaimUpdate",
            Self::DeviceClass(_) => "DeviceClassAdd",
            Self::ResourceSlice(_) => "ResourceSliceAdd",
            Self::OwnUpdate { .. } => "UnscheduledPodUpdate",
        }
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
