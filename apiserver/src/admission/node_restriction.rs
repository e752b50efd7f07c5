//! `NodeRestriction`: a kubelet changes only its own node and what runs on it (Kubernetes reference: "Admission
//! Controllers", NodeRestriction).

use std::collections::BTreeSet;

use async_trait::async_trait;
use machinery::field::quote;
use machinery::meta;
use machinery::pod_references;
use machinery::status::Status;
use serde_json::Value;

use super::{Operation, Plugin, Request, node_audience};
use crate::api::Api;
use crate::kinds::certificate::asked;
use crate::kinds::pod::validate::ephemeral::MIRROR;
use crate::request::NODES;

pub struct NodeRestriction;

#[async_trait]
impl Plugin for NodeRestriction {
    async fn mutate(&self, request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
        judge(request, object)
    }

    async fn validate(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        judge(request, object)
    }
}

fn judge(request: &Request<'_>, object: &Value) -> Result<(), Status> {
    if !request.user().is_in(NODES) {
        return Ok(());
    }
    let Some(node) = request.user().node_name() else {
        let why = format!("could not determine node from user {}", quote(&request.user().name));
        return Err(request.forbidden(&why));
    };
    let row = &request.served().row;
    let judged = match (row.group.as_ref(), row.plural.as_ref(), request.info().subresource.as_str()) {
        ("", "pods", "") => judge_pod(request, node, object),
        ("", "pods", "status") => judge_pod_status(node, object, request.old),
        ("", "pods", "eviction") => own_pod(request, node, "evict"),
        ("", "pods", other) => {
            Err(format!("unexpected pod subresource {}, only 'status' and 'eviction' are allowed", quote(other)))
        }
        ("", "nodes", _) => judge_node(request, node, object, request.old),
        ("", "serviceaccounts", "token") => judge_token(request, node, object),
        ("coordination.k8s.io", "leases", _) => judge_lease(request, node, object),
        ("", "persistentvolumeclaims", "status") => judge_claim(request, node, object),
        ("", "persistentvolumeclaims", _) => Err("may only update PVC status".to_owned()),
        ("storage.k8s.io", "csinodes", _) => judge_drivers(request, node, object),
        ("resource.k8s.io", "resourceslices", _) => judge_slice(request, node, object),
        ("certificates.k8s.io", "certificatesigningrequests", _) => judge_signing(request, node, object),
        _ => Ok(()),
    };
    judged.map_err(|why| request.forbidden_object(object, &why))
}

fn judge_pod(request: &Request<'_>, node: &str, pod: &Value) -> Result<(), String> {
    match request.operation {
        Operation::Create => judge_mirror(request.api, node, pod),
        Operation::Delete => own_pod(request, node, "delete"),
        operation => {
            let operation = format!("{operation:?}").to_uppercase();
            Err(format!(
                "unexpected operation {}, node {} can only create and delete mirror pods",
                quote(&operation),
                quote(node)
            ))
        }
    }
}

fn own_pod(request: &Request<'_>, node: &str, verb: &str) -> Result<(), String> {
    let info = request.info();
    match request.api.peek_named("", "pods", &info.namespace, &info.name) {
        Some(pod) if meta::text(&pod, "spec.nodeName") == node => Ok(()),
        _ => Err(format!("node {} can only {verb} pods with spec.nodeName set to itself", quote(node))),
    }
}

fn judge_mirror(api: &Api, node: &str, pod: &Value) -> Result<(), String> {
    let name = quote(node);
    if meta::annotation(pod, MIRROR).is_none() {
        return Err(format!("pod does not have {} annotation, node {name} can only create mirror pods", quote(MIRROR)));
    }
    if meta::text(pod, "spec.nodeName") != node {
        return Err(format!("node {name} can only create pods with spec.nodeName set to itself"));
    }
    let own = format!("node {name} can only create pods with an owner reference set to itself");
    let owner = match meta::list(pod, "metadata.ownerReferences") {
        [owner] => owner,
        [] => return Err(own),
        _ => return Err(format!("node {name} can only create pods with a single owner reference set to itself")),
    };
    if owner["apiVersion"] != "v1" || owner["kind"] != "Node" || owner["name"] != node {
        return Err(own);
    }
    if owner["controller"] != true {
        return Err(format!("node {name} can only create pods with a controller owner reference set to itself"));
    }
    if owner["blockOwnerDeletion"] == true {
        return Err(format!("node {name} must not set blockOwnerDeletion on an owner reference"));
    }
    let stored = api.peek_named("", "nodes", "", node).ok_or_else(|| format!("nodes {name} not found"))?;
    let (expected, given) = (owner["uid"].as_str().unwrap_or_default(), meta::uid(&stored));
    if expected != given {
        return Err(format!("node {node} UID mismatch: expected {expected} got {given}"));
    }
    match pod_references::first_kind(pod) {
        Ok(None) => Ok(()),
        Ok(Some(objects)) => Err(format!("node {name} can not create pods that reference {objects}")),
        Err(why) => Err(format!("error checking mirror pod for API references: {why}")),
    }
}

