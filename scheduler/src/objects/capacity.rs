//! What the scheduler reads of CSIDrivers and CSIStorageCapacities: how much storage can still be made, and where.
//!
//! Concept: "Storage Capacity".

use k8s_openapi::api::storage::v1 as storage;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use machinery::selector::Selector;
use serde::Deserialize;

use super::affinity::selector;
use super::{Node, api_resource, lean_metadata};

#[derive(Clone, Debug, Deserialize)]
#[serde(from = "storage::CSIDriver")]
pub struct CsiDriver {
    pub metadata: ObjectMeta,
    /// It tells how much storage there is, and is to be believed.
    pub tracks_capacity: bool,
}

api_resource!(ClusterResourceScope CsiDriver, "storage.k8s.io", "v1", "CSIDriver", "csidrivers");

#[derive(Clone, Debug, Deserialize)]
#[serde(from = "storage::CSIStorageCapacity")]
pub struct Capacity {
    pub metadata: ObjectMeta,
    pub class: Box<str>,
    /// The largest volume that can be made, in bytes; `None` when the driver does not know.
    pub volume_max: Option<i64>,
    /// The nodes that reach it; `None` for none.
    pub nodes: Option<Selector>,
}

api_resource!(NamespaceResourceScope Capacity, "storage.k8s.io", "v1", "CSIStorageCapacity", "csistoragecapacities");

impl From<storage::CSIDriver> for CsiDriver {
    fn from(raw: storage::CSIDriver) -> Self {
        Self { tracks_capacity: raw.spec.storage_capacity == Some(true), metadata: lean_metadata(raw.metadata) }
    }
}

impl From<storage::CSIStorageCapacity> for Capacity {
    fn from(raw: storage::CSIStorageCapacity) -> Self {
        let bytes = |quantity: Quantity| machinery::quantity::Quantity::parse(&quantity.0).ok().map(|q| q.value());
        Self {
            class: raw.storage_class_name.into(),
            volume_max: raw.maximum_volume_size.or(raw.capacity).and_then(bytes),
            nodes: raw.node_topology.as_ref().and_then(|topology| selector(Some(topology))),
            metadata: lean_metadata(raw.metadata),
        }
    }
}

impl Capacity {
    /// Whether a volume of this size can be made where the node reaches it.
    pub fn suffices(&self, bytes: i64, node: &Node) -> bool {
        self.volume_max.is_some_and(|most| most >= bytes)
            && self.nodes.as_ref().is_some_and(|nodes| nodes.matches_labels(node.metadata.labels.as_ref()))
    }
}
