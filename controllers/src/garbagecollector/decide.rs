//! What becomes of an object, once it is known which of its owners are there.
//!
//! Pure. Concepts: "Garbage Collection", "Cascading deletion".

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PropagationPolicy;

use super::graph::{FOREGROUND, ORPHAN};
use super::identity::Uid;

/// One owner of an object, as a live look found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// There, and to stay.
    Solid,
    /// Gone.
    Dangling,
    /// Being deleted, and waiting for its dependents to go first.
    Waiting,
}

#[derive(Debug, PartialEq)]
pub(super) enum Action {
    Keep,
    /// It has an owner to live for; forget these others.
    DropOwners(Vec<Uid>),
    /// Delete it; first make its own references non-blocking if `unblock`.
    Delete {
        policy: PropagationPolicy,
        unblock: bool,
    },
}

/// `dependents_deleting`: whether each dependent of the object is itself deleting its dependents.
pub(super) fn decide(latest: &ObjectMeta, owners: &[(Uid, Owner)], dependents_deleting: &[bool]) -> Action {
    let with = |state| owners.iter().filter(move |(_, s)| *s == state);
    if owners.is_empty() {
        return Action::Keep;
    }
    if with(Owner::Solid).next().is_some() {
        let lost: Vec<Uid> = owners.iter().filter(|(_, s)| *s != Owner::Solid).map(|(uid, _)| uid.clone()).collect();
        return if lost.is_empty() { Action::Keep } else { Action::DropOwners(lost) };
    }
    if with(Owner::Waiting).next().is_some() && !dependents_deleting.is_empty() {
        // Two that wait for one another would wait for ever: a circle is broken here.
        let unblock = dependents_deleting.contains(&true);
        return Action::Delete { policy: PropagationPolicy::Foreground, unblock };
    }
    let has = |finalizer: &str| latest.finalizers.iter().flatten().any(|f| f == finalizer);
    let policy = if has(ORPHAN) {
        PropagationPolicy::Orphan
    } else if has(FOREGROUND) {
        PropagationPolicy::Foreground
    } else {
        PropagationPolicy::Background
    };
    Action::Delete { policy, unblock: false }
}
