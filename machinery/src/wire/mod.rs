//! Upstream's protobuf: objects as messages by the schema's field numbers, in an envelope that names their type.
//!
//! Start at [`encode`] and [`decode`]. The bytes are those that upstream's generated code writes: fields by ascending
//! number, maps by key, values that are not pointers always. What the media type is called is not known here.

mod decode;
mod encode;
pub(crate) mod put;
mod reader;
#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::schema::{Schema, TypeMeta};

pub use decode::decode_message;
pub use encode::{encode_message, go_json};

/// The first bytes of every object in protobuf.
pub const MAGIC: [u8; 4] = *b"k8s\0";

/// Why bytes are not an object.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum WireError {
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    Magic,
    #[error("unexpected EOF")]
    Truncated,
    #[error("proto: integer overflow")]
    Overflow,
    #[error("proto: wrong wireType = {wire_type} for field {field}")]
    WireType { wire_type: u8, field: String },
    #[error("proto: illegal tag {0}")]
    Tag(u32),
    #[error("proto: {0}: not UTF-8")]
    Text(String),
    #[error("{field}: {reason}")]
    Value { field: String, reason: String },
    /// Compressed or foreign content inside the envelope.
    #[error("unsupported content encoding or type in a protobuf envelope: {0}")]
    Content(String),
}

/// Whether a body has the envelope's first bytes.
pub fn is_protobuf(body: &[u8]) -> bool {
    body.starts_with(&MAGIC)
}

/// An envelope taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    pub type_meta: TypeMeta,
    /// The message.
    pub raw: &'a [u8],
}

/// Takes the envelope off. Errors: no envelope, or one that is cut short or holds encoded content.
pub fn open(body: &[u8]) -> Result<Envelope<'_>, WireError> {
    decode::envelope(body)
}

/// Decodes an object in its envelope, in the form that [`crate::schema::normalize`] gives, with the `apiVersion` and
/// `kind` of the envelope.
pub fn decode(schema: &Schema, body: &[u8]) -> Result<Value, WireError> {
    let Envelope { type_meta, raw } = open(body)?;
    let mut object = decode_message(schema, raw)?;
    if let Value::Object(map) = &mut object {
        for (name, text) in [("apiVersion", type_meta.api_version), ("kind", type_meta.kind)] {
            if !text.is_empty() {
                map.insert(name.to_owned(), Value::String(text));
            }
        }
    }
    Ok(object)
}

/// Encodes an object in its envelope; its type is the object's `apiVersion` and `kind`. What the schema does not know is
/// left out.
pub fn encode(schema: &Schema, object: &Value) -> Vec<u8> {
    let mut raw = Vec::with_capacity(512);
    encode_message(schema, object, &mut raw);
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or("");
    envelope(text("apiVersion"), text("kind"), &raw)
}

/// Puts a message in an envelope.
pub fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(raw.len() + api_version.len() + kind.len() + 32);
    body.extend_from_slice(&MAGIC);
    put::nested(1, &mut body, |out| {
        put::bytes(1, api_version.as_bytes(), out);
        put::bytes(2, kind.as_bytes(), out);
    });
    put::bytes(2, raw, &mut body);
    put::bytes(3, b"", &mut body);
    put::bytes(4, b"", &mut body);
    body
}

/// A list in its envelope, of items that are messages already (without envelope).
pub fn encode_list<'a>(
    api_version: &str,
    kind: &str,
    list_meta: &Value,
    items: impl IntoIterator<Item = &'a [u8]>,
) -> Vec<u8> {
    let mut raw = Vec::new();
    let schema = crate::schema::message("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta");
    put::nested(1, &mut raw, |out| schema.into_iter().for_each(|schema| encode_message(schema, list_meta, out)));
    items.into_iter().for_each(|item| put::bytes(2, item, &mut raw));
    envelope(api_version, kind, &raw)
}

/// A watch event: a bare message that carries an object in its envelope.
pub fn watch_event(event_type: &str, object: &[u8]) -> Vec<u8> {
    let mut event = Vec::with_capacity(object.len() + 24);
    put::bytes(1, event_type.as_bytes(), &mut event);
    put::nested(2, &mut event, |out| put::bytes(1, object, out));
    event
}

/// A stream's frame: the length in four bytes, most significant first, then the message.
pub fn frame(message: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(message.len() + 4);
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend_from_slice(message);
    framed
}
