//! What policies look at of a pod. Enter by [`Pod`], which is decoded straight from the API's object: all pods of the
//! cluster are kept, and a whole one takes several kilobytes. Pods of one owner share what its template gave them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use component::informer::Alike;
use k8s_openapi::api::core::v1::{ContainerPort, PodIP};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::Protocol;
use super::view::Labels;

static TEMPLATES: LazyLock<Alike<Template>> = LazyLock::new(Alike::default);

#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Raw")]
pub(crate) struct Pod {
    /// Only what tells this object and its state from others.
    metadata: ObjectMeta,
    pub(crate) node: Box<str>,
    pub(crate) addresses: Box<[IpAddr]>,
    /// Its addresses may be others' by now.
    pub(crate) is_finished: bool,
    template: Arc<Template>,
}

component::api_resource!(NamespaceResourceScope Pod, "", "v1", "Pod", "pods");

#[derive(Debug, PartialEq)]
pub(crate) struct Template {
    pub(crate) labels: Labels,
    pub(crate) is_host_network: bool,
    pub(crate) ports: Box<[(Box<str>, Protocol, u16)]>,
}

impl Deref for Pod {
    type Target = Template;

    fn deref(&self) -> &Template {
        &self.template
    }
}

impl Pod {
    pub(crate) fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// Whether every policy thinks the same of both.
    pub(crate) fn looks_like(&self, other: &Pod) -> bool {
        self.namespace() == other.namespace()
            && self.node == other.node
            && self.addresses == other.addresses
            && self.is_finished == other.is_finished
            && self.template == other.template
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Raw {
    metadata: ObjectMeta,
    spec: RawSpec,
    status: RawStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawSpec {
    node_name: Option<Box<str>>,
    host_network: Option<bool>,
    init_containers: Option<Vec<RawContainer>>,
    containers: Option<Vec<RawContainer>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawContainer {
    ports: Option<Vec<ContainerPort>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawStatus {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Option<Vec<PodIP>>,
}

impl From<Raw> for Pod {
    fn from(raw: Raw) -> Pod {
        let Raw { metadata, spec, status } = raw;
        let owner = metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
        // Those that nobody controls are often made by the dozen, too.
        let owner = owner.map(|owner| owner.uid.as_str()).or(metadata.namespace.as_deref());
        let template = TEMPLATES.share(owner, template(metadata.labels.as_ref(), &spec));
        Pod {
            node: spec.node_name.unwrap_or_default(),
            addresses: addresses(&status),
            is_finished: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
            template,
            metadata: ObjectMeta {
                name: metadata.name,
                namespace: metadata.namespace,
                uid: metadata.uid,
                resource_version: metadata.resource_version,
                ..ObjectMeta::default()
            },
        }
    }
}

fn template(labels: Option<&BTreeMap<String, String>>, spec: &RawSpec) -> Template {
    let containers = spec.init_containers.iter().chain(&spec.containers).flatten();
    let ports = containers.flat_map(|container| container.ports.iter().flatten()).filter_map(|port| {
        let protocol = Protocol::of(port.protocol.as_deref())?;
        Some((port.name.as_deref()?.into(), protocol, u16::try_from(port.container_port).ok()?))
    });
    let is_host_network = spec.host_network.unwrap_or(false);
    Template { labels: labels.cloned().unwrap_or_default(), is_host_network, ports: ports.collect() }
}

fn addresses(status: &RawStatus) -> Box<[IpAddr]> {
    let all = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
    let mut addresses: Vec<IpAddr> = all.chain(status.pod_ip.as_deref()).filter_map(|text| text.parse().ok()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(labels: Value, status: Value) -> Pod {
        let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "o", "uid": "o", "controller": true});
        let port = json!({"name": "web", "containerPort": 8080});
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "resourceVersion": "7", "labels": labels,
                "ownerReferences": [owner], "annotations": {"a": "b"}},
            "spec": {"nodeName": "here", "containers": [{"name": "c", "image": "i", "ports": [port]}],
                "initContainers": [{"name": "s", "ports": [{"name": "dns", "containerPort": 53, "protocol": "UDP"}]}]},
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn a_pod_is_what_policies_look_at() {
        let status =
            json!({"phase": "Running", "podIP": "10.0.0.2", "podIPs": [{"ip": "10.0.0.2"}, {"ip": "fd00::2"}]});
        let seen = pod(json!({"app": "web"}), status);
        assert_eq!((seen.namespace(), &*seen.node, seen.is_finished), ("n", "here", false));
        assert_eq!(*seen.addresses, ["10.0.0.2", "fd00::2"].map(|ip| ip.parse::<IpAddr>().unwrap()));
        let ports = [("dns".into(), Protocol::Udp, 53), ("web".into(), Protocol::Tcp, 8080)];
        assert_eq!(*seen.ports, ports);
        assert_eq!(seen.labels["app"], "web");
        assert_eq!(seen.metadata.resource_version.as_deref(), Some("7"), "the informer goes by it");
        assert!(seen.metadata.annotations.is_none() && seen.metadata.owner_references.is_none());
    }

    #[test]
    fn pods_of_one_owner_share_their_template_and_each_change_that_matters_is_seen() {
        let seen = pod(json!({"app": "web"}), json!({"podIP": "10.0.0.2"}));
        let other = pod(json!({"app": "web"}), json!({"podIP": "10.0.0.3"}));
        assert!(Arc::ptr_eq(&seen.template, &other.template));
        assert!(seen.looks_like(&pod(json!({"app": "web"}), json!({"podIP": "10.0.0.2", "phase": "Running"}))));
        assert!(!seen.looks_like(&other), "another address");
        assert!(!seen.looks_like(&pod(json!({"app": "db"}), json!({"podIP": "10.0.0.2"}))), "other labels");
        assert!(!seen.looks_like(&pod(json!({"app": "web"}), json!({"podIP": "10.0.0.2", "phase": "Failed"}))));
    }
}
