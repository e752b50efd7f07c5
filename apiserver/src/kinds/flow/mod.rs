//! Kinds of flowcontrol.apiserver.k8s.io (Kubernetes concept: "API Priority and Fairness").
//!
//! One file a kind; [`standard`] is what every cluster has.

pub mod level;
pub mod schema;
pub mod standard;

use serde_json::Value;

/// A status update changes nothing of the metadata.
fn keep_all_metadata(new: &mut Value, old: &Value) {
    let mut metadata = old["metadata"].clone();
    for field in ["managedFields", "resourceVersion"] {
        match (new["metadata"].get(field).cloned(), metadata.as_object_mut()) {
            (Some(value), Some(fields)) => fields.insert(field.to_owned(), value),
            (None, Some(fields)) => fields.remove(field),
            (_, None) => None,
        };
    }
    new["metadata"] = metadata;
}
