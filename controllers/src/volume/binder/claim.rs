//! What is to be done about a claim.
//!
//! Pure. Enter by [`decide`]. The states are upstream's: a claim without the mark of a completed binding is looked for a
//! volume; one with it is bound or lost.

use std::sync::Arc;

use component::recorder::Type;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;

use super::super::{facts, matching};

/// What is known besides the claim.
pub(super) struct World<'a> {
    pub(super) volumes: &'a [Arc<PersistentVolume>],
    pub(super) classes: &'a [Arc<StorageClass>],
    /// Names of the claim's pods that are not placed yet.
    pub(super) waiting_pods: &'a [String],
}

pub(super) type Told = (Type, &'static str, String);

#[derive(Debug, PartialEq)]
pub(super) enum Decision {
    /// It stays pending, and this is told.
    Wait(Option<Told>),
    /// It gets the default class and is looked at again.
    AssignClass(String),
    Bind(Arc<PersistentVolume>),
    /// There is none for it: one has to be made.
    Provision,
    /// Its data is gone, or another's.
    Lost(Told),
    /// Told, and tried again.
    Refuse(Told),
}

pub(super) fn decide(claim: &PersistentVolumeClaim, world: &World<'_>) -> Decision {
    let named = facts::volume_name(claim);
    let volume = world.volumes.iter().find(|v| v.metadata.name.as_deref() == Some(named));
    match (facts::has_annotation(claim, facts::BIND_COMPLETED), named) {
        (true, "") => {
            lost("ClaimLost", "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!")
        }
        (true, _) => bound(claim, volume),
        (false, "") => unbound(claim, world),
        (false, _) => asking_for(claim, volume),
    }
}

fn lost(reason: &'static str, message: &str) -> Decision {
    Decision::Lost((Type::Warning, reason, message.to_owned()))
}

fn bound(claim: &PersistentVolumeClaim, volume: Option<&Arc<PersistentVolume>>) -> Decision {
    let Some(volume) = volume else {
        return lost("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!");
    };
    match facts::claim_ref(volume) {
        // Unbound by somebody, or our own write is not seen yet: binding again is right for both.
        None => Decision::Bind(volume.clone()),
        Some(reference) if reference.uid == claim.metadata.uid => Decision::Bind(volume.clone()),
        Some(_) => lost("ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly"),
    }
}

/// The claim takes any volume that fits.
fn unbound(claim: &PersistentVolumeClaim, world: &World<'_>) -> Decision {
    let class_name = facts::class_of_claim(claim);
    let class = world.classes.iter().find(|c| c.name_any() == class_name);
    let waits = class.is_some_and(|c| facts::waits_for_consumer(c));
    if let Some(volume) = matching::best(claim, world.volumes, waits) {
        return Decision::Bind(volume);
    }
    if let (false, Some(class)) = (facts::names_class(claim), facts::default_class(world.classes)) {
        return Decision::AssignClass(class.name_any());
    }
    if waits && !facts::has_annotation(claim, facts::SELECTED_NODE) {
        return Decision::Wait(Some(waiting(world.waiting_pods)));
    }
    if class_name.is_empty() {
        let message = "no persistent volumes available for this claim and no storage class is set";
        return Decision::Wait(Some((Type::Normal, "FailedBinding", message.into())));
    }
    Decision::Provision
}

fn waiting(pods: &[String]) -> Told {
    let (reason, message) = match pods {
        [] => ("WaitForFirstConsumer", "waiting for first consumer to be created before binding".to_owned()),
        [pod] => ("WaitForPodScheduled", format!("waiting for pod {pod} to be scheduled")),
        pods => ("WaitForPodScheduled", format!("waiting for pods {} to be scheduled", pods.join(","))),
    };
    (Type::Normal, reason, message)
}

/// The claim names its volume.
fn asking_for(claim: &PersistentVolumeClaim, volume: Option<&Arc<PersistentVolume>>) -> Decision {
    let Some(volume) = volume else { return Decision::Wait(None) };
    let name = volume.name_any();
    if facts::claim_ref(volume).is_none() {
        return match matching::mismatch(claim, volume) {
            None => Decision::Bind(volume.clone()),
            Some(why) => {
                let message = format!("Cannot bind to requested volume {name:?}: {why}");
                Decision::Wait(Some((Type::Warning, "VolumeMismatch", message)))
            }
        };
    }
    if facts::is_for(volume, claim) {
        return Decision::Bind(volume.clone());
    }
    let told = (Type::Warning, "FailedBinding", format!("volume {name:?} already bound to a different claim."));
    match facts::has_annotation(claim, facts::BOUND_BY_CONTROLLER) {
        true => Decision::Refuse(told),
        false => Decision::Wait(Some(told)),
    }
}
