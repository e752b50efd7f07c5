//! A slice as an object: its labels, owner and name.
//!
//! Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::{EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::common::map;
use crate::common::owner::controller_ref;
use crate::common::service::{HEADLESS, has_cluster_ip};

pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub(super) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub(super) const CONTROLLER: &str = "endpointslice-controller.k8s.io";
const RESERVED: [&str; 3] = [SERVICE_NAME, MANAGED_BY, HEADLESS];

/// The Service's labels and those that say whose slice it is.
pub(super) fn labels_for(service: &Service, spec: &ServiceSpec) -> BTreeMap<String, String> {
    let mut labels = inherited(map(&service.metadata.labels));
    if !has_cluster_ip(spec) {
        labels.insert(HEADLESS.into(), String::new());
    }
    labels.insert(SERVICE_NAME.into(), service.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY.into(), CONTROLLER.into());
    labels
}

/// Whether the Service's labels changed since the slice was written.
pub(super) fn relabelled(slice: &EndpointSlice, service: &Service) -> bool {
    inherited(map(&slice.metadata.labels)) != inherited(map(&service.metadata.labels))
}

fn inherited(labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    labels.iter().filter(|(k, _)| !RESERVED.contains(&k.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect()
}

pub(super) fn is_managed(slice: &EndpointSlice) -> bool {
    map(&slice.metadata.labels).get(MANAGED_BY).is_some_and(|m| m == CONTROLLER)
}

pub(super) fn is_owned_by(slice: &EndpointSlice, service: &Service) -> bool {
    let mut owners = slice.metadata.owner_references.iter().flatten();
    owners.any(|o| Some(&o.uid) == service.metadata.uid.as_ref() && o.kind == "Service" && o.api_version == "v1")
}

pub(super) fn new_slice(
    service: &Service,
    spec: &ServiceSpec,
    ports: Vec<EndpointPort>,
    family: &str,
) -> EndpointSlice {
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", service.metadata.name.as_deref().unwrap_or_default())),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels_for(service, spec)),
            owner_references: Some(vec![controller_ref(service)]),
            ..Default::default()
        },
        address_type: family.to_owned(),
        ports: Some(ports),
        endpoints: Some(Vec::new()),
    }
}
