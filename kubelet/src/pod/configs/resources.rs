//! Requests and limits as Linux resources, of a container and of a whole pod. Pure.

use std::collections::BTreeMap;

use k8s_cri::v1;
use k8s_openapi::{
    api::core::v1::{Container, Pod, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};
use machinery::quantity::Quantity;

use super::NodeFacts;
use crate::{
    pod::spec,
    status::qos::{self, BEST_EFFORT, GUARANTEED},
};

const CPU_SHARES_MIN: i64 = 2;
const CPU_SHARES_MAX: i64 = 262_144;
/// The period of a CPU limit, unless the configuration has another.
pub const CPU_PERIOD_US: i64 = 100_000;
const CPU_QUOTA_US_MIN: i64 = 1000;

type Amounts = Option<BTreeMap<String, ApiQuantity>>;

/// CPU shares of the cgroup v1 scale for a request.
pub fn cpu_shares(milli_cpu: i64) -> i64 {
    (milli_cpu.saturating_mul(1024) / 1000).clamp(CPU_SHARES_MIN, CPU_SHARES_MAX)
}

/// CFS quota in microseconds of a period; zero, none, for no limit.
pub fn cpu_quota_us(milli_cpu: i64, period_us: i64) -> i64 {
    if milli_cpu == 0 { 0 } else { (milli_cpu.saturating_mul(period_us) / 1000).max(CPU_QUOTA_US_MIN) }
}

/// What CRI is told of one container.
pub fn of_container(pod: &Pod, container: &Container, facts: &NodeFacts) -> v1::LinuxContainerResources {
    let none = ResourceRequirements::default();
    let own = container.resources.as_ref().unwrap_or(&none);
    let of_pod = spec::spec(pod).resources.as_ref().unwrap_or(&none);
    let limit = |name: &str| amount(&own.limits, name).or_else(|| amount(&of_pod.limits, name));
    let mut resources = linux(
        amount(&own.requests, "cpu").map(|it| it.milli_value()),
        limit("cpu").map_or(0, |it| it.milli_value()),
        limit("memory").map_or(0, |it| it.value()),
        facts,
    );
    resources.oom_score_adj = oom_score_adj(pod, container, facts.memory_capacity_bytes);
    resources.hugepage_limits = hugepages(&own.limits);
    match (facts.limits_swap, facts.cgroup_v2) {
        (true, true) => drop(resources.unified.insert("memory.swap.max".into(), "0".into())),
        (true, false) => resources.memory_swap_limit_in_bytes = resources.memory_limit_in_bytes,
        (false, _) => {}
    }
    if facts.cgroup_v2 && !facts.single_process_oom_kill {
        // A container lives and dies as one; v1 has no such switch.
        resources.unified.insert("memory.oom.group".into(), "1".into());
    }
    resources
}

/// The sum over a pod, without its overhead.
pub fn of_pod(pod: &Pod, facts: &NodeFacts) -> v1::LinuxContainerResources {
    let total = PodTotal::of(pod);
    linux(total.cpu_request_milli, total.cpu_limit_milli, total.memory_limit_bytes, facts)
}

/// The overhead that the RuntimeClass set.
pub fn overhead(pod: &Pod, facts: &NodeFacts) -> Option<v1::LinuxContainerResources> {
    let overhead = spec::spec(pod).overhead.clone();
    overhead.as_ref()?;
    let cpu = amount(&overhead, "cpu").map_or(0, |it| it.milli_value());
    Some(linux(Some(cpu), cpu, amount(&overhead, "memory").map_or(0, |it| it.value()), facts))
}

fn linux(
    cpu_request_milli: Option<i64>,
    cpu_limit_milli: i64,
    memory_limit_bytes: i64,
    facts: &NodeFacts,
) -> v1::LinuxContainerResources {
    v1::LinuxContainerResources {
        // Without a request the limit is the request, as the API server would have defaulted it.
        cpu_shares: cpu_shares(cpu_request_milli.unwrap_or(cpu_limit_milli)),
        cpu_quota: facts.cpu_period_us.map_or(0, |period_us| cpu_quota_us(cpu_limit_milli, period_us)),
        cpu_period: facts.cpu_period_us.unwrap_or(0),
        memory_limit_in_bytes: memory_limit_bytes,
        ..v1::LinuxContainerResources::default()
    }
}

/// `oom_score_adj` by QoS class; within Burstable the more memory is asked for, the later it is killed. What a pod asks for
/// beyond its containers is theirs in equal parts, and no sidecar goes before the containers that need it.
fn oom_score_adj(pod: &Pod, container: &Container, memory_capacity_bytes: i64) -> i64 {
    const NODE_CRITICAL: &str = "system-node-critical";
    let class = qos::of_pod(pod);
    let is_critical = spec::is_critical(pod) && spec::spec(pod).priority_class_name.as_deref() == Some(NODE_CRITICAL);
    if class == GUARANTEED || is_critical {
        return -997;
    }
    if class == BEST_EFFORT || memory_capacity_bytes == 0 {
        return 1000;
    }
    let request = |container: &Container| {
        let own = container.resources.as_ref().and_then(|it| amount(&it.requests, "memory"));
        own.map_or(0, |it| it.value())
    };
    let mut counted = request(container);
    if spec::is_sidecar(container) && spec::init_containers(pod).iter().any(|it| it.name == container.name) {
        let least = spec::spec(pod).containers.iter().map(request).min();
        counted = counted.max(least.unwrap_or(0));
    }
    let counted = i128::from(counted.saturating_add(unassigned_memory_bytes(pod)));
    let score = 1000 - (counted * 1000 / i128::from(memory_capacity_bytes)) as i64;
    score.clamp(3, 999)
}

/// A container's part of the memory that only the pod as a whole asks for.
fn unassigned_memory_bytes(pod: &Pod) -> i64 {
    let pod_spec = spec::spec(pod);
    let Some(whole) = pod_spec.resources.as_ref().and_then(|it| amount(&it.requests, "memory")) else { return 0 };
    let of = |container: &Container| amount(&container.resources.as_ref()?.requests, "memory").map(|it| it.value());
    let containers = total_of_containers(pod, of).sum;
    let count = pod_spec.containers.len() + spec::init_containers(pod).len();
    (whole.value() - containers) / i64::try_from(count.max(1)).unwrap_or(1)
}

fn hugepages(limits: &Amounts) -> Vec<v1::HugepageLimit> {
    let of = |(name, value): (&String, &ApiQuantity)| {
        let size = name.strip_prefix("hugepages-")?.replace('i', "") + "B";
        let limit = u64::try_from(spec::quantity(value)?.value()).ok()?;
        Some(v1::HugepageLimit { page_size: size, limit })
    };
    limits.iter().flatten().filter_map(of).collect()
}

pub fn amount(amounts: &Amounts, name: &str) -> Option<Quantity> {
    amounts.as_ref()?.get(name).and_then(spec::quantity)
}

/// What a whole pod asks for; a limit of zero is none, and any container without a limit makes the pod's none.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PodTotal {
    pub cpu_request_milli: Option<i64>,
    pub cpu_limit_milli: i64,
    pub memory_request_bytes: i64,
    pub memory_limit_bytes: i64,
}

