//! What an update does not change, because it may not: each part of an object carries over the others.

use machinery::meta;
use serde_json::Value;

use super::Call;
use super::update::Part;
use crate::kinds::remove_disabled;

/// Puts back what this request may not change, and the version where an update came without one.
pub fn carry_over(new: &mut Value, old: &Value, call: &Call, part: Part, now: &str) {
    let hooks = call.served.hooks;
    match part {
        Part::Main => {
            if call.served.row.has_status() {
                restore(new, old, |name| name == "status");
            }
            (hooks.prepare_update)(new, old);
        }
        Part::Status => {
            restore(new, old, |name| !matches!(name, "status" | "metadata" | "apiVersion" | "kind"));
            (hooks.prepare_status)(new, old);
            (hooks.stamp_status)(new, old, now);
        }
        Part::Owned(paths) => {
            let asked = std::mem::replace(new, old.clone());
            new["metadata"] = asked["metadata"].clone();
            for path in paths {
                set_at(new, path, meta::at(&asked, path).clone());
            }
            (hooks.stamp_status)(new, old, now);
        }
        Part::Portion(_) | Part::Raw => {}
    }
    remove_disabled(new, hooks);
    if matches!(meta::resource_version(new), "" | "0") {
        let version = old["metadata"]["resourceVersion"].clone();
        meta::metadata_mut(new).insert("resourceVersion".into(), version);
    }
}

fn restore(new: &mut Value, old: &Value, belongs: impl Fn(&str) -> bool) {
    let (Some(fields), Some(stored)) = (new.as_object_mut(), old.as_object()) else { return };
    fields.retain(|name, _| !belongs(name));
    fields.extend(stored.iter().filter(|(name, _)| belongs(name)).map(|(name, value)| (name.clone(), value.clone())));
}

/// Puts a value at a dotted path, or takes it away when it is null.
fn set_at(object: &mut Value, path: &str, value: Value) {
    match path.split_once('.') {
        Some((first, rest)) => {
            let mut inner = Value::Object(std::mem::take(meta::object_mut(object, first)));
            set_at(&mut inner, rest, value);
            object[first] = inner;
        }
        None => {
            if let Some(fields) = object.as_object_mut() {
                if value.is_null() {
                    fields.remove(path);
                } else {
                    fields.insert(path.to_owned(), value);
                }
            }
        }
    }
}
