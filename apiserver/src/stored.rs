//! Values of the store: JSON, or upstream's protobuf. Both are read, whichever is written (`--storage-media-type`).

use std::io;

use bytes::Bytes;
use machinery::gvk::{Gvk, split_api_version};
use machinery::schema::Schema;
use machinery::wire;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};

use crate::go_json;

/// In which form objects are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    Json,
    Protobuf,
}

impl Media {
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "application/json" => Some(Self::Json),
            "application/vnd.kubernetes.protobuf" => Some(Self::Protobuf),
            _ => None,
        }
    }

    /// The bytes to store. What has no protobuf form (a custom resource) is JSON in either case.
    pub fn encode(self, object: &Value) -> serde_json::Result<Bytes> {
        let schema = match self {
            Self::Json => None,
            Self::Protobuf => schema_of(object),
        };
        let Some(schema) = schema else { return encode(object) };
        // The version is the store's to say.
        let mut object = object.clone();
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("resourceVersion");
        }
        Ok(wire::encode(schema, &object).into())
    }
}

fn schema_of(object: &Value) -> Option<&'static Schema> {
    let (group, version) = split_api_version(object["apiVersion"].as_str()?)?;
    machinery::schema::builtin(&Gvk::new(group, version, object["kind"].as_str()?))
}

pub fn is_json(value: &[u8]) -> bool {
    !wire::is_protobuf(value)
}

/// The object that a value holds, in its API form.
pub fn decode(value: &[u8]) -> Result<Value, String> {
    if is_json(value) {
        return serde_json::from_slice(value).map_err(|error| error.to_string());
    }
    let envelope = wire::open(value).map_err(|error| error.to_string())?;
    let (group, version) = split_api_version(&envelope.type_meta.api_version).ok_or("no apiVersion in the envelope")?;
    let gvk = Gvk::new(group, version, &envelope.type_meta.kind);
    let schema = machinery::schema::builtin(&gvk).ok_or_else(|| format!("no schema for {gvk}"))?;
    wire::decode(schema, value).map_err(|error| error.to_string())
}

/// The bytes in which the server keeps an object: JSON with `apiVersion` and `kind` first, which a list of one kind can
/// then leave out by cutting, with Go's escapes, and without `metadata.resourceVersion`, which is the store's to say.
pub fn encode(object: &Value) -> serde_json::Result<Bytes> {
    // Of most objects room enough: a buffer that grows is copied each time.
    let mut text = Text(Vec::with_capacity(4096));
    serde_json::to_writer(&mut text, &Stored(object))?;
    let mut text = go_json::text(text.0);
    // What is kept should not keep the room.
    text.shrink_to_fit();
    Ok(text.into())
}

/// Takes JSON, of which every third piece is a single mark: those are not worth a copy's call.
struct Text(Vec<u8>);

impl io::Write for Text {
    #[inline(always)]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    #[inline(always)]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match bytes {
            [byte] => self.0.push(*byte),
            _ => self.0.extend_from_slice(bytes),
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const FIRST: [&str; 2] = ["apiVersion", "kind"];

struct Stored<'a>(&'a Value);

impl Serialize for Stored<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(fields) = self.0.as_object() else { return self.0.serialize(serializer) };
        let mut map = serializer.serialize_map(None)?;
        for name in FIRST {
            if let Some(value) = fields.get(name) {
                map.serialize_entry(name, value)?;
            }
        }
        for (name, value) in fields.iter().filter(|(name, _)| !FIRST.contains(&name.as_str())) {
            match value.as_object().filter(|_| name == "metadata") {
                Some(metadata) => map.serialize_entry(name, &StoredMetadata(metadata))?,
                None => map.serialize_entry(name, value)?,
            }
        }
        map.end()
    }
}

struct StoredMetadata<'a>(&'a Map<String, Value>);

impl Serialize for StoredMetadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().filter(|(name, _)| *name != "resourceVersion"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn protobuf_comes_back_as_it_was() {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"},
            "metadata": {"name": "a", "namespace": "n", "resourceVersion": "7"},
        });
        let bytes = Media::Protobuf.encode(&object).unwrap();
        assert!(!is_json(&bytes));
        let read = decode(&bytes).unwrap();
        assert_eq!((&read["data"], &read["metadata"]["name"]), (&object["data"], &json!("a")));
        assert!(read["metadata"].get("resourceVersion").is_none());
        let custom = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {}});
        assert!(is_json(&Media::Protobuf.encode(&custom).unwrap()));
    }

    #[test]
    fn says_what_it_is_first_and_no_resource_version() {
        for (object, want) in [
            (
                json!({"data": {}, "kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a", "resourceVersion": "7"}}),
                r#"{"apiVersion":"v1","kind":"ConfigMap","data":{},"metadata":{"name":"a"}}"#,
            ),
            (json!({"metadata": {"resourceVersion": "7"}}), r#"{"metadata":{}}"#),
            (json!({"metadata": {}, "data": {"a": "<&>"}}), r#"{"data":{"a":"\u003c\u0026\u003e"},"metadata":{}}"#),
            (json!({"metadata": null, "resourceVersion": "7"}), r#"{"metadata":null,"resourceVersion":"7"}"#),
        ] {
            assert_eq!(encode(&object).unwrap(), want);
        }
    }
}
