//! The defaults that the facts table states. All others need more than one field and live with the kinds' hooks.

use serde_json::{Map, Value};

use super::{DefaultValue, Field, Schema, Type};

/// Sets stated defaults wherever the object has the struct that holds the field (Kubernetes concept: API defaulting); of a
/// custom resource all that its schema states.
pub fn default_static(schema: &Schema, object: &mut Value) {
    let Value::Object(map) = object else { return };
    if schema.structural {
        return super::custom::default_structural(schema, map);
    }
    for (name, value) in map.iter_mut().filter(|(_, value)| value.is_object() || value.is_array()) {
        if let Some(field) = schema.field(name) {
            descend(&field.ty, value);
        }
    }
    for field in schema.stated_defaults() {
        apply(field, map);
    }
}

fn holds_defaults(ty: &Type) -> bool {
    match ty {
        Type::Message(_) => true,
        Type::List(element) | Type::WrappedList(element) | Type::Map(element) => holds_defaults(element),
        _ => false,
    }
}

pub(super) fn descend(ty: &Type, value: &mut Value) {
    match (ty, value) {
        (Type::Message(message), value) => default_static(message, value),
        (Type::List(element) | Type::WrappedList(element), Value::Array(list)) if holds_defaults(element) => {
            list.iter_mut().for_each(|value| descend(element, value));
        }
        (Type::Map(element), Value::Object(map)) if holds_defaults(element) => {
            map.values_mut().for_each(|value| descend(element, value));
        }
        _ => {}
    }
}

fn apply(field: &Field, map: &mut Map<String, Value>) {
    let DefaultValue::Stated(text) = &field.default else { return };
    let unset = match map.get(field.name.as_ref()) {
        None | Some(Value::Null) => true,
        Some(value) => !field.pointer && super::is_empty(&field.ty, value),
    };
    if !unset {
        return;
    }
    let Ok(default) = serde_json::from_str::<Value>(text) else { return };
    // A zero that is left out anyway need not be set.
    if field.pointer || !super::is_empty(&field.ty, &default) {
        map.insert(field.name.to_string(), default);
    }
}
