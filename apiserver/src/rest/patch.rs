//! Patch: a change described by its difference (Kubernetes API concept: "Patch").

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use machinery::gvk::Gvk;
use machinery::meta;
use machinery::patch::{self, PatchError};
use machinery::schema::Schema;
use machinery::status::Status;
use serde_json::Value;

use super::body;
use super::params::WriteOptions;
use super::update::{Changed, Part, change};
use super::{Call, respond};
use crate::api::Api;
use crate::http_body::Response;

pub async fn patch(api: &Api, call: &Call) -> Result<Response, Status> {
    let accept = call.accept()?;
    let options = WriteOptions::parse(&call.query, "PatchOptions")?;
    let served = &call.served;
    let patch = parse(call)?;
    let applied = change(api, call, Part::of(call), &options, |old| apply(&patch, old, call, &options)).await;
    let Changed { object, warnings, .. } = applied?;
    let response = respond::object(accept, 200, served, &object, api.clock.now().as_second())?;
    Ok(respond::with_warnings(response, &warnings))
}

/// A patch by its content type.
pub enum Patch {
    Json(Bytes),
    Merge(Value),
    Strategic(Value),
}

/// Reads the patch of a request.
pub fn parse(call: &Call) -> Result<Patch, Status> {
    let media_type = call.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let tree = || {
        serde_json::from_slice(&call.body)
            .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))
    };
    match media_type.split(';').next().unwrap_or_default().trim() {
        "application/json-patch+json" => Ok(Patch::Json(call.body.clone())),
        "application/merge-patch+json" => Ok(Patch::Merge(tree()?)),
        "application/strategic-merge-patch+json" => Ok(Patch::Strategic(tree()?)),
        _ => Err(Status::unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json",
        )),
    }
}

impl Patch {
    pub fn apply(&self, schema: &Schema, old: &Value) -> Result<Value, Status> {
        let mut object = old.clone();
        let applied = match self {
            Self::Json(operations) => patch::json(&mut object, operations),
            Self::Merge(change) => patch::merge(&mut object, change),
            Self::Strategic(change) => patch::strategic(schema, &mut object, change.clone()),
        };
        applied.map_err(told)?;
        Ok(object)
    }
}

/// The object after the patch, decoded as a body would be.
pub fn apply(patch: &Patch, old: &Value, call: &Call, options: &WriteOptions) -> Result<Value, Status> {
    let gvk = call.served.row.gvk();
    let patched = patch.apply(call.served.schema, old)?;
    let decoded = machinery::schema::decode_value(call.served.schema, patched);
    let decoded = decoded.map_err(|error| body::refused(&error, &gvk))?;
    body::judge(decoded.strict, &gvk, options.field_validation)?;
    let mut object = decoded.object;
    keep_identity(&mut object, old, &gvk)?;
    Ok(object)
}

/// A patch may not make another object of this one.
fn keep_identity(object: &mut Value, old: &Value, gvk: &Gvk) -> Result<(), Status> {
    if meta::name(object) != meta::name(old) {
        let (given, expected) = (meta::name(object), meta::name(old));
        return Err(Status::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({expected})"
        )));
    }
    super::system::ensure_namespace(object, meta::namespace(old))?;
    if let Some(fields) = object.as_object_mut() {
        fields.insert("apiVersion".into(), gvk.api_version().into());
        fields.insert("kind".into(), gvk.kind.clone().into());
    }
    Ok(())
}

fn told(error: PatchError) -> Status {
    let text = error.to_string();
    match error {
        PatchError::Malformed(_) => Status::bad_request(text),
        PatchError::Inapplicable(_) => Status::unprocessable(text),
        PatchError::Broken(_) => Status::internal_error(text),
        PatchError::TooManyOperations(_) => Status::request_entity_too_large(text),
    }
}
