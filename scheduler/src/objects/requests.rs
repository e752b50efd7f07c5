//! A pod's effective requests: the most that any moment of its life needs.
//!
//! Rule: Kubernetes concept "Sidecar containers, resource sharing within containers"; pod-level resources and overhead
//! as upstream's `PodRequests`. A running container counts with the most of what it asks for, has and was promised.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use machinery::quantity::{Format, Quantity};
use serde::Deserialize;

use super::resources::{Resources, ScoredRequests};

/// What a container without a CPU or memory request counts for when nodes are scored.
const SCORED_MILLI_CPU: i64 = 100;
const SCORED_MEMORY: i64 = 200 * 1024 * 1024;

type Amounts<'a> = Vec<(&'a str, Quantity)>;
pub(super) type ApiAmounts = BTreeMap<String, ApiQuantity>;

/// The part of a container that requests are made of.
pub(super) struct ContainerRequests<'a> {
    pub(super) name: &'a str,
    pub(super) requests: Option<&'a ApiAmounts>,
    /// An init container that keeps running.
    pub(super) is_sidecar: bool,
}

/// The part of a container's status that requests are made of.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ContainerAmounts {
    pub(super) name: String,
    pub(super) resources: Option<ResourceRequirements>,
    pub(super) allocated_resources: Option<ApiAmounts>,
}

/// The part of a pod's status that its own requests are made of.
pub(super) struct PodAmounts<'a> {
    pub(super) has: Option<&'a ApiAmounts>,
    pub(super) promised: Option<&'a ApiAmounts>,
}

/// All that a pod's requests depend on.
#[derive(Default)]
pub(super) struct RequestSources<'a> {
    pub(super) init_containers: Vec<ContainerRequests<'a>>,
    pub(super) containers: Vec<ContainerRequests<'a>>,
    pub(super) pod_level: Option<&'a ResourceRequirements>,
    pub(super) overhead: Option<&'a ApiAmounts>,
    pub(super) statuses: Vec<&'a ContainerAmounts>,
    /// What the pod as a whole has, and was promised, where its kubelet tells.
    pub(super) pod_status: Option<PodAmounts<'a>>,
    /// The kubelet refused a resize: what was asked for does not count.
    pub(super) resize_infeasible: bool,
}

impl<'a> RequestSources<'a> {
    pub(super) fn resources(&self) -> Resources {
        let mut resources = Resources::default();
        for (name, quantity) in self.total(false) {
            resources.set(name, &quantity);
        }
        resources.pods = 0;
        resources
    }

    pub(super) fn scored(&self) -> ScoredRequests {
        let total = self.total(true);
        let find = |name: &str| total.iter().find(|(n, _)| *n == name).map(|(_, quantity)| quantity);
        ScoredRequests {
            milli_cpu: find("cpu").map_or(0, Quantity::milli_value),
            memory: find("memory").map_or(0, Quantity::value),
        }
    }

    fn total(&self, scored: bool) -> Amounts<'a> {
        let mut total = Amounts::new();
        for container in &self.containers {
            add(&mut total, &self.container(container, true, scored));
        }
        let (mut sidecars, mut most_at_start) = (Amounts::new(), Amounts::new());
        for container in &self.init_containers {
            let requests = self.container(container, container.is_sidecar, scored);
            let mut running = requests.clone();
            if container.is_sidecar {
                add(&mut total, &requests);
                add(&mut sidecars, &requests);
                running = sidecars.clone();
            } else {
                add(&mut running, &sidecars);
            }
            maximum(&mut most_at_start, &running);
        }
        maximum(&mut total, &most_at_start);
        for (name, quantity) in self.pod_level.and_then(|r| r.requests.as_ref()).into_iter().flatten() {
            if matches!(name.as_str(), "cpu" | "memory") || name.starts_with("hugepages-") {
                total.retain(|(known, _)| known != name);
                let asked: Amounts<'a> = parsed(name, quantity).into_iter().collect();
                let effective = match &self.pod_status {
                    Some(status) => self.effective(asked, status.has, status.promised),
                    None => asked,
                };
                total.extend(effective.into_iter().filter(|(known, _)| known == name));
            }
        }
        add(&mut total, &amounts(self.overhead));
        total
    }

    /// The most of what is asked for, had and promised; what cannot be had does not count.
    fn effective(
        &self,
        asked: Amounts<'a>,
        has: Option<&'a ApiAmounts>,
        promised: Option<&'a ApiAmounts>,
    ) -> Amounts<'a> {
        let mut effective = if self.resize_infeasible { Amounts::new() } else { asked };
        maximum(&mut effective, &amounts(has));
        maximum(&mut effective, &amounts(promised));
        effective
    }

    fn container(&self, container: &ContainerRequests<'a>, resizable: bool, scored: bool) -> Amounts<'a> {
        let mut requests = amounts(container.requests);
        let status = self.statuses.iter().find(|s| resizable && s.name == container.name && s.resources.is_some());
        if let Some(status) = status {
            let has = status.resources.as_ref().and_then(|r| r.requests.as_ref());
            requests = self.effective(requests, has, status.allocated_resources.as_ref());
        }
        if scored {
            let defaults = [
                ("cpu", Quantity::from_milli(SCORED_MILLI_CPU, Format::DecimalSi)),
                ("memory", Quantity::new(SCORED_MEMORY, Format::BinarySi)),
            ];
            for (name, default) in defaults {
                if !requests.iter().any(|(known, _)| *known == name) {
                    requests.push((name, default));
                }
            }
        }
        requests
    }
}

fn parsed<'a>(name: &'a str, quantity: &ApiQuantity) -> Option<(&'a str, Quantity)> {
    Quantity::parse(quantity.0.trim()).ok().map(|quantity| (name, quantity))
}

fn amounts(list: Option<&ApiAmounts>) -> Amounts<'_> {
    list.into_iter().flatten().filter_map(|(name, quantity)| parsed(name, quantity)).collect()
}

fn add<'a>(total: &mut Amounts<'a>, more: &Amounts<'a>) {
    for (name, quantity) in more {
        match total.iter_mut().find(|(known, _)| known == name) {
            Some((_, sum)) => sum.add(quantity),
            None => total.push((name, quantity.clone())),
        }
    }
}

fn maximum<'a>(total: &mut Amounts<'a>, other: &Amounts<'a>) {
    for (name, quantity) in other {
        match total.iter_mut().find(|(known, _)| known == name) {
            Some((_, most)) if *most < *quantity => *most = quantity.clone(),
            Some(_) => {}
            None => total.push((name, quantity.clone())),
        }
    }
}