impl PodTotal {
    /// Sums containers and sidecars; a plain init container counts with the sidecars before it where that is more.
    pub fn of(pod: &Pod) -> Self {
        let limits: fn(&ResourceRequirements) -> &Amounts = |it| &it.limits;
        let requests: fn(&ResourceRequirements) -> &Amounts = |it| &it.requests;
        let cpu_request = total(pod, "cpu", requests, Quantity::milli_value);
        Self {
            cpu_request_milli: cpu_request.any.then_some(cpu_request.sum),
            cpu_limit_milli: total(pod, "cpu", limits, Quantity::milli_value).limit(),
            memory_request_bytes: total(pod, "memory", requests, Quantity::value).sum,
            memory_limit_bytes: total(pod, "memory", limits, Quantity::value).limit(),
        }
    }
}

/// An amount in the unit that is counted in: thousandths of a CPU, else whole numbers.
pub fn in_unit(name: &str, amount: &Quantity) -> i64 {
    if name == "cpu" { amount.milli_value() } else { amount.value() }
}

/// What a whole pod asks for of one resource, with its overhead, in the resource's unit.
pub fn request(pod: &Pod, name: &str) -> i64 {
    let unit = if name == "cpu" { Quantity::milli_value } else { Quantity::value };
    let overhead = amount(&spec::spec(pod).overhead, name).map_or(0, |it| unit(&it));
    total(pod, name, |it| &it.requests, unit).sum.saturating_add(overhead)
}

