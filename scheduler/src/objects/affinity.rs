//! Inter-pod affinity terms, parsed once (Kubernetes concept: inter-pod affinity and anti-affinity).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Affinity, PodAffinityTerm, WeightedPodAffinityTerm};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use machinery::selector::Selector;

use super::pod::Pod;

/// Pods with these labels in these namespaces, and the node label that says what "near" means.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AffinityTerm {
    pub namespaces: BTreeSet<Box<str>>,
    /// Namespaces by label, beside the named ones.
    pub namespace_selector: Selector,
    pub selector: Selector,
    pub topology_key: Box<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WeightedTerm {
    pub term: Arc<AffinityTerm>,
    pub weight: i64,
}

/// A pod's terms of all four kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodAffinity {
    pub required: Vec<Arc<AffinityTerm>>,
    pub required_anti: Vec<Arc<AffinityTerm>>,
    pub preferred: Vec<WeightedTerm>,
    pub preferred_anti: Vec<WeightedTerm>,
}

/// The labels of each namespace.
pub type NamespaceLabels = BTreeMap<String, BTreeMap<String, String>>;

impl AffinityTerm {
    fn parse(term: &PodAffinityTerm, own_namespace: &str) -> Option<Arc<Self>> {
        let named = term.namespaces.as_deref().unwrap_or_default();
        let mut namespaces: BTreeSet<Box<str>> = named.iter().map(|name| name.as_str().into()).collect();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.insert(own_namespace.into());
        }
        Some(Arc::new(Self {
            namespaces,
            namespace_selector: selector(term.namespace_selector.as_ref())?,
            selector: selector(term.label_selector.as_ref())?,
            topology_key: term.topology_key.as_str().into(),
        }))
    }

    /// Whether the term speaks of `pod`.
    pub fn matches(&self, pod: &Pod, namespaces: &NamespaceLabels) -> bool {
        self.covers(pod.namespace(), namespaces) && self.selector.matches_labels(pod.metadata.labels.as_ref())
    }

    fn covers(&self, namespace: &str, namespaces: &NamespaceLabels) -> bool {
        self.namespaces.contains(namespace) || self.namespace_selector.matches_labels(namespaces.get(namespace))
    }
}

/// Absent selects nothing, empty everything; `None` when it cannot be understood.
pub(super) fn selector(selector: Option<&LabelSelector>) -> Option<Selector> {
    let Some(selector) = selector else {
        return Some(Selector::nothing());
    };
    let labels = selector.match_labels.iter().flatten().map(|(key, value)| (key.as_str(), value.as_str()));
    let expressions = selector.match_expressions.iter().flatten();
    let expressions = expressions.map(|e| (e.key.as_str(), e.operator.as_str(), e.values.clone().unwrap_or_default()));
    Selector::from_parts(labels, expressions).ok()
}

impl PodAffinity {
    /// `None` when a pod has no terms. A term that cannot be understood is dropped; the API server refuses such pods.
    pub(super) fn parse(affinity: &Affinity, namespace: &str) -> Option<Self> {
        let required = |terms: Option<&Vec<PodAffinityTerm>>| {
            terms.into_iter().flatten().filter_map(|term| AffinityTerm::parse(term, namespace)).collect()
        };
        let preferred = |terms: Option<&Vec<WeightedPodAffinityTerm>>| {
            let parse = |weighted: &WeightedPodAffinityTerm| {
                let term = AffinityTerm::parse(&weighted.pod_affinity_term, namespace)?;
                Some(WeightedTerm { term, weight: i64::from(weighted.weight) })
            };
            terms.into_iter().flatten().filter_map(parse).collect()
        };
        let (near, apart) = (affinity.pod_affinity.as_ref(), affinity.pod_anti_affinity.as_ref());
        let parsed = Self {
            required: required(near.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref())),
            required_anti: required(apart.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref())),
            preferred: preferred(near.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref())),
            preferred_anti: preferred(
                apart.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref()),
            ),
        };
        (parsed != Self::default()).then_some(parsed)
    }
}
