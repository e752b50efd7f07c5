//! Who owns a claim of a StatefulSet's pod, by `persistentVolumeClaimRetentionPolicy`: owners take it along when they go.
//!
//! Pure. Concepts: "StatefulSets", "PersistentVolumeClaim retention".

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};

use super::identity;
use crate::common::owner::controller_ref;
use crate::common::pod::Pod;

/// Which of the two own the claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owners {
    set: bool,
    pod: bool,
}

/// Whether claims go when their set goes, and when it shrinks.
fn policy(set: &StatefulSet) -> (bool, bool) {
    let policy = identity::spec(set).and_then(|s| s.persistent_volume_claim_retention_policy.as_ref());
    let deletes = |when: Option<&String>| when.is_some_and(|w| w == "Delete");
    (policy.is_some_and(|p| deletes(p.when_deleted.as_ref())), policy.is_some_and(|p| deletes(p.when_scaled.as_ref())))
}

/// A claim of a pod that is scaled away is the pod's, so that a set deleted meanwhile leaves it to the pod.
fn wanted(set: &StatefulSet, pod: &Pod) -> Owners {
    let scaled_down = !identity::ordinal(pod).is_some_and(|o| identity::in_range(set, o));
    match policy(set) {
        (false, false) => Owners { set: false, pod: false },
        (true, false) => Owners { set: true, pod: false },
        (false, true) => Owners { set: false, pod: scaled_down },
        (true, true) => Owners { set: !scaled_down, pod: scaled_down },
    }
}

fn refers_to<K: Resource<DynamicType = ()>>(reference: &OwnerReference, owner: &K) -> bool {
    reference.api_version == K::api_version(&())
        && reference.kind == K::kind(&())
        && Some(&reference.name) == owner.meta().name.as_ref()
}

/// Whether the claim refers to a former object of the owner's name. Such a claim is the garbage collector's.
fn is_stale<K: Resource<DynamicType = ()>>(claim: &PersistentVolumeClaim, owner: &K) -> bool {
    let reference = claim.owner_references().iter().find(|r| refers_to(r, owner));
    reference.is_some_and(|r| r.uid != owner.meta().uid.clone().unwrap_or_default())
}

fn owned_by<K: Resource<DynamicType = ()>>(claim: &PersistentVolumeClaim, owner: &K) -> bool {
    let uid = owner.meta().uid.clone().unwrap_or_default();
    claim.owner_references().iter().any(|r| r.uid == uid)
}

/// Whether somebody else controls the claim while the policy wants the set or the pod to.
pub(super) fn has_conflict(claim: &PersistentVolumeClaim, set: &StatefulSet, pod: &Pod) -> bool {
    let foreign = |r: &OwnerReference| match (refers_to(r, set), refers_to(r, pod)) {
        (true, _) => Some(&r.uid) != set.metadata.uid.as_ref(),
        (false, true) => r.uid != pod.metadata.uid.clone().unwrap_or_default(),
        (false, false) => r.controller == Some(true),
    };
    policy(set) != (false, false) && claim.owner_references().iter().any(foreign)
}

pub(super) fn is_up_to_date(claim: &PersistentVolumeClaim, set: &StatefulSet, pod: &Pod) -> bool {
    let owners = Owners { set: owned_by(claim, set), pod: owned_by(claim, pod) };
    if is_stale(claim, set) || is_stale(claim, pod) {
        return true;
    }
    if has_conflict(claim, set, pod) {
        return !(owners.set || owners.pod);
    }
    let uids = [set.uid(), pod.uid()];
    let ours = |r: &&OwnerReference| uids.contains(&Some(r.uid.clone()));
    let all_control = claim.owner_references().iter().filter(ours).all(|r| r.controller == Some(true));
    all_control && owners == wanted(set, pod)
}

/// Sets the references that the policy asks for; beside another controller there are none.
pub(super) fn update(claim: &mut PersistentVolumeClaim, set: &StatefulSet, pod: &Pod) {
    let conflict = has_conflict(claim, set, pod);
    let mut references = claim.metadata.owner_references.take().unwrap_or_default();
    references.retain(|r| !refers_to(r, set) && !refers_to(r, pod));
    let wanted = wanted(set, pod);
    let mut add = |reference: OwnerReference| {
        if !references.iter().any(|r| r.uid == reference.uid) {
            references.push(reference);
        }
    };
    if wanted.set && !conflict {
        add(controller_ref(set));
    }
    if wanted.pod && !conflict {
        add(controller_ref(pod));
    }
    claim.metadata.owner_references = Some(references);
}

/// Whether a new pod of this name has to wait for a claim that goes with its predecessor. Claims kept on scaling are
/// meant to be used again.
pub(super) fn blocks_creation(
    claim: &PersistentVolumeClaim,
    set: &StatefulSet,
    pod: &impl Resource<DynamicType = ()>,
) -> bool {
    policy(set).1 && is_stale(claim, pod)
}
