//! What the scheduler reads of the API's objects, decoded straight into the shape that scheduling works on.
//!
//! Enter at [`Pod`] and [`Node`]. Whole typed objects would cost several kilobytes a pod and a parse of every quantity
//! and selector a cycle; here that is done once, when an object enters, and the rest is dropped. Nothing here decides.

mod affinity;
mod attachments;
mod capacity;
mod devices;
mod moved;
mod node;
mod node_selector;
mod owners;
mod pod;
mod requests;
mod resources;
mod taints;
mod volumes;

pub use affinity::{AffinityTerm, NamespaceLabels, PodAffinity, WeightedTerm};
pub use attachments::{Attachment, CsiNode};
pub use capacity::{Capacity, CsiDriver};
pub(crate) use devices::CLASS_RESOURCE;
pub use devices::{DeviceClaim, ExtendedRequest};
pub use moved::driver_of;
pub use node::{Node, Taint};
pub use node_selector::{NodeTerm, RequiredNodeAffinity, WeightedNodeTerm};
pub use owners::{Namespace, PodDisruptionBudget, ReplicaSet, ReplicationController, Service, StatefulSet};
pub use pod::{Controller, HostPort, Pod, ScheduledCondition, SpreadConstraint, WhenUnsatisfiable};
pub use resources::{ResourceName, Resources, ScoredRequests, is_extended};
pub use taints::{Toleration, first_untolerated, tolerates};
pub(crate) use volumes::SELECTED_NODE;
pub use volumes::{Claim, Disk, PodVolume, StorageClass, Volume};

pub(crate) use component::api_resource;

/// Keeps of an object's metadata what scheduling reads.
pub(crate) fn lean_metadata(
    metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
    k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
        name: metadata.name,
        namespace: metadata.namespace,
        uid: metadata.uid,
        labels: metadata.labels,
        resource_version: metadata.resource_version,
        generation: metadata.generation,
        deletion_timestamp: metadata.deletion_timestamp,
        creation_timestamp: metadata.creation_timestamp,
        ..Default::default()
    }
}
