//! Which volume a claim gets: the one reserved for it, else the smallest that is large enough.
//!
//! Pure. Nodes do not matter here: claims that wait for a pod are matched by the scheduler.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::core::SelectorExt;

use super::facts;
use crate::common::map;
use crate::common::owner::selector;

/// `waits` leaves free volumes to the scheduler. Volumes with the fewest ways of access beyond those asked for come first.
pub(super) fn best(
    claim: &PersistentVolumeClaim,
    volumes: &[Arc<PersistentVolume>],
    waits: bool,
) -> Option<Arc<PersistentVolume>> {
    let fitting: Vec<_> = volumes.iter().filter(|v| fits(claim, v)).collect();
    let modes = |volume: &PersistentVolume| facts::access_modes(volume).iter().cloned().collect::<BTreeSet<_>>();
    let mut sets: Vec<BTreeSet<String>> = fitting.iter().map(|v| modes(v)).collect();
    sets.sort_by_key(|set| (set.len(), set.clone()));
    sets.dedup();
    sets.iter().find_map(|set| {
        let same: Vec<_> = fitting.iter().filter(|v| modes(v) == *set).collect();
        let reserved = same.iter().find(|v| facts::is_for(v, claim));
        let free = || same.iter().filter(|v| !waits && is_free(claim, v)).min_by_key(|v| facts::capacity(v));
        reserved.copied().or_else(|| free().copied()).map(|v| (**v).clone())
    })
}

/// What even a volume that is reserved for the claim must be.
fn fits(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    (facts::claim_ref(volume).is_none() || facts::is_for(volume, claim))
        && facts::has_access_modes(claim, volume)
        && facts::capacity(volume) >= facts::requested(claim)
        && facts::same_mode(claim, volume)
        && facts::same_attributes_class(claim, volume)
        && volume.metadata.deletion_timestamp.is_none()
}

fn is_free(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let asked = claim.spec.as_ref().and_then(|s| s.selector.as_ref());
    let selected = asked.is_none_or(|s| selector(s).is_some_and(|s| s.matches(map(&volume.metadata.labels))));
    facts::volume_phase(volume) == "Available"
        && selected
        && facts::class_of_volume(volume) == facts::class_of_claim(claim)
}

/// Why a volume that the claim names cannot be the claim's, in upstream's words.
pub(super) fn mismatch(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Option<String> {
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    let checks = [
        (volume.metadata.deletion_timestamp.is_none(), format!("the volume is marked for deletion {name:?}")),
        (facts::capacity(volume) >= facts::requested(claim), "requested PV is too small".into()),
        (facts::class_of_volume(volume) == facts::class_of_claim(claim), "storageClassName does not match".into()),
        (facts::same_attributes_class(claim, volume), "volumeAttributesClassName does not match".into()),
        (facts::same_mode(claim, volume), "incompatible volumeMode".into()),
        (facts::has_access_modes(claim, volume), "incompatible accessMode".into()),
    ];
    checks.into_iter().find(|(holds, _)| !holds).map(|(_, why)| why)
}
