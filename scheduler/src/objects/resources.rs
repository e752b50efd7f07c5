//! Amounts of the resources that pods request and nodes have, in the units that scheduling compares.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use machinery::names;
use machinery::quantity::Quantity;

/// CPU in thousandths, memory and ephemeral storage in bytes, the rest in whole units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    pub milli_cpu: i64,
    pub memory: i64,
    pub ephemeral_storage: i64,
    /// How many pods a node takes; 0 in a request.
    pub pods: i64,
    /// Extended resources, huge pages and attachable volumes, sorted by name.
    pub scalars: Vec<(Box<str>, i64)>,
}

/// What a pod counts for when nodes are scored: a container without a request counts as a small one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScoredRequests {
    pub milli_cpu: i64,
    pub memory: i64,
}

/// Which resource, read of its API name once: plugins ask the same of many nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceName<'a> {
    Cpu,
    Memory,
    EphemeralStorage,
    Pods,
    Scalar(&'a str),
}

impl<'a> From<&'a str> for ResourceName<'a> {
    fn from(name: &'a str) -> Self {
        match name {
            "cpu" => Self::Cpu,
            "memory" => Self::Memory,
            "ephemeral-storage" => Self::EphemeralStorage,
            "pods" => Self::Pods,
            name => Self::Scalar(name),
        }
    }
}

impl Resources {
    /// From a node's `status.allocatable`. What cannot be read counts as nothing.
    pub fn from_list(list: Option<&BTreeMap<String, ApiQuantity>>) -> Self {
        let mut resources = Self::default();
        for (name, quantity) in list.into_iter().flatten() {
            if let Ok(quantity) = Quantity::parse(quantity.0.trim()) {
                resources.set(name, &quantity);
            }
        }
        resources
    }

    /// Sets one resource by its name; names that scheduling does not count are dropped.
    pub fn set(&mut self, name: &str, quantity: &Quantity) {
        match name {
            "cpu" => self.milli_cpu = quantity.milli_value(),
            "memory" => self.memory = quantity.value(),
            "ephemeral-storage" => self.ephemeral_storage = quantity.value(),
            "pods" => self.pods = quantity.value(),
            name if is_scalar(name) => match self.find(name) {
                Ok(index) => self.scalars[index].1 = quantity.value(),
                Err(index) => self.scalars.insert(index, (name.into(), quantity.value())),
            },
            _ => {}
        }
    }

    pub fn scalar(&self, name: &str) -> i64 {
        self.find(name).map_or(0, |index| self.scalars[index].1)
    }

    /// A resource, or one by its API name.
    pub fn get<'a>(&self, name: impl Into<ResourceName<'a>>) -> i64 {
        match name.into() {
            ResourceName::Cpu => self.milli_cpu,
            ResourceName::Memory => self.memory,
            ResourceName::EphemeralStorage => self.ephemeral_storage,
            ResourceName::Pods => self.pods,
            ResourceName::Scalar(name) => self.scalar(name),
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.combine(other, i64::saturating_add);
    }

    pub fn sub(&mut self, other: &Self) {
        self.combine(other, i64::saturating_sub);
    }

    fn combine(&mut self, other: &Self, combine: fn(i64, i64) -> i64) {
        self.milli_cpu = combine(self.milli_cpu, other.milli_cpu);
        self.memory = combine(self.memory, other.memory);
        self.ephemeral_storage = combine(self.ephemeral_storage, other.ephemeral_storage);
        for (name, amount) in &other.scalars {
            match self.find(name) {
                Ok(index) => self.scalars[index].1 = combine(self.scalars[index].1, *amount),
                Err(index) => self.scalars.insert(index, (name.clone(), combine(0, *amount))),
            }
        }
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.scalars.binary_search_by(|(known, _)| (**known).cmp(name))
    }
}

/// Whether a resource is counted as a plain number: extended, huge pages, attachable volumes, `*kubernetes.io/*`.
pub(super) fn is_scalar(name: &str) -> bool {
    name.starts_with("hugepages-")
        || name.contains("kubernetes.io/")
        || name.starts_with("attachable-volumes-")
        || is_extended(name)
}

/// Whether a resource is an extended one: with a domain that is not Kubernetes' own.
pub fn is_extended(name: &str) -> bool {
    name.contains('/')
        && !name.contains("kubernetes.io/")
        && !name.starts_with("requests.")
        && names::qualified_name(&format!("requests.{name}")).is_empty()
}
