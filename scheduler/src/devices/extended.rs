//! Extended resources that a DeviceClass stands behind: the claim that is made for a pod on a node that does not have them
//! otherwise. Pure.
//!
//! Kubernetes concept: "Dynamic Resource Allocation", "Extended resource allocation by DRA". Upstream's names of requests:
//! drivers and kubelets read them.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::ContainerExtendedResourceRequest;
use k8s_openapi::api::resource::v1::{
    DeviceClaim, DeviceRequest, ExactDeviceRequest, ResourceClaim, ResourceClaimSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::{Taken, pools};
use crate::objects::{ExtendedRequest, Node, Pod};
use crate::snapshot::Devices;

/// On a claim that was made for a pod's extended resources.
pub const ANNOTATION: &str = "resource.kubernetes.io/extended-resource-claim";

/// A claim that is not in the API yet, and which of its requests are for which container.
#[derive(Clone, Debug, PartialEq)]
pub struct Extended {
    pub claim: ResourceClaim,
    pub mappings: Vec<ContainerExtendedResourceRequest>,
}

/// Whether devices stand behind any extended resource of the pod.
pub fn is_backed(pod: &Pod, devices: &Devices) -> bool {
    pod.extended.iter().any(|request| devices.class_behind(&request.resource).is_some())
}

/// Whether a node has to provide the resource by devices.
pub fn is_by_device(resource: &str, node: &Node, devices: &Devices) -> bool {
    node.allocatable.scalar(resource) == 0 && devices.class_behind(resource).is_some()
}

/// How many devices stand behind the resource on a node, and how many of them are somebody's; `None` when none do, or when
/// that cannot be told.
pub fn counts(resource: &str, node: &Node, devices: &Devices, taken: &Taken<'_>) -> Option<(i64, i64)> {
    let class = devices.class(devices.class_behind(resource)?)?;
    let (mut all, mut used) = (0, 0);
    for found in pools::reachable(devices, node).iter().flat_map(|pool| &pool.devices) {
        if devices.selectors.match_all(class.spec.selectors.as_deref(), *found).ok()? {
            all += 1;
            used += i64::from(taken.has(&found.id()));
        }
    }
    (all > 0).then_some((all, used))
}

/// The claim for the pod on this node; `None` when the node has everything otherwise.
pub(super) fn on_node(pod: &Pod, node: &Node, devices: &Devices) -> Option<Extended> {
    let mut asked = Asked::default();
    let resources: BTreeSet<&str> = pod.extended.iter().map(|request| &*request.resource).collect();
    for resource in resources.into_iter().filter(|resource| is_by_device(resource, node, devices)) {
        asked.add(&pod.extended, resource, devices.class_behind(resource)?);
    }
    let Asked { mut requests, mappings } = asked;
    requests.sort_by(|a, b| a.name.cmp(&b.name));
    (!requests.is_empty()).then(|| Extended { claim: claim(pod, requests), mappings })
}

fn claim(pod: &Pod, requests: Vec<DeviceRequest>) -> ResourceClaim {
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        name: pod.name().to_owned(),
        uid: pod.uid().to_owned(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    ResourceClaim {
        metadata: ObjectMeta {
            namespace: Some(pod.namespace().to_owned()),
            generate_name: Some(format!("{}-extended-resources-", pod.name())),
            // One that the API has not given yet.
            uid: Some(format!("extended/{}", pod.uid())),
            owner_references: Some(vec![owner]),
            annotations: Some([(ANNOTATION.to_owned(), "true".to_owned())].into()),
            ..ObjectMeta::default()
        },
        spec: ResourceClaimSpec { devices: Some(DeviceClaim { requests: Some(requests), ..DeviceClaim::default() }) },
        status: None,
    }
}

#[derive(Default)]
struct Asked {
    requests: Vec<DeviceRequest>,
    mappings: Vec<ContainerExtendedResourceRequest>,
}

/// A request of one container that others may use before or after it.
struct Own<'a> {
    of: &'a ExtendedRequest,
    name: String,
    count: i64,
}

fn mapping(of: &ExtendedRequest, request: &str) -> ContainerExtendedResourceRequest {
    ContainerExtendedResourceRequest {
        container_name: of.container.to_string(),
        resource_name: of.resource.to_string(),
        request_name: request.to_owned(),
    }
}

impl Asked {
    /// Containers that run side by side have each its own devices. One that ends before they start uses theirs first, and
    /// those share what they need more.
    fn add(&mut self, all: &[ExtendedRequest], resource: &str, class: &str) {
        let own = |of| Own { of, name: name_of(of), count: of.amount };
        let of_resource = || all.iter().filter(|request| &*request.resource == resource);
        let lasting: Vec<Own<'_>> = of_resource().filter(|request| !request.is_short_lived).map(own).collect();
        let mut mappings: Vec<_> = lasting.iter().map(|own| mapping(own.of, &own.name)).collect();
        let mut more: Vec<Own<'_>> = Vec::new();
        for of in of_resource().filter(|request| request.is_short_lived) {
            let mut missing = of.amount;
            for later in lasting.iter().filter(|own| own.of.container_place >= of.container_place) {
                if missing > 0 {
                    mappings.push(mapping(of, &later.name));
                    missing -= later.count;
                }
            }
            if missing > 0 {
                more.push(Own { count: missing, ..own(of) });
            }
        }
        // The first of the largest stands for all of them.
        let largest = more.iter().reduce(|most, one| if one.count > most.count { one } else { most });
        if let Some(largest) = largest {
            mappings.extend(more.iter().map(|own| mapping(own.of, &largest.name)));
        }
        self.requests.extend(largest.into_iter().chain(&lasting).map(|own| request(own, class)));
        self.mappings.extend(mappings);
    }
}

fn name_of(of: &ExtendedRequest) -> String {
    format!("container-{}-request-{}", of.container_place, of.place)
}

fn request(own: &Own<'_>, class: &str) -> DeviceRequest {
    let exactly = ExactDeviceRequest {
        device_class_name: class.to_owned(),
        allocation_mode: Some("ExactCount".to_owned()),
        count: Some(own.count),
        ..ExactDeviceRequest::default()
    };
    DeviceRequest { name: own.name.clone(), exactly: Some(exactly), first_available: None }
}
