//! Patch: a change described by its difference (Kubernetes API concept: "Patch"); server-side apply is in [`super::apply`].
//!
//! Enter at [`patch`]. What a patch makes of an object is decoded as a body would be; what that objects to is told as a
//! fault of the patch.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use machinery::field::{Error, Path};
use machinery::gvk::Gvk;
use machinery::meta;
use machinery::patch::{self, PatchError};
use machinery::schema::{self, Schema};
use machinery::status::{Details, Status};
use serde_json::Value;

use super::Call;
use super::apply::{self, Configuration};
use super::body;
use super::negotiate::Accept;
use super::params::{FieldValidation, WriteOptions};
use super::update::{Part, change, check_versioned};
use crate::api::Api;
use crate::http_body::Response;

pub async fn patch(api: &Api, call: &Call) -> Result<Response, Status> {
    let accept = accept(call)?;
    let (patch, options) = parse(call)?;
    let served = &call.served;
    let now = api.clock.now().as_second();
    let changed = match &patch {
        Patch::Apply(configuration) => {
            if call.info.subresource.is_empty() && api.read(served, &call.info.namespace, call.name()).await?.is_none()
            {
                let created = apply::create(api, call, configuration, &options).await?;
                return created.answer(call, accept, 201, now);
            }
            let make = |old: &Value| apply::to(old, configuration, call, &options, &api.now_text());
            change(api, call, Part::of(call), &options, make).await?
        }
        Patch::Change(made) => {
            let make = |old: &Value| made.to_object(old, call, &options);
            change(api, call, Part::of(call), &options, make).await?
        }
    };
    changed.answer(call, accept, 200, now)
}

pub enum Patch {
    /// Server-side apply: the part of the object that its manager wants.
    Apply(Configuration),
    Change(Change),
}

/// Any other patch, as it was sent: it is read once its object is found.
pub struct Change {
    notation: Notation,
    body: Bytes,
}

/// What a patch says that it is.
enum Form {
    Apply,
    Change(Notation),
}

#[derive(Clone, Copy)]
enum Notation {
    Json,
    Merge,
    Strategic,
}

/// A patch that was read.
struct Difference {
    kind: Kind,
    /// What a strict decoder objects to in the patch itself.
    strict: Vec<String>,
}

enum Kind {
    Json(Bytes),
    Merge(Value),
    Strategic(Value),
}

impl Form {
    fn of(call: &Call) -> Result<Self, Status> {
        let media_type = call.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Ok(match media_type.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => Self::Change(Notation::Json),
            "application/merge-patch+json" => Self::Change(Notation::Merge),
            "application/strategic-merge-patch+json" => Self::Change(Notation::Strategic),
            "application/apply-patch+yaml" => Self::Apply,
            // The router's words.
            _ => {
                let mut status = Status::unsupported_media_type("415: Unsupported Media Type");
                status.details = Some(Details::default());
                return Err(status);
            }
        })
    }
}

/// What the answer may be, for a patch of a form that is known.
pub fn accept(call: &Call) -> Result<Accept, Status> {
    Form::of(call)?;
    call.accept()
}

/// Reads the options of a request, and its configuration.
pub fn parse(call: &Call) -> Result<(Patch, WriteOptions), Status> {
    let form = Form::of(call)?;
    let options = WriteOptions::parse_patch(&call.query, matches!(form, Form::Apply))?;
    let patch = match form {
        Form::Apply => Patch::Apply(Configuration::parse(&call.body)?),
        Form::Change(notation) => Patch::Change(Change { notation, body: call.body.clone() }),
    };
    call.trail.patched(&call.headers, &call.body);
    Ok((patch, options))
}

