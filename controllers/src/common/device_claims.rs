//! Pods and the ResourceClaims that they name.
//!
//! Pure. Concepts: "Dynamic Resource Allocation".

use k8s_openapi::api::core::v1::{PodResourceClaim, PodResourceClaimStatus};
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimConsumerReference};

use super::owner::is_controlled_by;
use super::pod::Pod;

/// What the pod asks for of devices.
pub(crate) fn claims_of(pod: &Pod) -> &[PodResourceClaim] {
    pod.spec.as_ref().and_then(|spec| spec.resource_claims.as_deref()).unwrap_or_default()
}

/// Whether it was found that the pod runs without a claim for this entry.
pub(crate) fn is_unneeded(pod: &Pod, entry: &PodResourceClaim) -> bool {
    entry.resource_claim_name.is_none() && told(pod, entry).is_some_and(|told| told.resource_claim_name.is_none())
}

/// The claim that the pod's entry means: `None` as long as the one of its template is not made, or told.
pub(crate) fn name_of<'a>(pod: &'a Pod, entry: &'a PodResourceClaim) -> Option<&'a str> {
    if let Some(name) = &entry.resource_claim_name {
        return Some(name);
    }
    told(pod, entry)?.resource_claim_name.as_deref()
}

fn told<'a>(pod: &'a Pod, entry: &PodResourceClaim) -> Option<&'a PodResourceClaimStatus> {
    let all = pod.status.as_ref().and_then(|status| status.resource_claim_statuses.as_deref()).unwrap_or_default();
    all.iter().find(|told| told.name == entry.name)
}

pub(crate) fn is_made_for(pod: &Pod, claim: &ResourceClaim) -> bool {
    pod.metadata.uid.as_deref().is_some_and(|uid| is_controlled_by(&claim.metadata, uid))
}

pub(crate) fn is_pod(consumer: &ResourceClaimConsumerReference) -> bool {
    consumer.api_group.as_deref().unwrap_or_default().is_empty() && consumer.resource == "pods"
}
