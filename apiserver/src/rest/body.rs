//! A request's body as an object of the kind that the path wants.

use http::HeaderMap;
use machinery::gvk::{Gvk, split_api_version};
use machinery::schema::{self, DecodeError, Schema};
use machinery::status::Status;
use machinery::wire;
use serde_json::Value;

use crate::protobuf;

use super::negotiate::{Format, body_format};
use super::params::FieldValidation;

/// Largest body, in bytes, as upstream's server takes it.
pub const BYTES_MAX: usize = 3 * 1024 * 1024;

/// A decoded body.
pub struct Decoded {
    pub object: Value,
    /// What `fieldValidation=Warn` tells in `Warning` headers.
    pub warnings: Vec<String>,
}

/// Decodes a body against the schema of `expected` and puts `apiVersion` and `kind` in.
pub fn decode(
    body: &[u8],
    headers: &HeaderMap,
    schema: &Schema,
    expected: &Gvk,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let decoded = decode_format(body, headers, schema)?.map_err(|error| refused(&error, expected))?;
    let mut object = decoded.object;
    check_kind(&object, expected)?;
    let warnings = judge(decoded.strict, expected, validation)?;
    if let Some(fields) = object.as_object_mut() {
        fields.insert("apiVersion".into(), expected.api_version().into());
        fields.insert("kind".into(), expected.kind.clone().into());
    }
    Ok(Decoded { object, warnings })
}

/// Decodes options that a request carries as its body (`DeleteOptions`); unknown fields are passed over.
pub fn decode_options(body: &[u8], headers: &HeaderMap, schema: &Schema) -> Result<Value, Status> {
    let expected = Gvk::new("", "v1", "DeleteOptions");
    let decoded = decode_format(body, headers, schema)?;
    decoded.map(|decoded| decoded.object).map_err(|error| refused(&error, &expected))
}

/// What the body says it is in; empty where it says nothing, or cannot be read.
pub fn api_version(body: &[u8], headers: &HeaderMap) -> Result<String, Status> {
    let said = match body_format(headers)? {
        Format::Json => schema::type_meta_json(body).ok(),
        Format::Yaml => schema::type_meta_yaml(body).ok(),
        Format::Protobuf => wire::open(body).ok().map(|envelope| envelope.type_meta),
    };
    Ok(said.unwrap_or_default().api_version)
}

type Outcome = Result<schema::Decoded, DecodeError>;

fn decode_format(body: &[u8], headers: &HeaderMap, schema: &Schema) -> Result<Outcome, Status> {
    Ok(match body_format(headers)? {
        Format::Json => schema::decode_json(schema, body),
        Format::Yaml => schema::decode_yaml(schema, body),
        Format::Protobuf => protobuf::decode(schema, body),
    })
}

/// A body that is not an object of the kind, in upstream's words.
pub fn refused(error: &DecodeError, expected: &Gvk) -> Status {
    Status::bad_request(match error {
        DecodeError::Syntax(text) => {
            format!("the object provided is unrecognized (must be of type {}): {text}", expected.kind)
        }
        DecodeError::Type(text) => format!(
            "{kind} in version {version} cannot be handled as a {kind}: {text}",
            kind = expected.kind,
            version = machinery::field::quote(&expected.version),
        ),
    })
}

/// What unknown and duplicate fields lead to.
pub fn judge(found: Vec<String>, expected: &Gvk, validation: FieldValidation) -> Result<Vec<String>, Status> {
    match validation {
        FieldValidation::Strict if !found.is_empty() => Err(Status::bad_request(format!(
            "{kind} in version {version} cannot be handled as a {kind}: strict decoding error: {}",
            found.join(", "),
            kind = expected.kind,
            version = machinery::field::quote(&expected.version),
        ))),
        FieldValidation::Warn => Ok(found),
        FieldValidation::Strict | FieldValidation::Ignore => Ok(Vec::new()),
    }
}

/// Whether an object says that it is of the expected kind; one that says nothing is.
pub fn check_kind(object: &Value, expected: &Gvk) -> Result<(), Status> {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let kind = object["kind"].as_str().unwrap_or_default();
    let (group, version) = if api_version.is_empty() {
        (expected.group.as_str(), expected.version.as_str())
    } else {
        split_api_version(api_version)
            .ok_or_else(|| Status::bad_request(format!("unexpected GroupVersion string: {api_version}")))?
    };
    let kind = if kind.is_empty() { &expected.kind } else { kind };
    let given = Gvk::new(group, version, kind);
    if given == *expected {
        return Ok(());
    }
    let known = machinery::schema::builtin(&given).is_some();
    let (kind, version) = (&given.kind, machinery::field::quote(&given.version));
    Err(Status::bad_request(if known && (given.group != expected.group || given.kind != expected.kind) {
        format!(
            "{kind} in version {version} cannot be handled as a {}: converting ({}.{kind}) to ({}.{}): unknown conversion",
            expected.kind, given.version, expected.version, expected.kind
        )
    } else {
        format!(
            "{kind} in version {version} cannot be handled as a {}: no kind {} is registered for version {} in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
            expected.kind,
            machinery::field::quote(kind),
            machinery::field::quote(&given.api_version()),
        )
    }))
}