fn judge_pod_status(node: &str, pod: &Value, old: Option<&Value>) -> Result<(), String> {
    let name = quote(node);
    let Some(old) = old else { return Err("unexpected operation".to_owned()) };
    if meta::text(old, "spec.nodeName") != node {
        return Err(format!("node {name} can only update pod status for pods with spec.nodeName set to itself"));
    }
    if meta::map(pod, "metadata.labels") != meta::map(old, "metadata.labels") {
        return Err(format!("node {name} cannot update labels through pod status"));
    }
    if pod["status"]["resourceClaimStatuses"] != old["status"]["resourceClaimStatuses"] {
        return Err(format!("node {name} cannot update resource claim statues"));
    }
    if pod["status"]["extendedResourceClaimStatus"] != old["status"]["extendedResourceClaimStatus"] {
        return Err(format!("node {name} cannot update extended resource claim status"));
    }
    Ok(())
}

fn judge_node(request: &Request<'_>, node: &str, new: &Value, old: Option<&Value>) -> Result<(), String> {
    let (name, asked) = (quote(node), &request.info().name);
    // A create names the node in its body.
    let asked = if asked.is_empty() { meta::name(new) } else { asked };
    if asked != node {
        return Err(format!("node {name} is not allowed to modify node {}", quote(asked)));
    }
    match (request.operation, old) {
        (Operation::Create, _) => {
            let forbidden = forbidden_labels(new, None);
            if !forbidden.is_empty() {
                return Err(format!("node {name} is not allowed to set the following labels: {}", joined(&forbidden)));
            }
        }
        (Operation::Update, Some(old)) => {
            if meta::list(new, "spec.taints") != meta::list(old, "spec.taints") {
                return Err(format!("node {name} is not allowed to modify taints"));
            }
            if meta::list(new, "metadata.ownerReferences") != meta::list(old, "metadata.ownerReferences") {
                return Err(format!("node {name} is not allowed to modify ownerReferences"));
            }
            let forbidden = forbidden_labels(new, Some(old));
            if !forbidden.is_empty() {
                return Err(format!("is not allowed to modify labels: {}", joined(&forbidden)));
            }
        }
        _ => {}
    }
    Ok(())
}

fn joined(labels: &BTreeSet<String>) -> String {
    labels.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// Changed labels that only the cluster's owner may set.
fn forbidden_labels(new: &Value, old: Option<&Value>) -> BTreeSet<String> {
    let none = Value::Null;
    let (new, old) = (meta::map(new, "metadata.labels"), meta::map(old.unwrap_or(&none), "metadata.labels"));
    let changed = new.keys().chain(old.keys()).filter(|key| new.get(*key) != old.get(*key));
    changed.filter(|key| is_forbidden(key)).cloned().collect()
}

fn is_forbidden(label: &str) -> bool {
    let Some((domain, _)) = label.split_once('/') else { return false };
    let within = |parent: &str| domain == parent || domain.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'));
    within("node-restriction.kubernetes.io")
        || ((within("kubernetes.io") || within("k8s.io")) && !is_kubelet_label(label, domain))
}

const KUBELET_LABELS: [&str; 14] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "kubernetes.io/arch",
    "node.kubernetes.io/windows-build",
    "kubernetes.io/instance-type",
    "kubernetes.io/region",
];

fn is_kubelet_label(label: &str, domain: &str) -> bool {
    let kubelet_domain = |parent: &str| domain == parent || domain.ends_with(&format!(".{parent}"));
    KUBELET_LABELS.contains(&label) || kubelet_domain("kubelet.kubernetes.io") || kubelet_domain("node.kubernetes.io")
}