/// Every resource that a pod asks for, as [`request`] counts it.
pub fn requests(pod: &Pod) -> BTreeMap<String, i64> {
    names(pod).map(|name| (name.clone(), request(pod, name))).collect()
}

/// What a pod holds of one resource: what it asks for, or what its status shows that it has still, where that is more. A
/// resize to less gives nothing back before the runtime has carried it out.
pub fn held(pod: &Pod, name: &str) -> i64 {
    let Some(status) = &pod.status else { return request(pod, name) };
    let of = |amounts: &Amounts| amount(amounts, name).map(|it| in_unit(name, &it));
    let most = |own: Option<&ResourceRequirements>, shown: Option<&ResourceRequirements>, promised: &Amounts| {
        let wanted = own.and_then(|own| of(&own.requests));
        shown.map_or(wanted, |shown| wanted.max(of(&shown.requests)).max(of(promised)))
    };
    let statuses = || status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let is_plain_init =
        |name: &str| spec::init_containers(pod).iter().any(|it| it.name == name && !spec::is_sidecar(it));
    let of_container = |container: &Container| {
        let shown = statuses().find(|it| it.name == container.name && !is_plain_init(&it.name));
        let promised = shown.map_or(&None, |it| &it.allocated_resources);
        most(container.resources.as_ref(), shown.and_then(|it| it.resources.as_ref()), promised)
    };
    let own = spec::spec(pod).resources.as_ref();
    let sum = match own.and_then(|own| of(&own.requests)) {
        Some(_) => most(own, status.resources.as_ref(), &status.allocated_resources).unwrap_or(0),
        None => total_of_containers(pod, of_container).sum,
    };
    sum.saturating_add(of(&spec::spec(pod).overhead).unwrap_or(0))
}

/// Every resource that a pod holds, as [`held`] counts it.
pub fn all_held(pod: &Pod) -> BTreeMap<String, i64> {
    names(pod).map(|name| (name.clone(), held(pod, name))).collect()
}

fn names(pod: &Pod) -> impl Iterator<Item = &String> {
    let pod_spec = spec::spec(pod);
    let of_containers = pod_spec.containers.iter().chain(spec::init_containers(pod)).map(|it| it.resources.as_ref());
    let lists = of_containers.chain([pod_spec.resources.as_ref()]).flatten().filter_map(|it| it.requests.as_ref());
    lists.chain(&pod_spec.overhead).flat_map(BTreeMap::keys)
}

struct Total {
    sum: i64,
    any: bool,
    all: bool,
}

impl Total {
    fn limit(&self) -> i64 {
        if self.all { self.sum } else { 0 }
    }
}

fn total(pod: &Pod, name: &str, of: fn(&ResourceRequirements) -> &Amounts, unit: fn(&Quantity) -> i64) -> Total {
    if let Some(own) = spec::spec(pod).resources.as_ref().and_then(|it| amount(of(it), name)) {
        return Total { sum: unit(&own), any: true, all: true };
    }
    let value =
        |container: &Container| container.resources.as_ref().and_then(|it| amount(of(it), name)).map(|it| unit(&it));
    total_of_containers(pod, value)
}

fn total_of_containers(pod: &Pod, value: impl Fn(&Container) -> Option<i64>) -> Total {
    let (mut any, mut all, mut sidecars, mut init_peak) = (false, true, 0i64, 0i64);
    for container in spec::init_containers(pod) {
        let found = value(container);
        any |= found.is_some();
        all &= found.is_some();
        if spec::is_sidecar(container) {
            sidecars = sidecars.saturating_add(found.unwrap_or(0));
        } else {
            init_peak = init_peak.max(sidecars.saturating_add(found.unwrap_or(0)));
        }
    }
    let mut sum = sidecars;
    for container in &spec::spec(pod).containers {
        let found = value(container);
        any |= found.is_some();
        all &= found.is_some();
        sum = sum.saturating_add(found.unwrap_or(0));
    }
    Total { sum: sum.max(init_peak), any, all }
}
