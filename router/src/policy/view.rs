//! What policies look at beside pods: namespaces and the policies themselves, without all else.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace as ApiNamespace;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt as _;
use kube::core::{Selector, SelectorExt as _};

use super::{Direction, Pod};

pub(crate) type Labels = BTreeMap<String, String>;

#[derive(Debug, Default)]
pub(crate) struct Cluster {
    pub(crate) pods: Vec<Arc<Pod>>,
    pub(crate) namespaces: BTreeMap<String, Namespace>,
}

#[derive(Debug, Default)]
pub(crate) struct Namespace {
    pub(crate) labels: Labels,
}

#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) namespace: String,
    selector: Option<Selector>,
    ingress: Option<Vec<Rule>>,
    egress: Option<Vec<Rule>>,
}

/// One `ingress` or `egress` entry. No peers: everyone. No ports: all of them.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) peers: Vec<NetworkPolicyPeer>,
    pub(crate) ports: Vec<NetworkPolicyPort>,
}

impl Cluster {
    pub(crate) fn namespace_labels(&self, name: &str) -> Option<&Labels> {
        self.namespaces.get(name).map(|namespace| &namespace.labels)
    }
}

impl From<&ApiNamespace> for Namespace {
    fn from(object: &ApiNamespace) -> Namespace {
        Namespace { labels: object.labels().clone() }
    }
}

impl From<&NetworkPolicy> for Policy {
    /// Without `policyTypes` (the API server fills them in) a policy is for ingress, and for egress when it has rules.
    fn from(object: &NetworkPolicy) -> Policy {
        let spec = object.spec.clone().unwrap_or_default();
        let types = spec.policy_types.unwrap_or_default();
        let is_for = |name: &str, default: bool| match types.is_empty() {
            true => default,
            false => types.iter().any(|known| known == name),
        };
        let (has_ingress, has_egress) = (is_for("Ingress", true), is_for("Egress", spec.egress.is_some()));
        let ingress = spec.ingress.into_iter().flatten();
        let ingress =
            ingress.map(|rule| Rule { peers: rule.from.unwrap_or_default(), ports: rule.ports.unwrap_or_default() });
        let egress = spec.egress.into_iter().flatten();
        let egress =
            egress.map(|rule| Rule { peers: rule.to.unwrap_or_default(), ports: rule.ports.unwrap_or_default() });
        Policy {
            namespace: object.namespace().unwrap_or_default(),
            selector: selector(&spec.pod_selector.unwrap_or_default()),
            ingress: has_ingress.then(|| ingress.collect()),
            egress: has_egress.then(|| egress.collect()),
        }
    }
}

impl Policy {
    pub(crate) fn selects(&self, pod: &Pod) -> bool {
        pod.namespace() == self.namespace && matches(self.selector.as_ref(), &pod.labels)
    }

    /// `None` when the policy is not for this direction.
    pub(crate) fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }
}

/// `None` for one that the API would not have let in: it selects nothing.
pub(super) fn selector(selector: &LabelSelector) -> Option<Selector> {
    selector.clone().try_into().ok()
}

pub(super) fn matches(selector: Option<&Selector>, labels: &Labels) -> bool {
    selector.is_some_and(|selector| selector.matches(labels))
}
