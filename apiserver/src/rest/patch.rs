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
use super::create::create_object;
use super::params::WriteOptions;
use super::update::{Part, change};
use super::{Call, managers, respond};
use crate::api::Api;
use crate::http_body::Response;

pub async fn patch(api: &Api, call: &Call) -> Result<Response, Status> {
    let accept = call.accept()?;
    let served = &call.served;
    let patch = parse(call)?;
    let options = WriteOptions::parse_patch(&call.query, matches!(patch, Patch::Apply(_)))?;
    if let Patch::Apply(configuration) = &patch
        && call.info.subresource.is_empty()
        && api.read(served, &call.info.namespace, call.name()).await?.is_none()
    {
        return create_applied(api, call, configuration, &options).await;
    }
    let make = |old: &Value| apply(&patch, old, call, &options, &api.now_text());
    let object = change(api, call, Part::of(call), &options, make).await?;
    respond::object(accept, 200, served, &object, api.clock.now().as_second())
}

/// A patch by its content type.
pub enum Patch {
    Json(Bytes),
    Merge(Value),
    Strategic(Value),
    /// Server-side apply: the part of the object that its manager wants.
    Apply(Value),
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
        "application/apply-patch+yaml" => {
            let tree = serde_yaml_ng::from_slice(&call.body);
            Ok(Patch::Apply(tree.map_err(|error| Status::bad_request(format!("error decoding YAML: {error}")))?))
        }
        _ => Err(Status::unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml, application/strategic-merge-patch+json",
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
            Self::Apply(_) => return Err(Status::unsupported_media_type("apply is not a patch of this subresource")),
        };
        applied.map_err(told)?;
        Ok(object)
    }
}

/// The object after the patch, decoded as a body would be.
pub fn apply(patch: &Patch, old: &Value, call: &Call, options: &WriteOptions, now: &str) -> Result<Value, Status> {
    let gvk = call.served.row.gvk();
    let patched = match patch {
        Patch::Apply(configuration) => {
            decode_applied(configuration, call, options)?;
            managers::apply_configuration(call, options, Some(old), configuration, now)?
        }
        patch => patch.apply(call.served.schema, old)?,
    };
    let decoded = machinery::schema::decode_value(call.served.schema, patched);
    let decoded = decoded.map_err(|error| body::refused(&error, &gvk))?;
    call.warnings.extend(body::judge(decoded.strict, &gvk, options.field_validation)?);
    let mut object = decoded.object;
    keep_identity(&mut object, old, &gvk)?;
    release_version(&mut object, old);
    Ok(object)
}

/// A patch that does not name a version itself holds for whatever the object has become: it is made again when another
/// writer was faster.
pub fn release_version(object: &mut Value, old: &Value) {
    if meta::resource_version(object) == meta::resource_version(old) {
        meta::metadata_mut(object).remove("resourceVersion");
    }
}

/// Checks a configuration as a body would be, and that it is of this kind and name.
fn decode_applied(configuration: &Value, call: &Call, options: &WriteOptions) -> Result<(), Status> {
    let gvk = call.served.row.gvk();
    body::check_kind(configuration, &gvk)?;
    let decoded = machinery::schema::decode_value(call.served.schema, configuration.clone());
    let strict = decoded.map_err(|error| body::refused(&error, &gvk))?.strict;
    call.warnings.extend(body::judge(strict, &gvk, options.field_validation)?);
    let name = meta::name(configuration);
    if name != call.name() {
        return Err(Status::bad_request(format!(
            "metadata.name of the applied object ({name}) does not match the name on the URL ({})",
            call.name()
        )));
    }
    Ok(())
}

async fn create_applied(
    api: &Api,
    call: &Call,
    configuration: &Value,
    options: &WriteOptions,
) -> Result<Response, Status> {
    let accept = call.accept()?;
    if !meta::resource_version(configuration).is_empty() {
        return Err(call.not_found());
    }
    decode_applied(configuration, call, options)?;
    let object = managers::apply_configuration(call, options, None, configuration, &api.now_text())?;
    let created = create_object(api, call, object, options).await?;
    respond::object(accept, 201, &call.served, &created, api.clock.now().as_second())
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
