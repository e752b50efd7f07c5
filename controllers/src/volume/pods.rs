//! Which pods use which claims.
//!
//! Pure but for the index that it gives the pods' cache.

use std::sync::Arc;

use component::informer::Informer;
use component::key::Key;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;

use crate::common::owner::is_controlled_by;
use crate::common::pod::{Pod, Volume};

const BY_CLAIM: &str = "claim";

pub(super) fn index_by_claim(pods: &Informer<Pod>) {
    pods.index(BY_CLAIM, |pod| claims(pod).map(|key| key.to_string()).collect());
}

pub(super) fn using(pods: &Informer<Pod>, claim: &Key) -> Vec<Arc<Pod>> {
    pods.by_index(BY_CLAIM, &claim.to_string())
}

/// The claims that the pod's volumes name, and those that its ephemeral volumes get.
pub(super) fn claims(pod: &Pod) -> impl Iterator<Item = Key> + '_ {
    let namespace = pod.namespace().unwrap_or_default();
    volumes(pod).filter_map(|v| claim_name(pod, v)).map(move |name| Key::new(namespace.clone(), name))
}

pub(super) fn volumes(pod: &Pod) -> impl Iterator<Item = &Volume> {
    pod.spec.iter().flat_map(|s| s.volumes.iter().flatten())
}

/// The claim that the volume names or gets.
pub(super) fn claim_name(pod: &Pod, volume: &Volume) -> Option<String> {
    match &volume.persistent_volume_claim {
        Some(source) => Some(source.claim_name.clone()),
        None => volume.ephemeral.as_ref().map(|_| ephemeral_name(pod, volume)),
    }
}

/// The name of the claim of a pod's ephemeral volume.
pub(super) fn ephemeral_name(pod: &Pod, volume: &Volume) -> String {
    format!("{}-{}", pod.name_any(), volume.name)
}

/// Whether a claim of an ephemeral volume's name is that volume's, and not somebody else's.
pub(super) fn is_made_for(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    pod.uid().is_some_and(|uid| is_controlled_by(&claim.metadata, &uid))
}
