//! What the server says to a request.

use futures::{StreamExt, stream};
use http::{Response, header::CONTENT_TYPE};
use http_body::Frame;
use http_body_util::{StreamBody, combinators::UnsyncBoxBody};
use serde_json::{Value, json};

use super::{
    AnyBody,
    request::Received,
    store::{Filter, Place, Store},
    whole,
};

pub(super) fn answer(store: &mut Store, request: &Received) -> Response<AnyBody> {
    match request.verb {
        "watch" => watch(store, request),
        "list" => json(200, &list(store, request)),
        verb => {
            let outcome = match verb {
                "get" => store.get(&place(request)).ok_or_else(|| not_found(request)),
                "create" => create(store, request),
                "update" => update(store, request),
                "patch" => patch(store, request),
                "delete" => delete(store, request),
                "deletecollection" => Ok(delete_collection(store, request)),
                _ => Err((405, status(405, "MethodNotAllowed", "not supported"))),
            };
            match outcome {
                Ok(object) => json(if verb == "create" { 201 } else { 200 }, &object),
                Err((code, status)) => json(code, &status),
            }
        }
    }
}

type Outcome = Result<Value, (u16, Value)>;

pub(super) fn json(code: u16, object: &Value) -> Response<AnyBody> {
    let body = whole(object.to_string().into_bytes());
    let response = Response::builder().status(code).header(CONTENT_TYPE, "application/json").body(body);
    response.expect("a valid response")
}

pub(super) fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "code": code, "reason": reason, "message": message,
    })
}

fn place(request: &Received) -> Place {
    Place {
        group: request.group.clone(),
        resource: request.resource.clone(),
        namespace: request.namespace.clone(),
        name: request.name.clone(),
    }
}

fn filter(request: &Received) -> Filter {
    Filter {
        group: request.group.clone(),
        resource: request.resource.clone(),
        namespace: request.namespace.clone(),
        labels: request.query("labelSelector").to_owned(),
        fields: request.query("fieldSelector").to_owned(),
    }
}

fn not_found(request: &Received) -> (u16, Value) {
    (404, status(404, "NotFound", &format!("{} {:?} not found", request.resource, request.name)))
}

/// Pages are cut by position: the continue token is the number of objects already told.
fn list(store: &Store, request: &Received) -> Value {
    let wanted = filter(request);
    let all = store.list(&request.group, &request.resource, &request.namespace);
    let all: Vec<_> = all.into_iter().filter(|object| wanted.matches(object)).collect();
    let start: usize = request.query("continue").parse().unwrap_or_default();
    let limit = request.query("limit").parse().ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let end = start.saturating_add(limit).min(all.len());
    let mut metadata = json!({"resourceVersion": store.revision.to_string()});
    if end < all.len() {
        metadata["continue"] = json!(end.to_string());
    }
    let version = match request.group.is_empty() {
        true => request.version.clone(),
        false => format!("{}/{}", request.group, request.version),
    };
    json!({"apiVersion": version, "kind": "List", "metadata": metadata, "items": all[start.min(end)..end]})
}

fn watch(store: &mut Store, request: &Received) -> Response<AnyBody> {
    let since = request.query("resourceVersion").parse().unwrap_or_default();
    let initial = request.query("sendInitialEvents") == "true";
    let known = match initial {
        true => initial_events(store, request),
        false => Vec::new(),
    };
    let since = if initial { store.revision } else { since };
    let Some(events) = store.watch(filter(request), since) else {
        return json(410, &status(410, "Expired", "too old resource version"));
    };
    let lines = stream::iter(known).chain(events).map(|event| Ok(Frame::data(line(&event).into())));
    let body = UnsyncBoxBody::new(StreamBody::new(lines));
    Response::builder().header(CONTENT_TYPE, "application/json").body(body).expect("a valid response")
}

/// The type comes first, as every API server writes it.
fn line(event: &Value) -> String {
    format!("{{\"type\":{},\"object\":{}}}\n", event["type"], event["object"])
}

fn initial_events(store: &Store, request: &Received) -> Vec<Value> {
    let wanted = filter(request);
    let all = store.list(&request.group, &request.resource, &request.namespace);
    let mut events: Vec<_> = all
        .into_iter()
        .filter(|object| wanted.matches(object))
        .map(|object| json!({"type": "ADDED", "object": object}))
        .collect();
    let metadata = json!({
        "resourceVersion": store.revision.to_string(),
        "annotations": {"k8s.io/initial-events-end": "true"},
    });
    events.push(json!({"type": "BOOKMARK", "object": {"metadata": metadata}}));
    events
}

