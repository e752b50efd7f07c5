//! What a pod as a whole was given and has: `status.allocatedResources` and `status.resources` (KEP-5419). Pure.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Container, Pod, PodStatus, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};
use machinery::quantity::{Format, Quantity};

use super::Inputs;
use crate::pod::{
    configs::resources::PodTotal,
    resize::{CPU_LIMIT_MILLI_MIN, CPU_REQUEST_MILLI_MIN},
    spec,
};

type ApiAmounts = Option<BTreeMap<String, ApiQuantity>>;
type Amounts = BTreeMap<String, Quantity>;
type Pick = fn(&ResourceRequirements) -> &ApiAmounts;

pub(super) fn write(inputs: &Inputs<'_>, status: &mut PodStatus) {
    let requests = with_overhead(inputs.pod, aggregate(inputs.pod, |it| &it.requests), true);
    let limits = with_overhead(inputs.pod, aggregate(inputs.pod, |it| &it.limits), false);
    status.allocated_resources = shown(requests.clone());
    let known = inputs.known.resources.as_ref();
    status.resources = match (status.phase.as_deref() == Some("Running"), known) {
        // The pod's own cgroup is still as it was.
        (true, Some(known)) if inputs.memory.resize.is_cgroup_due => Some(known.clone()),
        (true, _) => Some(of_cgroup(inputs.pod, &requests, &limits)),
        (false, _) => Some(together(requests, limits)),
    };
}

/// What the pod's cgroup holds: CPU and memory, where they are not beneath notice, and what the pod itself asks for.
fn of_cgroup(pod: &Pod, requests: &Amounts, limits: &Amounts) -> ResourceRequirements {
    let total = PodTotal::of(pod);
    let own = spec::spec(pod).resources.clone().unwrap_or_default();
    let (mut has, mut bounds) = (parsed(&own.requests), parsed(&own.limits));
    let take = |from: &Amounts, into: &mut Amounts, name: &str| {
        if let Some(amount) = from.get(name) {
            into.insert(name.to_owned(), amount.clone());
        }
    };
    let milli = |amounts: &Amounts| amounts.get("cpu").map_or(0, Quantity::milli_value);
    // A limit counts as the request where there is none, as the kernel has it.
    let cpu_milli = if requests.contains_key("cpu") { milli(requests) } else { total.cpu_limit_milli };
    if cpu_milli > CPU_REQUEST_MILLI_MIN {
        has.insert("cpu".to_owned(), Quantity::from_milli(cpu_milli, Format::DecimalSi));
    }
    // A request of memory is in no cgroup: the pod's own is told as it stands.
    if !has.contains_key("memory") {
        take(requests, &mut has, "memory");
    }
    if total.cpu_limit_milli > CPU_LIMIT_MILLI_MIN {
        take(limits, &mut bounds, "cpu");
    }
    if total.memory_limit_bytes > 0 {
        take(limits, &mut bounds, "memory");
    }
    together(has, bounds)
}

fn together(requests: Amounts, limits: Amounts) -> ResourceRequirements {
    ResourceRequirements { requests: shown(requests), limits: shown(limits), ..ResourceRequirements::default() }
}

/// Containers and sidecars together, or the most that is asked for at the start; the pod's own amounts count instead.
fn aggregate(pod: &Pod, pick: Pick) -> Amounts {
    let of = |container: &Container| container.resources.as_ref().map(|it| parsed(pick(it))).unwrap_or_default();
    let (mut total, mut sidecars, mut at_start) = (Amounts::new(), Amounts::new(), Amounts::new());
    for container in &spec::spec(pod).containers {
        add(&mut total, &of(container));
    }
    for container in spec::init_containers(pod) {
        let own = of(container);
        let mut running = sidecars.clone();
        add(&mut running, &own);
        if spec::is_sidecar(container) {
            add(&mut total, &own);
            sidecars.clone_from(&running);
        }
        raise(&mut at_start, running);
    }
    raise(&mut total, at_start);
    let own = spec::spec(pod).resources.as_ref().map(|it| parsed(pick(it))).unwrap_or_default();
    let counts = |name: &str| matches!(name, "cpu" | "memory") || name.starts_with("hugepages-");
    total.extend(own.into_iter().filter(|(name, _)| counts(name)));
    total
}

/// A limit grows by the overhead only where there is one.
fn with_overhead(pod: &Pod, mut amounts: Amounts, also_new: bool) -> Amounts {
    let mut overhead = parsed(&spec::spec(pod).overhead);
    overhead.retain(|name, _| also_new || amounts.contains_key(name));
    add(&mut amounts, &overhead);
    amounts
}

fn add(total: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        match total.get_mut(name) {
            Some(sum) => sum.add(amount),
            None => drop(total.insert(name.clone(), amount.clone())),
        }
    }
}

fn raise(total: &mut Amounts, least: Amounts) {
    for (name, amount) in least {
        if total.get(&name).is_none_or(|has| *has < amount) {
            total.insert(name, amount);
        }
    }
}

fn parsed(amounts: &ApiAmounts) -> Amounts {
    amounts.iter().flatten().filter_map(|(name, amount)| Some((name.clone(), spec::quantity(amount)?))).collect()
}

fn shown(amounts: Amounts) -> ApiAmounts {
    let shown = amounts.into_iter().map(|(name, amount)| (name, ApiQuantity(amount.to_string())));
    Some(shown.collect::<BTreeMap<_, _>>()).filter(|amounts| !amounts.is_empty())
}