/// A patch that is an object, or nothing, and the fields that it names twice.
fn tree(body: &[u8]) -> Result<(Value, Vec<String>), String> {
    let decoded = schema::decode_tree(body).map_err(|error| error.to_string())?;
    let kind = match &decoded.object {
        Value::Object(_) | Value::Null => return Ok((decoded.object, decoded.strict)),
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Bool(_) => "bool",
    };
    Err(format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"))
}

/// Fields of the operations that are given twice, however deep in a value, and those that are unknown.
fn json_strict(body: &[u8]) -> Vec<String> {
    let is_known = |name: &str| matches!(name, "op" | "path" | "from" | "value");
    let Ok(decoded) = schema::decode_tree(body) else { return Vec::new() };
    // What is in an unknown field is nobody's affair.
    let is_told = |text: &&String| {
        let below = text.split_once("].").map_or("", |(_, below)| below);
        below.split(['.', '[', '"']).next().is_some_and(is_known)
    };
    let twice = decoded.strict.iter().filter(is_told).map(|text| format!("json patch {text}"));
    let operations = decoded.object.as_array().into_iter().flatten().enumerate();
    let unknown = operations.flat_map(|(position, operation)| {
        let names = operation.as_object().into_iter().flatten().map(|(name, _)| name);
        let unknown = names.filter(|name| !is_known(name));
        unknown.map(move |name| format!("json patch unknown field \"[{position}].{name}\"")).collect::<Vec<_>>()
    });
    twice.chain(unknown).collect()
}

impl Difference {
    fn read(Change { notation, body }: &Change) -> Result<Self, Status> {
        Ok(match notation {
            Notation::Json => Self { kind: Kind::Json(body.clone()), strict: json_strict(body) },
            Notation::Merge => {
                let refuse = |error| Status::bad_request(format!("error decoding patch: {error}"));
                let (change, strict) = tree(body).map_err(refuse)?;
                Self { kind: Kind::Merge(change), strict }
            }
            Notation::Strategic => {
                let (change, strict) = tree(body).map_err(Status::bad_request)?;
                // No map is an empty map to Go.
                let change = if change.is_null() { Value::Object(serde_json::Map::new()) } else { change };
                Self { kind: Kind::Strategic(change), strict }
            }
        })
    }

    /// What the patch makes of an object of a schema, as a tree that nobody has looked at yet.
    fn apply(&self, schema: &Schema, old: &Value) -> Result<Value, Status> {
        let mut object = old.clone();
        let applied = match &self.kind {
            Kind::Json(operations) => patch::json(&mut object, operations),
            Kind::Merge(change) => patch::merge(&mut object, change),
            Kind::Strategic(change) => patch::strategic(schema, &mut object, change.clone()),
        };
        applied.map_err(told)?;
        Ok(object)
    }
}

impl Change {
    /// The patched object of a kind, decoded as a body would be.
    pub fn decoded(
        &self,
        (kind, schema): (&Gvk, &Schema),
        old: &Value,
        call: &Call,
        options: &WriteOptions,
    ) -> Result<Value, Status> {
        let difference = Difference::read(self)?;
        let patched = difference.apply(schema, old)?;
        let blamed = match &difference.kind {
            Kind::Strategic(change) => schema::go_map(change),
            Kind::Json(_) => patch::document(schema, old, &patched, patch::Lists::ByElement),
            Kind::Merge(_) => patch::document(schema, old, &patched, patch::Lists::Whole),
        };
        let refuse =
            |why: String| Status::invalid("", "", "", &vec![Error::invalid(&Path::new("patch"), blamed.clone(), why)]);
        // A strategic merge patch cannot change the kind: nobody reads it there.
        if !matches!(self.notation, Notation::Strategic)
            && let Some((_, why)) = body::foreign_kind(&patched, kind)?
        {
            return Err(refuse(why));
        }
        let decoded = match self.notation {
            Notation::Strategic => schema::restore(schema, patched),
            Notation::Json | Notation::Merge => schema::decode_value(schema, patched),
        };
        let decoded = decoded.map_err(|error| refuse(error.to_string()))?;
        let strict = [difference.strict, decoded.strict].concat();
        match options.field_validation {
            FieldValidation::Strict if !strict.is_empty() => {
                return Err(refuse(format!("strict decoding error: {}", strict.join(", "))));
            }
            FieldValidation::Warn => call.warnings.extend(strict),
            FieldValidation::Strict | FieldValidation::Ignore => {}
        }
        Ok(decoded.object)
    }

    fn to_object(&self, old: &Value, call: &Call, options: &WriteOptions) -> Result<Value, Status> {
        let kind = call.served.row.gvk();
        let mut object = self.decoded((&kind, call.served.schema), old, call, options)?;
        keep_identity(&mut object, old, &kind)?;
        check_versioned(&object, call)?;
        release_version(&mut object, old);
        Ok(object)
    }
}

/// A patch that does not name a version itself holds for whatever the object has become: it is made again when another
/// writer was faster.
pub fn release_version(object: &mut Value, old: &Value) {
    if meta::resource_version(object) == meta::resource_version(old) {
        meta::metadata_mut(object).remove("resourceVersion");
    }
}

/// A patch may not make another object of this one.
pub fn keep_identity(object: &mut Value, old: &Value, gvk: &Gvk) -> Result<(), Status> {
    super::system::ensure_namespace(object, meta::namespace(old))?;
    check_name(object, meta::name(old))?;
    if let Some(fields) = object.as_object_mut() {
        fields.insert("apiVersion".into(), gvk.api_version().into());
        fields.insert("kind".into(), gvk.kind.clone().into());
    }
    Ok(())
}

/// Whether the object bears the name that the path gives.
pub fn check_name(object: &Value, expected: &str) -> Result<(), Status> {
    match meta::name(object) {
        "" => Err(Status::bad_request(format!(
            "the name of the object ({expected} based on URL) was undeterminable: name must be provided"
        ))),
        given if given != expected => Err(Status::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({expected})"
        ))),
        _ => Ok(()),
    }
}

fn told(error: PatchError) -> Status {
    let text = error.to_string();
    match error {
        PatchError::Malformed(_) => Status::bad_request(text),
        // Upstream keeps to itself which operation failed.
        PatchError::Inapplicable(_) => Status::unprocessable(),
        PatchError::Broken(_) => Status::unexplained(text),
        PatchError::TooManyOperations(_) => Status::request_entity_too_large(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_are_read_strictly() {
        let body = br#"[{"op": "add", "op": "test", "path": "/a", "value": {"x": [{"y": 1, "y": 2}]}, "foo": {"z": 1, "z": 2}}]"#;
        assert_eq!(
            json_strict(body),
            [
                "json patch duplicate field \"[0].op\"",
                "json patch duplicate field \"[0].value.x[0].y\"",
                "json patch unknown field \"[0].foo\""
            ]
        );
        assert_eq!(tree(br#"{"a": {"b": 1, "b": 2}}"#).unwrap().1, ["duplicate field \"a.b\""]);
        let refused = tree(b"[]").unwrap_err();
        assert_eq!(refused, "json: cannot unmarshal array into Go value of type map[string]interface {}");
    }
}
