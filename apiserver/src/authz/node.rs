//! The Node authorizer: a kubelet reads what its own pods need (Kubernetes reference: "Using Node Authorization").
//!
//! Upstream keeps a graph of nodes, pods and what they refer to. Here the question is asked of the pods in the watch
//! cache when it comes: they are few per node, and nothing has to be kept in step.

use machinery::field::quote;
use machinery::meta;
use serde_json::Value;

use super::rules::Rule;
use super::{Attributes, Decision};
use crate::api::Api;
use crate::index::field_position;
use crate::request::{NODES, RequestInfo, User};
use crate::rest::current::Current;

pub fn authorize(api: &Api, user: &User, attributes: &Attributes) -> Decision {
    if !user.is_in(NODES) {
        return deny("");
    }
    let Some(node) = user.node_name() else {
        return deny(format!("unknown node for user {}", quote(&user.name)));
    };
    let info = &attributes.info;
    if info.is_resource {
        match (info.group.as_str(), info.resource.as_str()) {
            ("", "secrets" | "configmaps") => return read_of_own_pods(api, node, info),
            ("", "persistentvolumeclaims") => return get_of_own_pods(api, node, info),
            ("", "persistentvolumes") => return get_of_own_claims(api, node, info),
            ("", "serviceaccounts") => return service_account(api, node, info),
            ("coordination.k8s.io", "leases") => return lease(node, info),
            ("", "nodes") => return own_node(node, info),
            ("", "pods") => return own_pods(api, node, attributes),
            _ => {}
        }
    }
    if RULES.iter().any(|(verbs, groups, resources)| covers(verbs, groups, resources, info)) {
        allow()
    } else {
        deny("")
    }
}

fn allow() -> Decision {
    Decision::Allow(String::new())
}

fn deny(why: impl Into<String>) -> Decision {
    Decision::NoOpinion(why.into())
}

const READ: &[&str] = &["get", "list", "watch"];

/// What every kubelet may do besides: verbs, groups, resources.
const RULES: &[(&[&str], &[&str], &[&str])] = &[
    (&["create"], &["authentication.k8s.io"], &["tokenreviews"]),
    (&["create"], &["authorization.k8s.io"], &["subjectaccessreviews", "localsubjectaccessreviews"]),
    (READ, &[""], &["services"]),
    (&["create", "update", "patch"], &["", "events.k8s.io"], &["events"]),
    (&["get"], &[""], &["endpoints"]),
    (&["create", "get", "list", "watch"], &["certificates.k8s.io"], &["certificatesigningrequests"]),
    (&["get"], &["storage.k8s.io"], &["volumeattachments"]),
    (READ, &["storage.k8s.io"], &["csidrivers"]),
    (&["get", "create", "update", "patch", "delete"], &["storage.k8s.io"], &["csinodes"]),
    (READ, &["node.k8s.io"], &["runtimeclasses"]),
    (&["get"], &["resource.k8s.io"], &["resourceclaims"]),
];

fn covers(verbs: &[&str], groups: &[&str], resources: &[&str], info: &RequestInfo) -> bool {
    let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    Rule { verbs: own(verbs), api_groups: own(groups), resources: own(resources), ..Rule::default() }.covers(info)
}

fn read_of_own_pods(api: &Api, node: &str, info: &RequestInfo) -> Decision {
    if !READ.contains(&info.verb.as_str()) {
        return deny("can only read resources of this type");
    }
    if !info.subresource.is_empty() {
        return deny("cannot read subresource");
    }
    if info.namespace.is_empty() {
        return deny("can only read namespaced object of this type");
    }
    related(api, node, info)
}

fn get_of_own_pods(api: &Api, node: &str, info: &RequestInfo) -> Decision {
    if info.verb != "get" {
        return deny("can only get individual resources of this type");
    }
    related(api, node, info)
}

/// A volume is a node's by the claim that it is bound to.
fn get_of_own_claims(api: &Api, node: &str, info: &RequestInfo) -> Decision {
    let volume = api.peek_named("", "persistentvolumes", "", &info.name);
    let of_claim = |path: &str| volume.as_ref().map(|volume| meta::text(volume, path).to_owned()).unwrap_or_default();
    let claim = RequestInfo {
        verb: info.verb.clone(),
        resource: "persistentvolumeclaims".into(),
        namespace: of_claim("spec.claimRef.namespace"),
        name: of_claim("spec.claimRef.name"),
        ..RequestInfo::default()
    };
    if info.verb == "get" && claim.name.is_empty() {
        return deny(no_relationship(node));
    }
    get_of_own_pods(api, node, &claim)
}

fn service_account(api: &Api, node: &str, info: &RequestInfo) -> Decision {
    match (info.verb.as_str(), info.subresource.as_str()) {
        ("get", "") => read_of_own_pods(api, node, info),
        ("create", "token") if !info.name.is_empty() => related(api, node, info),
        ("create", "token") => deny("can only create tokens for individual service accounts"),
        _ => deny("can only create token subresource of serviceaccount"),
    }
}

fn lease(node: &str, info: &RequestInfo) -> Decision {
    if !["get", "create", "update", "patch", "delete"].contains(&info.verb.as_str()) {
        return deny("can only get, create, update, patch, or delete a node lease");
    }
    if info.namespace != "kube-node-lease" {
        return deny("can only access leases in the \"kube-node-lease\" system namespace");
    }
    if info.verb != "create" && info.name != node {
        return deny("can only access node lease with the same name as the requesting node");
    }
    allow()
}

