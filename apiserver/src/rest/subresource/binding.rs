//! `/binding`: the scheduler's word that a pod runs on a node (Kubernetes concept: "Assigning Pods to Nodes").

use machinery::field::{Error, ErrorList, Path, quote};
use machinery::gvk::Gvk;
use machinery::meta;
use machinery::schema;
use machinery::status::Status;
use serde_json::{Value, json};

use super::call_of;
use crate::admission::{Operation, Request};
use crate::api::Api;
use crate::http_body::Response;
use crate::rest::body::{self, Decoded};
use crate::rest::params::WriteOptions;
use crate::rest::update::{Part, change};
use crate::rest::{Call, respond, system};

pub async fn create(api: &Api, call: &Call) -> Result<Response, Status> {
    let (binding, options) = decode(call)?;
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
    let Decoded { mut object, .. } = body::decode(&call.body, &call.headers, schema, &kind, options.field_validation)?;
    system::ensure_namespace(&mut object, &call.info.namespace)?;
    check(&object)?;
    Ok((object, options))
}

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
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("", "Binding", meta::name(binding), &errors)) }
}

async fn bind(api: &Api, call: &Call, mut binding: Value, options: &WriteOptions) -> Result<Response, Status> {
    let accept = call.accept()?;
    let request = Request::new(api, call, Operation::Create, options.dry_run, None);
    api.admission.mutate(&request, &mut binding).await?;
    api.admission.validate(&request, &binding).await?;
    let now = api.now_text();
    change(api, call, Part::Raw, options, |pod| assign(pod, &binding, call, &now)).await?;
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    respond::encoded(accept, 201, &status)
}

/// The pod on its node, told so in its conditions.
fn assign(pod: &Value, binding: &Value, call: &Call, now: &str) -> Result<Value, Status> {
    let of = call.served.row.group_resource();
    let refuse = |why: &str| Err(Status::conflict(of, call.name(), why));
    let (asked, stored) = (meta::uid(binding), meta::uid(pod));
    if !asked.is_empty() && asked != stored {
        return refuse(&format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {stored}"));
    }
    if meta::is_deleting(pod) {
        return refuse(&format!("pod {} is being deleted, cannot be assigned to a host", call.name()));
    }
    let node = meta::text(pod, "spec.nodeName");
    if !node.is_empty() {
        return refuse(&format!("pod {} is already assigned to node {}", call.name(), quote(node)));
    }
    if !meta::list(pod, "spec.schedulingGates").is_empty() {
        return refuse(&format!("pod {} has non-empty .spec.schedulingGates", call.name()));
    }
    let mut new = pod.clone();
    meta::metadata_mut(&mut new).remove("resourceVersion");
    meta::object_mut(&mut new, "spec").insert("nodeName".into(), binding["target"]["name"].clone());
    for field in ["annotations", "labels"] {
        let told = meta::map(&binding["metadata"], field);
        if !told.is_empty() {
            let mut merged = meta::map(&pod["metadata"], field).clone();
            merged.extend(told.clone());
            meta::metadata_mut(&mut new).insert(field.into(), Value::Object(merged));
        }
    }
    // A promise that is kept is none any more.
    meta::object_mut(&mut new, "status").remove("nominatedNodeName");
    set_scheduled(&mut new, now);
    Ok(new)
}

fn set_scheduled(pod: &mut Value, now: &str) {
    let generation = meta::generation(pod);
    let mut conditions = meta::list(pod, "status.conditions").to_vec();
    conditions.retain(|condition| condition["type"] != "PodScheduled");
    let mut scheduled =
        json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": now, "lastProbeTime": null});
    if generation > 0 {
        scheduled["observedGeneration"] = json!(generation);
    }
    conditions.push(scheduled);
    meta::object_mut(pod, "status").insert("conditions".into(), Value::Array(conditions));
}
