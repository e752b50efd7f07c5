//! What claims, volumes and classes say about themselves and each other.
//!
//! Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::api::resource;
use kube::ResourceExt;
use machinery::quantity::Quantity;

use crate::common::map;

/// On a claim: it was bound once, so that being unbound now means a loss.
pub(super) const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// On both: this side of the binding was made by a controller and not by a user.
pub(super) const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// On a volume: which provisioner made it.
pub(super) const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// On a volume or claim: the external driver that looks after it now.
pub(super) const MIGRATED_TO: &str = "pv.kubernetes.io/migrated-to";
/// On a claim: the node that the scheduler has chosen for its pod.
pub(super) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// On a claim: who is to provision it.
pub(super) const PROVISIONER: [&str; 2] =
    ["volume.beta.kubernetes.io/storage-provisioner", "volume.kubernetes.io/storage-provisioner"];
/// Keeps a volume that this controller manager has provisioned until what lies behind it is deleted.
pub(super) const IN_TREE_FINALIZER: &str = "kubernetes.io/pv-controller";
pub(super) const EXTERNAL_FINALIZER: &str = "external-provisioner.volume.kubernetes.io/finalizer";

const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const DEFAULT_CLASS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

pub(super) fn has_annotation(object: &impl ResourceExt, name: &str) -> bool {
    map(&object.meta().annotations).contains_key(name)
}

/// The class that the claim asks for; empty when it asks for none.
pub(super) fn class_of_claim(claim: &PersistentVolumeClaim) -> String {
    let annotated = map(&claim.metadata.annotations).get(BETA_CLASS).cloned();
    annotated.or_else(|| claim.spec.as_ref()?.storage_class_name.clone()).unwrap_or_default()
}

/// Whether the claim says anything of a class, be it that it wants none.
pub(super) fn names_class(claim: &PersistentVolumeClaim) -> bool {
    has_annotation(claim, BETA_CLASS) || claim.spec.as_ref().is_some_and(|s| s.storage_class_name.is_some())
}

pub(super) fn class_of_volume(volume: &PersistentVolume) -> String {
    let annotated = map(&volume.metadata.annotations).get(BETA_CLASS).cloned();
    annotated.or_else(|| volume.spec.as_ref()?.storage_class_name.clone()).unwrap_or_default()
}

/// Of several defaults the youngest, then the first by name.
pub(super) fn default_class(classes: &[Arc<StorageClass>]) -> Option<Arc<StorageClass>> {
    let is_default = |class: &&Arc<StorageClass>| {
        let annotations = map(&class.metadata.annotations);
        DEFAULT_CLASS.iter().any(|name| annotations.get(*name).is_some_and(|v| v == "true"))
    };
    let age = |class: &&Arc<StorageClass>| {
        let created = class.metadata.creation_timestamp.as_ref().map(|t| t.0);
        (std::cmp::Reverse(created), class.name_any())
    };
    classes.iter().filter(is_default).min_by_key(age).cloned()
}

/// Whether claims of the class wait for a pod to be placed.
pub(super) fn waits_for_consumer(class: &StorageClass) -> bool {
    class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer")
}

pub(super) fn volume_name(claim: &PersistentVolumeClaim) -> &str {
    claim.spec.as_ref().and_then(|s| s.volume_name.as_deref()).unwrap_or_default()
}

pub(super) fn claim_ref(volume: &PersistentVolume) -> Option<&ObjectReference> {
    volume.spec.as_ref()?.claim_ref.as_ref()
}

/// The UID of the claim that the volume is bound to; empty for one that is only reserved.
pub(super) fn claim_uid(reference: &ObjectReference) -> &str {
    reference.uid.as_deref().unwrap_or_default()
}

/// Whether the volume is bound to the claim, or reserved for it.
pub(super) fn is_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    claim_ref(volume).is_some_and(|r| {
        let named = r.name == claim.metadata.name && r.namespace == claim.metadata.namespace;
        named && (claim_uid(r).is_empty() || r.uid == claim.metadata.uid)
    })
}

pub(super) fn volume_phase(volume: &PersistentVolume) -> &str {
    volume.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default()
}

pub(super) fn claim_phase(claim: &PersistentVolumeClaim) -> &str {
    claim.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default()
}

pub(super) fn reclaim_policy(volume: &PersistentVolume) -> &str {
    volume.spec.as_ref().and_then(|s| s.persistent_volume_reclaim_policy.as_deref()).unwrap_or("Retain")
}

/// The `storage` of a list of resources; one that is not there or no number is zero.
pub(super) fn storage(resources: &Option<BTreeMap<String, resource::Quantity>>) -> Quantity {
    let text = resources.as_ref().and_then(|r| r.get("storage")).map(|q| q.0.as_str());
    text.and_then(|text| Quantity::parse(text).ok()).unwrap_or_default()
}

pub(super) fn requested(claim: &PersistentVolumeClaim) -> Quantity {
    storage(&claim.spec.as_ref().and_then(|s| s.resources.as_ref()).and_then(|r| r.requests.clone()))
}

pub(super) fn capacity(volume: &PersistentVolume) -> Quantity {
    storage(&volume.spec.as_ref().and_then(|s| s.capacity.clone()))
}

/// `Filesystem` unless said otherwise.
pub(super) fn same_mode(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let mode = |mode: Option<&String>| mode.cloned().unwrap_or_else(|| "Filesystem".into());
    mode(claim.spec.as_ref().and_then(|s| s.volume_mode.as_ref()))
        == mode(volume.spec.as_ref().and_then(|s| s.volume_mode.as_ref()))
}

pub(super) fn same_attributes_class(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let name = |name: Option<&String>| name.cloned().unwrap_or_default();
    name(claim.spec.as_ref().and_then(|s| s.volume_attributes_class_name.as_ref()))
        == name(volume.spec.as_ref().and_then(|s| s.volume_attributes_class_name.as_ref()))
}

pub(super) fn access_modes(volume: &PersistentVolume) -> &[String] {
    volume.spec.as_ref().and_then(|s| s.access_modes.as_deref()).unwrap_or_default()
}

/// Whether the volume can be accessed in all ways that the claim asks for.
pub(super) fn has_access_modes(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let asked = claim.spec.as_ref().and_then(|s| s.access_modes.as_deref()).unwrap_or_default();
    asked.iter().all(|mode| access_modes(volume).contains(mode))
}
