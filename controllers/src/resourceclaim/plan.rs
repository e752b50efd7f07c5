//! Which claims a pod lacks, and which of a claim's consumers still are.
//!
//! Pure. Concepts: "Dynamic Resource Allocation".

use std::sync::Arc;

use k8s_openapi::api::core::v1::PodResourceClaim;
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimConsumerReference, ResourceClaimTemplate};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::ResourceExt;

use crate::common::device_claims::{claims_of, is_made_for, name_of};
use crate::common::owner::{controller_of, controller_ref};
use crate::common::pod::Pod;
use crate::common::{map, pods};

/// On a claim that was made for a pod: the pod's name for it.
pub(super) const POD_CLAIM: &str = "resource.kubernetes.io/pod-claim-name";
/// Holds a claim that devices are allocated for.
pub(super) const FINALIZER: &str = "resource.kubernetes.io/delete-protection";
/// The API server adds six characters to a generated name.
const NAME_BYTES_MAX: usize = 57;

/// The claim that was made for this entry of the pod, whether or not the pod's status says so yet.
pub(super) fn made_for(pod: &Pod, entry: &PodResourceClaim, claims: &[Arc<ResourceClaim>]) -> Option<String> {
    let made = claims.iter().filter(|claim| is_made_for(pod, claim));
    let mut named = made.filter(|claim| map(&claim.metadata.annotations).get(POD_CLAIM) == Some(&entry.name));
    named.next().map(|claim| claim.name_any())
}

/// All that the pod's status is to say of claims by templates: what was `made` just now, and what it says already. An
/// apply takes back what it said before and does not say again.
pub(super) fn told(pod: &Pod, made: Vec<(String, String)>) -> Vec<(String, String)> {
    let is_new = |entry: &PodResourceClaim| made.iter().any(|(name, _)| *name == entry.name);
    let by_template = claims_of(pod).iter().filter(|entry| entry.resource_claim_template_name.is_some());
    let known = by_template
        .filter(|entry| !is_new(entry))
        .filter_map(|entry| Some((entry.name.clone(), name_of(pod, entry)?.to_owned())));
    let known: Vec<_> = known.collect();
    known.into_iter().chain(made).collect()
}

pub(super) fn claim_from(template: &ResourceClaimTemplate, pod: &Pod, entry: &PodResourceClaim) -> ResourceClaim {
    let given = template.spec.metadata.clone().unwrap_or_default();
    let mut annotations = given.annotations.unwrap_or_default();
    annotations.insert(POD_CLAIM.to_owned(), entry.name.clone());
    ResourceClaim {
        metadata: ObjectMeta {
            generate_name: Some(name_for(&pod.name_any(), &entry.name)),
            namespace: pod.namespace(),
            labels: given.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![OwnerReference { block_owner_deletion: None, ..controller_ref(pod) }]),
            ..ObjectMeta::default()
        },
        spec: template.spec.spec.clone(),
        status: None,
    }
}

/// `POD-CLAIM-`, both shortened alike where that is too long. Names are ASCII.
fn name_for(pod: &str, claim: &str) -> String {
    let whole = format!("{pod}-{claim}-");
    if whole.len() <= NAME_BYTES_MAX {
        return whole;
    }
    let part = |name: &str| name[..name.len() * NAME_BYTES_MAX / whole.len()].to_owned();
    format!("{}-{}", part(pod), part(claim))
}

/// A pod that will not use its claims any more: it has ended, or goes without ever having had a node.
pub(super) fn is_done(pod: &Pod) -> bool {
    pods::is_terminal(pod) || (pod.metadata.deletion_timestamp.is_some() && pods::node_name(pod).is_empty())
}

/// The claim with only the consumers that `stays` lets through; `None` when all stay. The devices of a claim that nobody
/// uses any more are given back.
pub(super) fn without_gone(
    claim: &ResourceClaim,
    stays: impl Fn(&ResourceClaimConsumerReference) -> bool,
) -> Option<ResourceClaim> {
    let mut left = claim.clone();
    let status = left.status.as_mut()?;
    let consumers = status.reserved_for.as_mut()?;
    let before = consumers.len();
    consumers.retain(|consumer| stays(consumer));
    if consumers.len() == before {
        return None;
    }
    if consumers.is_empty() {
        status.reserved_for = None;
        if claim.finalizers().iter().any(|finalizer| finalizer == FINALIZER) {
            status.allocation = None;
        }
    }
    Some(left)
}

