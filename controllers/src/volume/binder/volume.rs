//! What is to be done about a volume.
//!
//! Pure. Enter by [`decide`].

use component::recorder::Type;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::ResourceExt;

use super::super::facts;
use super::claim::Told;

#[derive(Debug, PartialEq)]
pub(super) enum Decision {
    Phase(&'static str),
    /// Its claim has yet to be bound to it.
    WakeClaim,
    /// Its claim never can be bound to it: told about the volume, and about the claim.
    Mismatch(Told, Told),
    /// Its claim is gone, or bound elsewhere.
    Release,
    /// Its claim is bound elsewhere; the volume is free again, or stays reserved if a user has reserved it.
    Unbind,
}

/// `claim` is the one of the volume's reference, by name and UID; None when that one is gone for sure.
pub(super) fn decide(volume: &PersistentVolume, claim: Option<&PersistentVolumeClaim>) -> Decision {
    match facts::claim_ref(volume) {
        None => return Decision::Phase("Available"),
        Some(reference) if facts::claim_uid(reference).is_empty() => return Decision::Phase("Available"),
        Some(_) => {}
    }
    let Some(claim) = claim else { return Decision::Release };
    let named = facts::volume_name(claim);
    if named.is_empty() {
        return match facts::same_mode(claim, volume) {
            true => Decision::WakeClaim,
            false => mismatch(volume, claim),
        };
    }
    if Some(named) == volume.metadata.name.as_deref() {
        return Decision::Phase("Bound");
    }
    let provisioned = facts::has_annotation(volume, facts::PROVISIONED_BY);
    match provisioned && facts::reclaim_policy(volume) == "Delete" {
        true => Decision::Release,
        false => Decision::Unbind,
    }
}

fn mismatch(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Decision {
    let tell = |message: String| (Type::Warning, "VolumeMismatch", message);
    let (claim, volume) = (claim.name_any(), volume.name_any());
    Decision::Mismatch(
        tell(format!(
            "Cannot bind PersistentVolume to requested PersistentVolumeClaim {claim:?} due to incompatible volumeMode."
        )),
        tell(format!(
            "Cannot bind PersistentVolume {volume:?} to requested PersistentVolumeClaim due to incompatible volumeMode."
        )),
    )
}

/// The volume as it is when it is nobody's any more.
pub(super) fn unbound(volume: &PersistentVolume) -> PersistentVolume {
    let mut unbound = volume.clone();
    let by_controller = facts::has_annotation(volume, facts::BOUND_BY_CONTROLLER);
    let spec = unbound.spec.get_or_insert_default();
    match (by_controller, spec.claim_ref.as_mut()) {
        (true, _) => spec.claim_ref = None,
        (false, Some(reference)) => reference.uid = None,
        (false, None) => {}
    }
    let mut annotations = unbound.metadata.annotations.take().unwrap_or_default();
    annotations.remove(facts::BOUND_BY_CONTROLLER);
    unbound.metadata.annotations = Some(annotations).filter(|a| !a.is_empty());
    unbound
}

/// The finalizers that a volume should have, when they differ. Only volumes that were provisioned in the tree are kept
/// from going before what lies behind them.
pub(super) fn finalizers(volume: &PersistentVolume) -> Option<Vec<String>> {
    let provisioner = crate::common::map(&volume.metadata.annotations).get(facts::PROVISIONED_BY)?;
    if !provisioner.starts_with("kubernetes.io/") || volume.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let before = volume.metadata.finalizers.clone().unwrap_or_default();
    let mut after: Vec<String> = before.iter().filter(|f| *f != facts::EXTERNAL_FINALIZER).cloned().collect();
    match facts::reclaim_policy(volume) {
        "Delete" if !after.iter().any(|f| f == facts::IN_TREE_FINALIZER) => after.push(facts::IN_TREE_FINALIZER.into()),
        "Retain" | "Recycle" => after.retain(|f| f != facts::IN_TREE_FINALIZER),
        _ => {}
    }
    (after != before).then_some(after)
}
