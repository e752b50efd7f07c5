//! `/binding`: the scheduler's word that a pod runs on a node (Kubernetes concept: "Assigning Pods to Nodes").

use machinery::field::{Error, ErrorList, Path, aggregate, quote};
use machinery::gvk::Gvk;
use machinery::meta;
use machinery::schema;
use machinery::status::{GroupResource, Status};
use serde_json::{Value, json};

use super::call_of;
use crate::admission::{Operation, Request};
use crate::api::Api;
use crate::http_body::Response;
use crate::rest::body::Decoded;
use crate::rest::params::WriteOptions;
use crate::rest::update::{change_own, check_stored};
use crate::rest::{Call, owners, system};

pub async fn create(api: &Api, call: &Call) -> Result<Response, Status> {
    let (binding, options) = decode(call)?;
    if meta::name(&binding) != call.name() {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    bind(api, call, binding, &options).await
}

/// A Binding posted to `bindings`: it names its pod itself.
pub async fn bind_named(api: &Api, call: &Call) -> Result<Response, Status> {
    let (binding, options) = decode(call)?;
    let pods = api.catalogue.find("", "v1", "pods").ok_or_else(Status::unknown_path)?;
    let mut own = call_of(call, pods, meta::name(&binding));
    own.info.subresource = "binding".to_owned();
    bind(api, &own, binding, &options).await
}

fn decode(call: &Call) -> Result<(Value, WriteOptions), Status> {
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let kind = Gvk::new("", "v1", "Binding");
    let schema = schema::builtin(&kind).ok_or_else(|| Status::internal_error("no schema for Binding"))?;
    let Decoded { mut object, warnings } = call.decode(schema, &kind, options.field_validation)?;
    call.warnings.extend(warnings);
    owners::dedup(&mut object, &call.warnings, owners::DUPLICATES);
    system::ensure_namespace(&mut object, &call.info.namespace)?;
    Ok((object, options))
}

/// Upstream's answer bears no reason.
fn check(binding: &Value) -> Result<(), Status> {
    let path = Path::new("target");
    let mut errors = ErrorList::new();
    let kind = meta::text(binding, "target.kind");
    if !kind.is_empty() && kind != "Node" {
        errors.push(Error::not_supported(&path.child("kind"), kind, &["Node", "<empty>"]));
    }
    if meta::text(binding, "target.name").is_empty() {
        errors.push(Error::required(&path.child("name"), ""));
    }
    // Upstream lets these go as they are, not as an invalid object.
    if errors.is_empty() { Ok(()) } else { Err(Status::unexplained(aggregate(&errors))) }
}

async fn bind(api: &Api, call: &Call, mut binding: Value, options: &WriteOptions) -> Result<Response, Status> {
    let accept = call.accept()?;
    let request = Request::new(api, call, Operation::Create, options.dry_run, None);
    api.admission.mutate(&request, &mut binding).await?;
    check(&binding)?;
    api.admission.validate(&request, &binding).await?;
    let now = api.now_text();
    let assigned = |pod: &Value| {
        for (what, read) in [("UID", meta::uid as fn(&Value) -> &str), ("ResourceVersion", meta::resource_version)] {
            check_stored(what, [read(&binding), read(pod)], api, call, options.dry_run)?;
        }
        assign(pod, &binding, call, &now)
    };
    change_own(api, call, options, assigned).await?;
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    call.status(accept, 201, &status)
}

/// The pod on its node, told so in its conditions. All else stays as it is: a scheduler's choice is no new wish of the
/// pod's owner, and no new generation.
fn assign(pod: &Value, binding: &Value, call: &Call, now: &str) -> Result<Value, Status> {
    let refuse = |why: &str| {
        let of = GroupResource { group: "", resource: "pods/binding" };
        Err(Status::conflict(of, call.name(), &format!("pod {} {why}", call.name())))
    };
    if meta::is_deleting(pod) {
        return refuse("is being deleted, cannot be assigned to a host");
    }
    let node = meta::text(pod, "spec.nodeName");
    if !node.is_empty() {
        return refuse(&format!("is already assigned to node {}", quote(node)));
    }
    if !meta::list(pod, "spec.schedulingGates").is_empty() {
        return refuse("has non-empty .spec.schedulingGates");
    }
    let mut new = pod.clone();
    meta::object_mut(&mut new, "spec").insert("nodeName".into(), binding["target"]["name"].clone());
    for field in ["annotations", "labels"] {
        let told = meta::map(&binding["metadata"], field);
        if !told.is_empty() {
            meta::object_mut(&mut new["metadata"], field).extend(told.clone());
        }
    }
    // A promise that is kept is none any more.
    meta::object_mut(&mut new, "status").remove("nominatedNodeName");
    set_scheduled(&mut new, now);
    Ok(new)
}

fn set_scheduled(pod: &mut Value, now: &str) {
    let scheduled = json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": now, "lastProbeTime": null});
    let conditions = meta::object_mut(pod, "status").entry("conditions").or_insert_with(|| json!([]));
    let Value::Array(conditions) = conditions else { return };
    match conditions.iter_mut().find(|condition| condition["type"] == scheduled["type"]) {
        Some(known) if known["status"] == scheduled["status"] => {
            let since = known["lastTransitionTime"].take();
            *known = scheduled;
            known["lastTransitionTime"] = since;
        }
        Some(known) => *known = scheduled,
        None => conditions.push(scheduled),
    }
}
