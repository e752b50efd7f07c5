//! Bodies and answers in upstream's protobuf form: which schema an object needs, and lists item by item.

use machinery::gvk::{Gvk, split_api_version};
use machinery::schema::{self, DecodeError, Decoded, Schema};
use machinery::status::Status;
use machinery::wire;
use serde_json::Value;

pub fn decode(schema: &Schema, body: &[u8]) -> Result<Decoded, DecodeError> {
    wire::decode(schema, body)
        .map(|object| Decoded { object, strict: Vec::new() })
        .map_err(|error| DecodeError::Syntax(error.to_string()))
}

/// Any object by its own `apiVersion` and `kind`: an object, a list of a built-in kind, a Status.
pub fn encode(object: &Value) -> Result<Vec<u8>, Status> {
    let (api_version, kind) = type_of(object);
    if let Some(schema) = schema_of(api_version, kind) {
        return Ok(wire::encode(schema, object));
    }
    let item_kind = kind.strip_suffix("List").unwrap_or_default();
    let schema = schema_of(api_version, item_kind)
        .ok_or_else(|| Status::not_acceptable(format!("{kind} cannot be encoded as protobuf")))?;
    let items = object["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let messages: Vec<Vec<u8>> = items
        .iter()
        .map(|item| {
            let mut message = Vec::new();
            wire::encode_message(schema, item, &mut message);
            message
        })
        .collect();
    Ok(wire::encode_list(api_version, kind, &object["metadata"], messages.iter().map(Vec::as_slice)))
}

/// One event of a watch, with its length before it.
pub fn watch_frame(event_type: &str, object: &Value) -> Result<Vec<u8>, Status> {
    Ok(wire::frame(&wire::watch_event(event_type, &encode(object)?)))
}

fn type_of(object: &Value) -> (&str, &str) {
    // Discovery's first document names no version.
    (object["apiVersion"].as_str().unwrap_or("v1"), object["kind"].as_str().unwrap_or_default())
}

fn schema_of(api_version: &str, kind: &str) -> Option<&'static Schema> {
    let (group, version) = match split_api_version(api_version)? {
        // Nothing but its name is another.
        ("meta.k8s.io", "v1beta1") => ("meta.k8s.io", "v1"),
        known => known,
    };
    schema::builtin(&Gvk::new(group, version, kind))
}