fn own_node(node: &str, info: &RequestInfo) -> Decision {
    match (info.subresource.as_str(), info.verb.as_str()) {
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => allow(),
        ("", "get" | "list" | "watch") if info.name == node => allow(),
        ("", "get" | "list" | "watch") if info.name.is_empty() => {
            deny(format!("node '{node}' cannot read all nodes, only its own Node object"))
        }
        ("", "get" | "list" | "watch") => {
            deny(format!("node '{node}' cannot read '{}', only its own Node object", info.name))
        }
        _ => deny(""),
    }
}

fn own_pods(api: &Api, node: &str, attributes: &Attributes) -> Decision {
    let info = &attributes.info;
    match (info.subresource.as_str(), info.verb.as_str()) {
        ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => allow(),
        ("", "get") => own_pod(api, node, info),
        ("", "list" | "watch") if attributes.fields.exact_match("spec.nodeName") == Some(node) => allow(),
        ("", "list" | "watch") if !info.name.is_empty() => own_pod(api, node, info),
        ("", "list" | "watch") => deny("can only list/watch pods with spec.nodeName field selector"),
        _ => deny(""),
    }
}

fn own_pod(api: &Api, node: &str, info: &RequestInfo) -> Decision {
    match api.peek_named("", "pods", &info.namespace, &info.name) {
        Some(pod) if meta::text(&pod, "spec.nodeName") == node => allow(),
        _ => deny(no_relationship(node)),
    }
}

fn no_relationship(node: &str) -> String {
    format!("no relationship found between node '{node}' and this object")
}

/// Whether a pod on the node refers to the object.
fn related(api: &Api, node: &str, info: &RequestInfo) -> Decision {
    if info.name.is_empty() {
        return deny("No Object name found");
    }
    let Some(pods) = api.catalogue.find("", "v1", "pods") else { return deny("") };
    let position = field_position(pods, "spec.nodeName");
    let snapshot = api.cache.list(pods.id, &api.catalogue.prefix(pods, &info.namespace));
    let on_node = snapshot.iter().filter(|item| position.and_then(|position| item.fields.get(position)) == Some(node));
    let mut found = on_node.filter_map(|item| Current::from_item(item).ok());
    if found.any(|pod| refers_to(&pod.object, info)) { allow() } else { deny(no_relationship(node)) }
}

fn refers_to(pod: &Value, info: &RequestInfo) -> bool {
    let name = info.name.as_str();
    match info.resource.as_str() {
        "serviceaccounts" => meta::text(pod, "spec.serviceAccountName") == name,
        "secrets" => {
            names_pull_secret(pod, name) || refers_by(pod, name, "secretKeyRef", "secretRef", ("secret", "secretName"))
        }
        "configmaps" => refers_by(pod, name, "configMapKeyRef", "configMapRef", ("configMap", "name")),
        "persistentvolumeclaims" => meta::list(pod, "spec.volumes").iter().any(|volume| {
            let own = || format!("{}-{}", meta::name(pod), meta::text(volume, "name"));
            meta::text(volume, "persistentVolumeClaim.claimName") == name
                || (volume["ephemeral"].is_object() && own() == name)
        }),
        _ => false,
    }
}

fn names_pull_secret(pod: &Value, name: &str) -> bool {
    meta::list(pod, "spec.imagePullSecrets").iter().any(|secret| secret["name"] == name)
}

/// In environment variables, whole environments, volumes, or sources of projected volumes.
fn refers_by(pod: &Value, name: &str, key_ref: &str, env_ref: &str, (volume, volume_name): (&str, &str)) -> bool {
    let containers = ["initContainers", "containers", "ephemeralContainers"];
    let mut containers = containers.iter().flat_map(|list| meta::list(&pod["spec"], list));
    let in_container = containers.any(|container| {
        meta::list(container, "env").iter().any(|env| env["valueFrom"][key_ref]["name"] == name)
            || meta::list(container, "envFrom").iter().any(|from| from[env_ref]["name"] == name)
    });
    in_container
        || meta::list(pod, "spec.volumes").iter().any(|entry| {
            entry[volume][volume_name] == name
                || meta::list(entry, "projected.sources").iter().any(|source| source[volume]["name"] == name)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ask(resource: &str, name: &str) -> RequestInfo {
        RequestInfo { resource: resource.into(), name: name.into(), ..RequestInfo::default() }
    }

    #[test]
    fn finds_every_way_to_refer() {
        let pod = json!({"spec": {
            "serviceAccountName": "sa",
            "imagePullSecrets": [{"name": "pull"}],
            "volumes": [
                {"secret": {"secretName": "vol"}},
                {"projected": {"sources": [{"configMap": {"name": "root"}}]}},
            ],
            "containers": [{
                "env": [{"valueFrom": {"secretKeyRef": {"name": "env"}}}],
                "envFrom": [{"configMapRef": {"name": "all"}}],
            }],
        }});
        for (resource, name) in [
            ("serviceaccounts", "sa"),
            ("secrets", "pull"),
            ("secrets", "vol"),
            ("secrets", "env"),
            ("configmaps", "root"),
            ("configmaps", "all"),
        ] {
            assert!(refers_to(&pod, &ask(resource, name)), "{resource}/{name}");
        }
        assert!(!refers_to(&pod, &ask("secrets", "root")));
    }

    #[test]
    fn a_lease_belongs_to_its_node() {
        let mut info = RequestInfo {
            verb: "update".into(),
            namespace: "kube-node-lease".into(),
            name: "a".into(),
            ..RequestInfo::default()
        };
        assert_eq!(lease("a", &info), allow());
        info.name = "b".into();
        assert_ne!(lease("a", &info), allow());
    }
}
