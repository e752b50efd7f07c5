//! The quality-of-service class of a pod (`pkg/apis/core/v1/helper/qos`). Pure.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Pod, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};
use machinery::quantity::Quantity;

use crate::pod::spec;

pub const GUARANTEED: &str = "Guaranteed";
pub const BURSTABLE: &str = "Burstable";
pub const BEST_EFFORT: &str = "BestEffort";

const COUNTED: [&str; 2] = ["cpu", "memory"];

/// The class that the API server gave, else the class by the spec (static pods).
pub fn of_pod(pod: &Pod) -> &'static str {
    match pod.status.as_ref().and_then(|status| status.qos_class.as_deref()) {
        Some(GUARANTEED) => GUARANTEED,
        Some(BURSTABLE) => BURSTABLE,
        Some(BEST_EFFORT) => BEST_EFFORT,
        _ => of_spec(pod),
    }
}

/// The class by requests and limits of cpu and memory: of the pod where it has its own, else of all containers.
pub fn of_spec(pod: &Pod) -> &'static str {
    let pod_spec = spec::spec(pod);
    let of_pod = pod_spec.resources.as_ref().filter(|it| it.requests.is_some() || it.limits.is_some());
    let parts: Vec<Option<&ResourceRequirements>> = match of_pod {
        Some(resources) => vec![Some(resources)],
        None => spec::init_containers(pod)
            .iter()
            .chain(&pod_spec.containers)
            .map(|container| container.resources.as_ref())
            .collect(),
    };
    if parts
        .iter()
        .all(|part| part.is_none_or(|it| positive(&it.requests).is_empty() && positive(&it.limits).is_empty()))
    {
        return BEST_EFFORT;
    }
    let guaranteed = parts.iter().all(|part| {
        part.is_some_and(|resources| {
            let (requests, limits) = (positive(&resources.requests), positive(&resources.limits));
            limits.len() == COUNTED.len() && (requests.is_empty() || requests_equal(&requests, &limits))
        })
    });
    if guaranteed { GUARANTEED } else { BURSTABLE }
}

fn requests_equal(requests: &BTreeMap<&str, Quantity>, limits: &BTreeMap<&str, Quantity>) -> bool {
    requests.iter().all(|(name, request)| limits.get(name).is_some_and(|limit| limit == request))
}

fn positive(of: &Option<BTreeMap<String, ApiQuantity>>) -> BTreeMap<&'static str, Quantity> {
    let find = |name: &str| of.as_ref()?.get(name).and_then(spec::quantity).filter(|it| it.sign() > 0);
    COUNTED.into_iter().filter_map(|name| Some((name, find(name)?))).collect()
}
