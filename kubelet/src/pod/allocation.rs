//! What resources a pod has been given, apart from what its spec asks for by now (`pkg/kubelet/allocation`). Pure.
//!
//! A resize through `/resize` changes the spec; the kubelet grants it when it fits, and until then the pod goes on with
//! what it was given. Enter at [`settle`]. The rest of the kubelet sees the pod as [`Allocation::apply`] shows it.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Container, ContainerStatus, Pod, PodStatus, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};

use super::{admission::Room, spec};

/// The condition of a wish that waits, and its reason: as upstream's kubelet has it, more than the node has in all is
/// deferred too.
pub const PENDING: &str = "PodResizePending";
pub const DEFERRED: &str = "Deferred";

type Amounts = Option<BTreeMap<String, ApiQuantity>>;

/// The granted resources of a pod and, by name, of its containers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Allocation {
    pod: Option<ResourceRequirements>,
    containers: BTreeMap<String, ResourceRequirements>,
}

/// Why a resize waits, as the condition `PodResizePending` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    pub message: String,
    pub generation: i64,
    /// Since when it has waited.
    pub since: Timestamp,
}

impl Pending {
    /// What an earlier kubelet told.
    pub fn recovered(status: &PodStatus) -> Option<Self> {
        let mut conditions = status.conditions.iter().flatten();
        let told = conditions.find(|it| it.type_ == PENDING && it.reason.as_deref() == Some(DEFERRED))?;
        Some(Self {
            message: told.message.clone().unwrap_or_default(),
            generation: told.observed_generation.unwrap_or(0),
            since: told.last_transition_time.as_ref()?.0,
        })
    }
}

/// What comes of the spec's wish.
#[derive(Debug, PartialEq)]
pub enum Settled {
    /// The spec asks for what was given.
    Same,
    Granted(Allocation),
    Waits(Pending),
    /// Nobody may judge yet.
    Unjudged,
}

impl Allocation {
    /// Everything that the spec asks for.
    pub fn of_spec(pod: &Pod) -> Self {
        let own = |container: &Container| (container.name.clone(), container.resources.clone().unwrap_or_default());
        Self { pod: spec::spec(pod).resources.clone(), containers: resizable(pod).map(own).collect() }
    }

    /// What an earlier kubelet had given, by the status that it told: a resize that came while none was running is
    /// then judged like any other. Where the status tells nothing, what the spec asks for.
    pub fn recovered(pod: &Pod) -> Self {
        let mut allocation = Self::of_spec(pod);
        let status = pod.status.as_ref();
        let statuses: Vec<&ContainerStatus> = status
            .into_iter()
            .flat_map(|status| [&status.init_container_statuses, &status.container_statuses])
            .flat_map(|list| list.iter().flatten())
            .collect();
        for (name, given) in &mut allocation.containers {
            let told = statuses.iter().find(|it| it.name == *name && it.container_id.is_some());
            if let Some(resources) = told.and_then(|it| it.resources.as_ref()) {
                recover(&mut given.requests, &resources.requests);
                recover(&mut given.limits, &resources.limits);
            }
        }
        allocation
    }

    /// The pod with what it was given in the place of what it asks for.
    pub fn apply(&self, pod: &Arc<Pod>) -> Arc<Pod> {
        if self.covers(pod) {
            return pod.clone();
        }
        let mut own = (**pod).clone();
        if let Some(spec) = &mut own.spec {
            spec.resources.clone_from(&self.pod);
            for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
                if let Some(given) = self.containers.get(&container.name) {
                    container.resources = Some(given.clone());
                }
            }
        }
        Arc::new(own)
    }

    /// Does the spec ask for just this?
    pub fn covers(&self, pod: &Pod) -> bool {
        let given = |container: &Container| self.containers.get(&container.name);
        let none = ResourceRequirements::default();
        same(self.pod.as_ref(), spec::spec(pod).resources.as_ref())
            && resizable(pod)
                .all(|it| given(it).is_none_or(|given| same(Some(given), it.resources.as_ref().or(Some(&none)))))
    }
}

/// Judges a spec against what was given. `room` is what the pods that are here leave; `since` is when this wish was first
/// deferred.
pub fn settle(given: &Allocation, pod: &Pod, room: &Room, since: Timestamp) -> Settled {
    if given.covers(pod) {
        return Settled::Same;
    }
    let generation = pod.metadata.generation.unwrap_or(0);
    match room.shortages(pod).first() {
        None => Settled::Granted(Allocation::of_spec(pod)),
        Some(short) => Settled::Waits(Pending { message: short.refusal().message, generation, since }),
    }
}

/// The containers whose resources may change while they run: all but ephemeral ones.
pub(super) fn resizable(pod: &Pod) -> impl Iterator<Item = &Container> {
    spec::init_containers(pod).iter().chain(&spec::spec(pod).containers)
}

/// Only cpu and memory are told as they really are.
fn recover(given: &mut Amounts, told: &Amounts) {
    for name in ["cpu", "memory"] {
        match told.as_ref().and_then(|told| told.get(name)) {
            Some(amount) => drop(given.get_or_insert_default().insert(name.to_owned(), amount.clone())),
            None => drop(given.as_mut().and_then(|given| given.remove(name))),
        }
    }
}

/// Equal as amounts, not as texts.
fn same(a: Option<&ResourceRequirements>, b: Option<&ResourceRequirements>) -> bool {
    let amounts = |of: Option<&ResourceRequirements>, limits: bool| {
        let list = of.and_then(|it| if limits { it.limits.clone() } else { it.requests.clone() });
        list.unwrap_or_default()
    };
    [true, false].into_iter().all(|limits| {
        let (a, b) = (amounts(a, limits), amounts(b, limits));
        a.len() == b.len() && a.iter().all(|(name, amount)| b.get(name).is_some_and(|it| same_amount(amount, it)))
    })
}

fn same_amount(a: &ApiQuantity, b: &ApiQuantity) -> bool {
    a == b || matches!((spec::quantity(a), spec::quantity(b)), (Some(a), Some(b)) if a == b)
}
