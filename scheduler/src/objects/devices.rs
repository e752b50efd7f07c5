//! What the scheduler reads of a pod's claims of devices.

use k8s_openapi::api::core::v1::{PodResourceClaim, PodResourceClaimStatus};
use machinery::quantity::Quantity;

use super::requests::ApiAmounts;
use super::resources::is_extended;

/// Before the name of a DeviceClass: the extended resource that each is.
pub(crate) const CLASS_RESOURCE: &str = "deviceclass.resource.kubernetes.io/";

/// A ResourceClaim that a pod asks for (Kubernetes concept: "Dynamic Resource Allocation").
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceClaim {
    Named(Box<str>),
    /// Made for the pod by a template; `None`: the pod needs none.
    Own(Option<Box<str>>),
    /// Of a template, and not told yet.
    Awaited,
}

/// What a container asks for of an extended resource, behind which a DeviceClass may stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtendedRequest {
    pub container: Box<str>,
    /// Among all containers, init containers first.
    pub container_place: usize,
    /// An init container that ends before others start.
    pub is_short_lived: bool,
    pub resource: Box<str>,
    /// Among all of the container's requests by name.
    pub place: usize,
    pub amount: i64,
}

/// Those of one container.
pub(super) fn extended_requests(
    (container, container_place, is_short_lived): (&str, usize, bool),
    requests: Option<&ApiAmounts>,
) -> Vec<ExtendedRequest> {
    let asked = requests.into_iter().flatten().enumerate().filter_map(|(place, (resource, quantity))| {
        let amount = Quantity::parse(quantity.0.trim()).ok()?.value();
        let may_be = amount > 0 && (is_extended(resource) || resource.starts_with(CLASS_RESOURCE));
        let (container, resource) = (container.into(), resource.as_str().into());
        may_be.then_some(ExtendedRequest { container, container_place, is_short_lived, resource, place, amount })
    });
    asked.collect()
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
