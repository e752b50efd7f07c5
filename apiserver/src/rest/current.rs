//! An object as it is stored, taken apart for a change, and put together for the store.

use machinery::meta;
use machinery::status::Status;
use serde_json::{Map, Value};

use super::params::unsigned;
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
        let object = serde_json::from_slice(&item.body).map_err(|error| not_json(&error))?;
        Ok(Self { object, revision: item.revision })
    }

    /// From the store itself, after a conflict told that the cache was behind.
    pub fn from_entry(entry: &Entry) -> Result<Self, Status> {
        let mut object = crate::stored::decode(&entry.value).map_err(Status::internal_error)?;
        set_resource_version(&mut object, entry.modified);
        Ok(Self { object, revision: entry.modified })
    }
}

pub fn not_json(error: &serde_json::Error) -> Status {
    Status::internal_error(format!("stored object is not JSON: {error}"))
}

pub fn set_resource_version(object: &mut Value, revision: Revision) {
    meta::metadata_mut(object).insert("resourceVersion".into(), revision.to_string().into());
}

/// The version that an object names, which must be a number.
pub fn named_version(object: &Value) -> Result<&str, Status> {
    let version = meta::resource_version(object);
    if !version.is_empty() {
        unsigned::<u64>(version).map_err(Status::unexplained)?;
    }
    Ok(version)
}

/// Of an object that an update or an applied configuration makes: the version that it names counts for nothing.
pub fn forget_version(new: &mut Value) -> Result<(), Status> {
    named_version(new)?;
    meta::metadata_mut(new).remove("resourceVersion");
    Ok(())
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
    is_same_without("resourceVersion", new, old, |name, new, old| match (name, new, old) {
        ("managedFields", Value::Array(new), Value::Array(old)) => {
            let is_same_entry =
                |(new, old): (&Value, &Value)| is_same_without("time", new, old, |_, new, old| new == old);
            new.len() == old.len() && new.iter().zip(old).all(is_same_entry)
        }
        _ => new == old,
    })
}

/// Whether two objects have the same fields but for one, which either may have or not.
fn is_same_without(ignored: &str, new: &Value, old: &Value, is_same: impl Fn(&str, &Value, &Value) -> bool) -> bool {
    let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else { return new == old };
    let fields = |object: &Map<String, Value>| object.len() - usize::from(object.contains_key(ignored));
    fields(new) == fields(old)
        && new
            .iter()
            .filter(|(name, _)| *name != ignored)
            .all(|(name, value)| old.get(name).is_some_and(|before| is_same(name, value, before)))
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
        new["data"] = json!({});
        for changed in [
            json!({"managedFields": [{"manager": "b", "time": "x"}]}),
            json!({"managedFields": []}),
            json!({"managedFields": [{"manager": "a", "time": "x"}], "labels": {}}),
            json!({}),
        ] {
            new["metadata"] = changed;
            assert!(!is_same(&new, &old), "{new}");
        }
    }
}
