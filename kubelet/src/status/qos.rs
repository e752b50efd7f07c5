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
    let asks = |of: &Amounts| COUNTED.iter().any(|name| positive(of, name).is_some());
    if !parts.iter().flatten().any(|part| asks(&part.requests) || asks(&part.limits)) {
        return BEST_EFFORT;
    }
    // A request that is not made is the limit; one of zero is none.
    let is_fixed = |of: &ResourceRequirements, name: &str| {
        positive(&of.limits, name)
            .is_some_and(|limit| amount(&of.requests, name).is_none_or(|request| request == limit))
    };
    let guaranteed = parts.iter().all(|part| part.is_some_and(|of| COUNTED.iter().all(|name| is_fixed(of, name))));
    if guaranteed { GUARANTEED } else { BURSTABLE }
}

type Amounts = Option<BTreeMap<String, ApiQuantity>>;

fn amount(of: &Amounts, name: &str) -> Option<Quantity> {
    of.as_ref()?.get(name).and_then(spec::quantity)
}

fn positive(of: &Amounts, name: &str) -> Option<Quantity> {
    amount(of, name).filter(|amount| amount.sign() > 0)
}
