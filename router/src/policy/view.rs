//! What policies look at: pods, namespaces and the policies themselves, without all else.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Namespace as ApiNamespace, Pod as ApiPod};
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt as _;
use kube::core::{Selector, SelectorExt as _};

use super::{Direction, Protocol};

pub(crate) type Labels = BTreeMap<String, String>;

#[derive(Debug, Default)]
pub(crate) struct Cluster {
    pub(crate) pods: Vec<Pod>,
    pub(crate) namespaces: BTreeMap<String, Namespace>,
}

#[derive(Debug, Default)]
pub(crate) struct Namespace {
    pub(crate) labels: Labels,
}

#[derive(Debug)]
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) labels: Labels,
    pub(crate) node: String,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) is_host_network: bool,
    /// Its addresses may be others' by now.
    pub(crate) is_finished: bool,
    pub(crate) ports: Vec<(String, Protocol, u16)>,
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

impl From<&ApiPod> for Pod {
    fn from(object: &ApiPod) -> Pod {
        let spec = object.spec.as_ref();
        let status = object.status.as_ref();
        let all = status.iter().flat_map(|status| status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str()));
        let first = status.and_then(|status| status.pod_ip.as_deref());
        let mut addresses: Vec<IpAddr> = all.chain(first).filter_map(|text| text.parse().ok()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let sidecars = spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
        let containers = sidecars.chain(spec.iter().flat_map(|spec| &spec.containers));
        let ports = containers.flat_map(|container| container.ports.iter().flatten()).filter_map(|port| {
            Some((port.name.clone()?, protocol(port.protocol.as_deref())?, u16::try_from(port.container_port).ok()?))
        });
        Pod {
            namespace: object.namespace().unwrap_or_default(),
            labels: object.labels().clone(),
            node: spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
            addresses,
            is_host_network: spec.and_then(|spec| spec.host_network).unwrap_or(false),
            is_finished: matches!(status.and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed")),
            ports: ports.collect(),
        }
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
        pod.namespace == self.namespace && matches(self.selector.as_ref(), &pod.labels)
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

pub(super) fn protocol(name: Option<&str>) -> Option<Protocol> {
    match name.unwrap_or("TCP") {
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        "SCTP" => Some(Protocol::Sctp),
        _ => None,
    }
}
