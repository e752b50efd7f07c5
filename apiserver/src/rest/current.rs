//! An object as it is stored, taken apart for a change, and put together for the store.

use machinery::meta;
use machinery::status::Status;
use serde_json::Value;

use crate::cache::Item;
use crate::store::{Entry, Revision};

/// A stored object with the revision that a change of it must name.
#[derive(Clone, Debug)]
pub struct Current {
    pub object: Value,
    pub revision: Revision,
}

impl Current {
    pub fn from_item(item: &Item) -> Result<Self, Status> {
        Ok(Self { object: parse(&item.body)?, revision: item.revision })
    }

    /// From the store itself, after a conflict told that the cache was behind.
    pub fn from_entry(entry: &Entry) -> Result<Self, Status> {
        let mut object = crate::stored::decode(&entry.value).map_err(Status::internal_error)?;
        set_resource_version(&mut object, entry.modified);
        Ok(Self { object, revision: entry.modified })
    }
}

fn parse(body: &[u8]) -> Result<Value, Status> {
    serde_json::from_slice(body).map_err(|error| Status::internal_error(format!("stored object is not JSON: {error}")))
}

pub fn set_resource_version(object: &mut Value, revision: Revision) {
    meta::metadata_mut(object).insert("resourceVersion".into(), revision.to_string().into());
}

/// Whether a write would change anything but the times in `managedFields`.
pub fn is_same(new: &Value, old: &Value) -> bool {
    let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else { return new == old };
    new.len() == old.len()
        && new.iter().all(|(name, value)| match old.get(name) {
            Some(before) if name == "metadata" => is_same_metadata(value, before),
            Some(before) => value == before,
            None => false,
        })
}

fn is_same_metadata(new: &Value, old: &Value) -> bool {
    let strip = |metadata: &Value| {
        let mut metadata = metadata.clone();
        if let Some(fields) = metadata.as_object_mut() {
            fields.remove("resourceVersion");
            if let Some(entries) = fields.get_mut("managedFields").and_then(Value::as_array_mut) {
                entries.iter_mut().filter_map(Value::as_object_mut).for_each(|entry| {
                    entry.remove("time");
                });
            }
        }
        metadata
    };
    strip(new) == strip(old)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_new_time_of_a_manager_is_no_change() {
        let old =
            json!({"metadata": {"resourceVersion": "1", "managedFields": [{"manager": "a", "time": "x"}]}, "data": {}});
        let mut new = json!({"metadata": {"managedFields": [{"manager": "a", "time": "y"}]}, "data": {}});
        assert!(is_same(&new, &old));
        new["data"]["k"] = json!("v");
        assert!(!is_same(&new, &old));
    }
}