/// The claim with a pod among its consumers that was placed past the scheduler; `None` where there is nothing to reserve.
pub(super) fn reserved_for(claim: &ResourceClaim, pod: &Pod) -> Option<ResourceClaim> {
    let uid = pod.uid()?;
    let mut reserved = claim.clone();
    let status = reserved.status.as_mut().filter(|status| status.allocation.is_some())?;
    let consumers = status.reserved_for.get_or_insert_default();
    if consumers.iter().any(|consumer| consumer.uid == uid) {
        return None;
    }
    let resource = "pods".to_owned();
    consumers.push(ResourceClaimConsumerReference { api_group: None, resource, name: pod.name_any(), uid });
    Some(reserved)
}

/// The name and UID of the pod that the claim was made for.
pub(super) fn owner(claim: &ResourceClaim) -> Option<(&str, &str)> {
    let owner = controller_of(&claim.metadata).filter(|owner| owner.kind == "Pod" && owner.api_version == "v1")?;
    Some((&owner.name, &owner.uid))
}

pub(super) fn is_reserved(claim: &ResourceClaim) -> bool {
    claim.status.as_ref().and_then(|status| status.reserved_for.as_ref()).is_some_and(|all| !all.is_empty())
}

pub(super) fn is_allocated(claim: &ResourceClaim) -> bool {
    claim.status.as_ref().is_some_and(|status| status.allocation.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::device_claims::is_pod;
    use serde_json::{Value, json};

    fn claim(finalizers: Value, consumers: Value) -> ResourceClaim {
        serde_json::from_value(json!({"metadata": {"name": "c", "finalizers": finalizers}, "spec": {},
            "status": {"allocation": {}, "reservedFor": consumers}}))
        .unwrap()
    }

    #[test]
    fn names_are_shortened_on_both_sides() {
        assert_eq!(name_for("pod", "gpu"), "pod-gpu-");
        let long = name_for(&"p".repeat(100), &"c".repeat(20));
        assert_eq!(long, format!("{}-{}", "p".repeat(46), "c".repeat(9)));
    }

    #[test]
    fn only_allocated_claims_are_reserved_and_once() {
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": "p", "uid": "u"}, "spec": {"containers": []}})).unwrap();
        let other = json!({"resource": "pods", "name": "q", "uid": "v"});
        let reserved = reserved_for(&claim(json!([FINALIZER]), json!([other])), &pod).unwrap();
        let consumers = serde_json::to_value(reserved.status.as_ref().unwrap().reserved_for.as_ref()).unwrap();
        assert_eq!(consumers, json!([other, {"resource": "pods", "name": "p", "uid": "u"}]));
        assert!(reserved_for(&reserved, &pod).is_none());
        let mut free = claim(json!([]), json!([]));
        free.status.as_mut().unwrap().allocation = None;
        assert!(reserved_for(&free, &pod).is_none());
    }

    #[test]
    fn devices_are_given_back_with_the_last_consumer() {
        let pod = |uid: &str| json!({"resource": "pods", "name": uid, "uid": uid});
        let other = json!({"apiGroup": "example.com", "resource": "things", "name": "t", "uid": "t"});
        let held = claim(json!([FINALIZER]), json!([pod("a"), pod("b")]));
        assert!(without_gone(&held, |_| true).is_none());
        let one = without_gone(&held, |consumer| consumer.uid == "a").unwrap();
        assert!(is_reserved(&one) && is_allocated(&one));
        let none = without_gone(&held, |_| false).unwrap();
        assert!(!is_reserved(&none) && !is_allocated(&none));
        let free = claim(json!([]), json!([pod("a")]));
        assert!(is_allocated(&without_gone(&free, |_| false).unwrap()), "not ours to take back");
        let consumers = claim(json!([FINALIZER]), json!([pod("a"), other]));
        let left = without_gone(&consumers, |consumer| !is_pod(consumer)).unwrap();
        assert!(is_reserved(&left) && is_allocated(&left));
    }
}
