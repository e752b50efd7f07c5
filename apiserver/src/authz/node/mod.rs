//! The Node authorizer: a kubelet reads what its own pods need (Kubernetes reference: "Using Node Authorization").
//!
//! Upstream keeps a graph of nodes, pods and what they refer to. Here the question is asked of the pods in the watch
//! cache when it comes: they are few per node, and nothing has to be kept in step.

mod references;

use machinery::field::quote;
use machinery::meta;
use memchr::memmem;
use serde_json::Value;

use super::rules::Rule;
use super::{Attributes, Decision};
use crate::api::Api;
use crate::cache::Item;
use crate::index::field_position;
use crate::kinds::pod::validate::ephemeral::MIRROR;
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
            ("", "persistentvolumeclaims") if info.subresource == "status" => return claim_status(api, node, info),
            ("", "persistentvolumeclaims") | ("resource.k8s.io", "resourceclaims") => {
                return get_of_own_pods(api, node, info);
            }
            ("", "persistentvolumes") => return get_of_own_claims(api, node, info),
            ("", "serviceaccounts") => return service_account(api, node, info),
            ("coordination.k8s.io", "leases") => return lease(node, info),
            ("storage.k8s.io", "csinodes") => return drivers(node, info),
            ("storage.k8s.io", "volumeattachments") => return attachment(api, node, info),
            ("resource.k8s.io", "resourceslices") => return slice(api, node, attributes),
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
const WRITE: &[&str] = &["get", "create", "update", "patch", "delete"];

/// What every kubelet may do besides: verbs, groups, resources.
const RULES: &[(&[&str], &[&str], &[&str])] = &[
    (&["create"], &["authentication.k8s.io"], &["tokenreviews"]),
    (&["create"], &["authorization.k8s.io"], &["subjectaccessreviews", "localsubjectaccessreviews"]),
    (READ, &[""], &["services"]),
    (&["create", "update", "patch"], &["", "events.k8s.io"], &["events"]),
    (&["get"], &[""], &["endpoints"]),
    (&["create", "get", "list", "watch"], &["certificates.k8s.io"], &["certificatesigningrequests"]),
    (READ, &["storage.k8s.io"], &["csidrivers"]),
    (READ, &["node.k8s.io"], &["runtimeclasses"]),
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
    if !info.subresource.is_empty() {
        return deny("cannot get subresource");
    }
    related(api, node, info)
}

/// A volume that grew on its node is told by the node.
fn claim_status(api: &Api, node: &str, info: &RequestInfo) -> Decision {
    match info.verb.as_str() {
        "update" | "patch" => related(api, node, info),
        _ => deny("can only get/update/patch this type"),
    }
}

fn drivers(node: &str, info: &RequestInfo) -> Decision {
    if !WRITE.contains(&info.verb.as_str()) {
        return deny("can only get, create, update, patch, or delete a CSINode");
    }
    if !info.subresource.is_empty() {
        return deny("cannot authorize CSINode subresources");
    }
    // The name of a new one is admission's to judge.
    if info.verb != "create" && info.name != node {
        return deny("can only access CSINode with the same name as the requesting node");
    }
    allow()
}

fn attachment(api: &Api, node: &str, info: &RequestInfo) -> Decision {
    if info.verb != "get" {
        return deny("can only get individual resources of this type");
    }
    if !info.subresource.is_empty() {
        return deny("cannot get subresource");
    }
    names_node(api, node, info)
}

/// Whether the object says that it is the node's.
fn names_node(api: &Api, node: &str, info: &RequestInfo) -> Decision {
    if info.name.is_empty() {
        return deny("No Object name found");
    }
    match api.peek_named(&info.group, &info.resource, "", &info.name) {
        Some(object) if meta::text(&object, "spec.nodeName") == node => allow(),
        _ => deny(no_relationship(node)),
    }
}

/// Devices of the node, which its drivers tell of in its name. What a new one says is admission's to judge.
fn slice(api: &Api, node: &str, attributes: &Attributes) -> Decision {
    let info = &attributes.info;
    if !info.subresource.is_empty() {
        return deny("cannot authorize ResourceSlice subresources");
    }
    match info.verb.as_str() {
        "create" => allow(),
        "get" | "update" | "patch" | "delete" => names_node(api, node, info),
        "watch" | "list" | "deletecollection" if attributes.fields.exact_match("spec.nodeName") == Some(node) => {
            allow()
        }
        "watch" | "list" | "deletecollection" => {
            deny("can only list/watch/deletecollection resourceslices with nodeName field selector")
        }
        _ => deny(
            "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection",
        ),
    }
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
    if !WRITE.contains(&info.verb.as_str()) {
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
    let named = memmem::Finder::new(&info.name);
    // A generated claim bears its pod's name and its volume's, which stand apart in the pod.
    let may_name = |item: &Item| info.resource == "persistentvolumeclaims" || named.find(&item.body).is_some();
    let is_related = pods_on(api, node, &info.namespace, may_name, |pod| references::in_pod(pod, info))
        || (info.resource == "secrets" && of_volumes(api, node, info));
    if is_related { allow() } else { deny(no_relationship(node)) }
}

/// Whether there is such a pod on the node. Those that `may_be` sorts out are not taken apart.
fn pods_on(
    api: &Api,
    node: &str,
    namespace: &str,
    may_be: impl Fn(&Item) -> bool,
    is: impl Fn(&Value) -> bool,
) -> bool {
    let Some(pods) = api.catalogue.find("", "v1", "pods") else { return false };
    let Some(position) = field_position(pods, "spec.nodeName") else { return false };
    let snapshot = api.cache.list(pods.id, &api.catalogue.prefix(pods, namespace));
    let mut on_node = snapshot.iter().filter(|item| item.fields.get(position) == Some(node) && may_be(item));
    // A node makes mirror pods itself: they give it no rights.
    let counts = |pod: &Value| meta::annotation(pod, MIRROR).is_none() && is(pod);
    on_node.any(|item| Current::from_item(item).is_ok_and(|pod| counts(&pod.object)))
}

/// Whether the secret is one of a volume that is bound to a claim of a pod on the node.
fn of_volumes(api: &Api, node: &str, info: &RequestInfo) -> bool {
    let kinds = [memmem::Finder::new("\"persistentVolumeClaim\""), memmem::Finder::new("\"ephemeral\"")];
    let may_claim = |item: &Item| kinds.iter().any(|kind| kind.find(&item.body).is_some());
    pods_on(api, node, "", may_claim, |pod| {
        let namespace = meta::namespace(pod);
        references::claims(pod).iter().any(|name| {
            let claim = api.peek_named("", "persistentvolumeclaims", namespace, name);
            let volume = claim
                .and_then(|claim| api.peek_named("", "persistentvolumes", "", meta::text(&claim, "spec.volumeName")));
            volume.is_some_and(|volume| {
                let of = |field: &str| meta::text(&volume, &format!("spec.claimRef.{field}")).to_owned();
                (of("namespace").as_str(), &of("name")) == (namespace, name)
                    && references::in_volume(&volume, namespace, &info.namespace, &info.name)
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_node_has_its_own_drivers_only() {
        let ask = |verb: &str, name: &str| {
            drivers("a", &RequestInfo { verb: verb.into(), name: name.into(), ..RequestInfo::default() })
        };
        assert_eq!((ask("get", "a"), ask("create", "")), (allow(), allow()));
        assert_ne!(ask("update", "b"), allow());
        assert_ne!(ask("list", "a"), allow());
    }
}