fn judge_token(request: &Request<'_>, node: &str, asked: &Value) -> Result<(), String> {
    if request.operation != Operation::Create {
        return Ok(());
    }
    let bound = meta::at(asked, "spec.boundObjectRef");
    let text = |name: &str| bound[name].as_str().unwrap_or_default();
    if text("kind") != "Pod" || text("apiVersion") != "v1" || text("name").is_empty() {
        return Err("node requested token not bound to a pod".to_owned());
    }
    let uid = text("uid");
    if uid.is_empty() {
        return Err("node requested token with a pod binding without a uid".to_owned());
    }
    let pod = request
        .api
        .peek_named("", "pods", &request.info().namespace, text("name"))
        .ok_or_else(|| format!("pods {} not found", quote(text("name"))))?;
    if meta::uid(&pod) != uid {
        return Err(format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        ));
    }
    if meta::text(&pod, "spec.nodeName") != node {
        return Err("node requested token bound to a pod scheduled on a different node".to_owned());
    }
    node_audience::judge(request, &pod, asked)
}

fn judge_lease(request: &Request<'_>, node: &str, lease: &Value) -> Result<(), String> {
    let info = request.info();
    if info.namespace != "kube-node-lease" {
        return Err(format!("can only access leases in the {} system namespace", quote("kube-node-lease")));
    }
    let name = if info.name.is_empty() { meta::name(lease) } else { &info.name };
    if name != node {
        return Err("can only access node lease with the same name as the requesting node".to_owned());
    }
    Ok(())
}

/// Only what tells of the volume's growth.
fn judge_claim(request: &Request<'_>, node: &str, claim: &Value) -> Result<(), String> {
    let Some(old) = request.old.filter(|_| request.operation == Operation::Update) else {
        return Err(format!("unexpected operation {}", quote(&format!("{:?}", request.operation).to_uppercase())));
    };
    let without = |claim: &Value| {
        let mut claim = claim.clone();
        for field in ["resourceVersion", "managedFields"] {
            meta::metadata_mut(&mut claim).remove(field);
        }
        for field in ["capacity", "conditions", "allocatedResources", "allocatedResourceStatuses"] {
            meta::object_mut(&mut claim, "status").remove(field);
        }
        claim
    };
    if without(claim) == without(old) {
        return Ok(());
    }
    Err(format!(
        "node {} is not allowed to update fields other than status.quantity and status.conditions",
        quote(node)
    ))
}

fn judge_drivers(request: &Request<'_>, node: &str, object: &Value) -> Result<(), String> {
    let asked = &request.info().name;
    let name = if request.operation == Operation::Create { meta::name(object) } else { asked };
    match name == node {
        true => Ok(()),
        false => Err("can only access CSINode with the same name as the requesting node".to_owned()),
    }
}

fn judge_slice(request: &Request<'_>, node: &str, object: &Value) -> Result<(), String> {
    let (verb, slice) = match request.operation {
        Operation::Create => ("create", object),
        Operation::Delete => ("delete", request.old.unwrap_or(object)),
        _ => return Ok(()),
    };
    match meta::text(slice, "spec.nodeName") == node {
        true => Ok(()),
        false => Err(format!("can only {verb} ResourceSlice with the same NodeName as the requesting node")),
    }
}

/// A kubelet asks for certificates in its own name only.
fn judge_signing(request: &Request<'_>, node: &str, object: &Value) -> Result<(), String> {
    const SIGNERS: [&str; 2] = ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];
    if request.operation != Operation::Create || !SIGNERS.contains(&meta::text(object, "spec.signerName")) {
        return Ok(());
    }
    let wanted = format!("system:node:{node}");
    let name = asked::common_name(meta::text(object, "spec.request"));
    match name.map_err(|why| format!("unable to parse csr: {why}"))? == wanted {
        true => Ok(()),
        false => Err(format!("can only create a node CSR with CN={wanted}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_a_kubelet_may_set() {
        for allowed in
            ["a", "example.com/a", "kubernetes.io/hostname", "node.kubernetes.io/x", "x.kubelet.kubernetes.io/a"]
        {
            assert!(!is_forbidden(allowed), "{allowed}");
        }
        for forbidden in
            ["node-restriction.kubernetes.io/a", "kubernetes.io/role", "a.k8s.io/b", "node-role.kubernetes.io/master"]
        {
            assert!(is_forbidden(forbidden), "{forbidden}");
        }
    }
}