fn create(store: &mut Store, request: &Received) -> Outcome {
    let mut object = request.body.clone();
    if !request.subresource.is_empty() {
        return subresource(store, request);
    }
    if let Some(prefix) = object["metadata"]["generateName"].as_str()
        && object["metadata"]["name"].is_null()
    {
        object["metadata"]["name"] = json!(format!("{prefix}{:05x}", store.revision + 1));
    }
    if !request.namespace.is_empty() {
        object["metadata"]["namespace"] = json!(request.namespace);
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let place = Place { name: name.clone(), ..place(request) };
    // Reviews and the like are answered, not stored; script an answer with `react`.
    if name.is_empty() {
        return Ok(object);
    }
    if store.get(&place).is_some() {
        return Err((409, status(409, "AlreadyExists", &format!("{} {name:?} already exists", request.resource))));
    }
    Ok(store.put(place, object))
}

fn subresource(store: &mut Store, request: &Received) -> Outcome {
    let mut object = store.get(&place(request)).ok_or_else(|| not_found(request))?;
    match &*request.subresource {
        "binding" => {
            object["spec"]["nodeName"] = request.body["target"]["name"].clone();
            store.put(place(request), object);
            Ok(json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Success", "code": 201}))
        }
        "eviction" => {
            store.delete(&place(request), None);
            Ok(json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Success", "code": 201}))
        }
        _ => Ok(request.body.clone()),
    }
}

fn update(store: &mut Store, request: &Received) -> Outcome {
    let old = store.get(&place(request)).ok_or_else(|| not_found(request))?;
    let sent = &request.body["metadata"]["resourceVersion"];
    if sent.is_string() && *sent != old["metadata"]["resourceVersion"] {
        return Err((409, status(409, "Conflict", "the object has been modified")));
    }
    Ok(write(store, request, &old, request.body.clone()))
}

fn patch(store: &mut Store, request: &Received) -> Outcome {
    let applying = request.content_type.starts_with("application/apply-patch");
    let old = match store.get(&place(request)) {
        Some(old) => old,
        None if applying => return Ok(store.put(place(request), request.body.clone())),
        None => return Err(not_found(request)),
    };
    let mut new = old.clone();
    if request.content_type.starts_with("application/json-patch") {
        let patch: json_patch::Patch = serde_json::from_value(request.body.clone())
            .map_err(|error| (400, status(400, "BadRequest", &error.to_string())))?;
        json_patch::patch(&mut new, &patch).map_err(|error| (422, status(422, "Invalid", &error.to_string())))?;
    } else {
        json_patch::merge(&mut new, &request.body);
        delete_from_finalizers(&mut new);
    }
    let expected = &request.body["metadata"]["resourceVersion"];
    if expected.is_string() && *expected != old["metadata"]["resourceVersion"] {
        return Err((409, status(409, "Conflict", "the object has been modified")));
    }
    Ok(write(store, request, &old, new))
}

/// The one directive of strategic patches that is understood.
fn delete_from_finalizers(object: &mut Value) {
    let directive =
        object["metadata"].as_object_mut().and_then(|meta| meta.remove("$deleteFromPrimitiveList/finalizers"));
    let Some(Value::Array(gone)) = directive else { return };
    if let Some(finalizers) = object["metadata"]["finalizers"].as_array_mut() {
        finalizers.retain(|finalizer| !gone.contains(finalizer));
    }
}

/// The status subresource writes only the status (and what a node or pod says about itself in metadata).
fn write(store: &mut Store, request: &Received, old: &Value, new: Value) -> Value {
    let mut object = match &*request.subresource {
        "status" => {
            let mut object = old.clone();
            object["status"] = new["status"].clone();
            object
        }
        _ => new,
    };
    let same = |a: &Value, b: &Value| {
        let strip = |value: &Value| {
            let mut value = value.clone();
            value["metadata"]["resourceVersion"] = Value::Null;
            value
        };
        strip(a) == strip(b)
    };
    if old["spec"] != object["spec"] {
        object["metadata"]["generation"] = json!(old["metadata"]["generation"].as_i64().unwrap_or(1) + 1);
    }
    if same(old, &object) { old.clone() } else { store.put(place(request), object) }
}

fn delete(store: &mut Store, request: &Received) -> Outcome {
    let old = store.get(&place(request)).ok_or_else(|| not_found(request))?;
    let uid = &request.body["preconditions"]["uid"];
    if uid.is_string() && *uid != old["metadata"]["uid"] {
        return Err((409, status(409, "Conflict", "the UID in the precondition does not match")));
    }
    let grace =
        request.body["gracePeriodSeconds"].as_i64().or_else(|| request.query("gracePeriodSeconds").parse().ok());
    store.delete(&place(request), grace).ok_or_else(|| not_found(request))
}

fn delete_collection(store: &mut Store, request: &Received) -> Value {
    let wanted = filter(request);
    let all = store.list(&request.group, &request.resource, &request.namespace);
    for object in all.into_iter().filter(|object| wanted.matches(object)) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let meta = &object["metadata"];
        let one = Place { namespace: text(&meta["namespace"]), name: text(&meta["name"]), ..place(request) };
        store.delete(&one, None);
    }
    list(store, request)
}
