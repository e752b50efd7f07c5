//! What the scheduler reads of a pod's claims of devices.

use k8s_openapi::api::core::v1::{PodResourceClaim, PodResourceClaimStatus};

/// A ResourceClaim that a pod asks for (Kubernetes concept: "Dynamic Resource Allocation").
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceClaim {
    Named(Box<str>),
    /// Made for the pod by a template; `None`: the pod needs none.
    Own(Option<Box<str>>),
    /// Of a template, and not told yet.
    Awaited,
}

/// `told`: the claims that were made, as the pod's status has them.
pub(super) fn device_claims(
    asked: Option<&[PodResourceClaim]>,
    told: Option<&[PodResourceClaimStatus]>,
) -> Box<[DeviceClaim]> {
    let claim = |entry: &PodResourceClaim| match &entry.resource_claim_name {
        Some(name) => DeviceClaim::Named(name.as_str().into()),
        None => match told.into_iter().flatten().find(|told| told.name == entry.name) {
            Some(told) => DeviceClaim::Own(told.resource_claim_name.as_deref().map(Into::into)),
            None => DeviceClaim::Awaited,
        },
    };
    asked.into_iter().flatten().map(claim).collect()
}
