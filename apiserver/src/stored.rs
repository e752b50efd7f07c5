//! Values of the store: JSON, or upstream's protobuf when an etcd changes hands. Both are read; JSON is written.

use bytes::Bytes;
use machinery::gvk::{Gvk, split_api_version};
use machinery::meta;
use machinery::wire;
use serde_json::Value;

use crate::catalogue::Served;

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

/// The bytes in which the server keeps an object of this row: JSON with `apiVersion` and `kind` first.
pub fn canonical(mut object: Value, served: &Served) -> Result<Bytes, String> {
    meta::metadata_mut(&mut object).remove("resourceVersion");
    serde_json::to_vec(&object).map(Bytes::from).map_err(|error| format!("{}: {error}", served.row.gvr()))
}
