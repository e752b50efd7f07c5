//! What the scheduler reads of CSINodes and VolumeAttachments: how many volumes a node takes, and which are there.

use std::collections::BTreeMap;

use k8s_openapi::api::storage::v1 as storage;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::{api_resource, lean_metadata};

#[derive(Clone, Debug, Deserialize)]
#[serde(from = "storage::CSINode")]
pub struct CsiNode {
    pub metadata: ObjectMeta,
    /// How many volumes of a driver the node takes; no entry for a driver without a limit.
    pub limits: BTreeMap<String, i64>,
}

api_resource!(ClusterResourceScope CsiNode, "storage.k8s.io", "v1", "CSINode", "csinodes");

#[derive(Clone, Debug, Deserialize)]
#[serde(from = "storage::VolumeAttachment")]
pub struct Attachment {
    pub metadata: ObjectMeta,
    pub node: Box<str>,
    /// The driver's name.
    pub attacher: Box<str>,
    /// The PersistentVolume; empty for a volume that a pod has without one.
    pub volume: Box<str>,
}

api_resource!(ClusterResourceScope Attachment, "storage.k8s.io", "v1", "VolumeAttachment", "volumeattachments");

impl From<storage::CSINode> for CsiNode {
    fn from(raw: storage::CSINode) -> Self {
        let limit = |driver: storage::CSINodeDriver| Some((driver.name, i64::from(driver.allocatable?.count?)));
        Self { limits: raw.spec.drivers.into_iter().filter_map(limit).collect(), metadata: lean_metadata(raw.metadata) }
    }
}

impl CsiNode {
    /// Whether some driver's limit is higher than it was.
    pub fn takes_more_than(&self, old: &Self) -> bool {
        self.limits.iter().any(|(driver, limit)| *limit > old.limits.get(driver).copied().unwrap_or(0))
    }
}

impl From<storage::VolumeAttachment> for Attachment {
    fn from(raw: storage::VolumeAttachment) -> Self {
        Self {
            node: raw.spec.node_name.into(),
            attacher: raw.spec.attacher.into(),
            volume: raw.spec.source.persistent_volume_name.unwrap_or_default().into(),
            metadata: lean_metadata(raw.metadata),
        }
    }
}

impl Attachment {
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }
}
