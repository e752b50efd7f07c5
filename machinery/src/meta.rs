//! Reading and writing `metadata` of an object tree, and small look-ups that all validation shares.
//!
//! Every accessor is total: a field that is absent or of another type reads as its zero value.

use std::sync::LazyLock;

use serde_json::{Map, Value};

static EMPTY: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);

/// The value at a dotted path of object fields; `Null` when any step is absent.
pub fn at<'a>(object: &'a Value, path: &str) -> &'a Value {
    // By hand: nearly everything is read through here, and `split` costs more than the look-up of a short name.
    let (mut object, mut rest) = (object, path);
    while let Some(dot) = rest.bytes().position(|byte| byte == b'.') {
        object = &object[&rest[..dot]];
        rest = &rest[dot + 1..];
    }
    &object[rest]
}

/// The string at a dotted path, or "".
pub fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    at(object, path).as_str().unwrap_or_default()
}

/// The list at a dotted path, or nothing.
pub fn list<'a>(object: &'a Value, path: &str) -> &'a [Value] {
    at(object, path).as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The map at a dotted path, or an empty one.
pub fn map<'a>(object: &'a Value, path: &str) -> &'a Map<String, Value> {
    at(object, path).as_object().unwrap_or(&EMPTY)
}

pub fn is_true(object: &Value, path: &str) -> bool {
    at(object, path).as_bool().unwrap_or(false)
}

/// The object at `name`, made when it is absent or no object.
pub fn object_mut<'a>(object: &'a mut Value, name: &str) -> &'a mut Map<String, Value> {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    // Both branches above leave an object here.
    let Value::Object(fields) = object else { unreachable!("made an object above") };
    let field = fields.entry(name).or_insert_with(|| Value::Object(Map::new()));
    if !field.is_object() {
        *field = Value::Object(Map::new());
    }
    let Value::Object(fields) = field else { unreachable!("made an object above") };
    fields
}

pub fn metadata_mut(object: &mut Value) -> &mut Map<String, Value> {
    object_mut(object, "metadata")
}

pub fn name(object: &Value) -> &str {
    text(object, "metadata.name")
}

pub fn namespace(object: &Value) -> &str {
    text(object, "metadata.namespace")
}

pub fn uid(object: &Value) -> &str {
    text(object, "metadata.uid")
}

pub fn resource_version(object: &Value) -> &str {
    text(object, "metadata.resourceVersion")
}

pub fn generation(object: &Value) -> i64 {
    at(object, "metadata.generation").as_i64().unwrap_or_default()
}

pub fn is_deleting(object: &Value) -> bool {
    at(object, "metadata.deletionTimestamp").is_string()
}

pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    at(object, "metadata.labels").get(key)?.as_str()
}

pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    at(object, "metadata.annotations").get(key)?.as_str()
}

/// Takes an annotation away, and with the last one what held them.
pub fn remove_annotation(object: &mut Value, key: &str) {
    let metadata = metadata_mut(object);
    let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) else { return };
    if annotations.remove(key).is_some() && annotations.is_empty() {
        metadata.remove("annotations");
    }
}

pub fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    list(object, "metadata.finalizers").iter().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn absent_and_mistyped_fields_read_as_zero() {
        let object = json!({"metadata": {"name": 3, "labels": {"a": "b"}}});
        assert_eq!(name(&object), "");
        assert_eq!(label(&object, "a"), Some("b"));
        assert_eq!(list(&object, "spec.containers").len(), 0);
    }

    #[test]
    fn the_last_annotation_leaves_nothing_behind() {
        let mut object = json!({"metadata": {"name": "x", "annotations": {"a": "1", "b": "2"}}});
        for (key, want) in [("c", json!({"a": "1", "b": "2"})), ("a", json!({"b": "2"})), ("b", Value::Null)] {
            remove_annotation(&mut object, key);
            assert_eq!(at(&object, "metadata.annotations"), &want, "{key}");
        }
        assert_eq!(object, json!({"metadata": {"name": "x"}}));
    }

    #[test]
    fn metadata_is_made_when_missing() {
        let mut object = json!({"metadata": null});
        metadata_mut(&mut object).insert("name".into(), json!("x"));
        assert_eq!(name(&object), "x");
    }
}
