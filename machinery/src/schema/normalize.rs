//! What a round trip through Go's structs makes of an object: nulls, unknown fields and empty optional values go, always
//! written fields come with their zero value.
//!
//! Scalars are taken as they are: [`super::decode_json`] and the protobuf decoder give them their canonical form.

use serde_json::{Map, Value};

use super::{Field, Omit, Schema, Type};

/// Brings an object to the form in which the API stores and answers it. A structural schema's own fields are left as they
/// are (nulls too: custom defaulting decides about them).
pub fn normalize(schema: &Schema, object: &mut Value) {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Value::Object(map) = object else { return };
    if schema.structural {
        return structural(schema, map);
    }
    // Mostly nothing goes, and going through a map is cheaper than taking it apart: what goes is marked by a null, which
    // nothing that is kept can be.
    let mut goes = false;
    for (name, value) in map.iter_mut() {
        if !schema.field(name).is_some_and(|field| keep(field, value)) {
            *value = Value::Null;
            goes = true;
        }
    }
    if goes {
        map.retain(|_, value| !value.is_null());
    }
    for field in schema.always_written() {
        if !map.contains_key(field.name.as_ref()) {
            map.insert(field.name.to_string(), written_when_unset(field));
        }
    }
}

/// Inside a custom object only the parts with a Go type (metadata, embedded resources) are brought to their form.
fn structural(schema: &Schema, map: &mut Map<String, Value>) {
    for (name, value) in map.iter_mut() {
        let Some(field) = schema.field(name) else { continue };
        each_message(&field.ty, value, &mut |message, object| {
            if object.is_object() {
                normalize(message, object);
            }
        });
    }
}

fn each_message(ty: &Type, value: &mut Value, visit: &mut impl FnMut(&Schema, &mut Value)) {
    match (ty, value) {
        (Type::Message(message), value) => visit(message, value),
        (Type::List(element) | Type::WrappedList(element), Value::Array(list)) => {
            list.iter_mut().for_each(|value| each_message(element, value, visit));
        }
        (Type::Map(element), Value::Object(map)) => {
            map.values_mut().for_each(|value| each_message(element, value, visit))
        }
        _ => {}
    }
}

/// Brings the value to form; false when it is left out.
fn keep(field: &Field, value: &mut Value) -> bool {
    if value.is_null() {
        return false;
    }
    normalize_value(&field.ty, value);
    if field.pointer {
        return true;
    }
    match field.omit {
        // Stored objects go through protobuf, which does not tell an empty list or map from none.
        Omit::Never => value.is_string() || value.is_number() || value.is_boolean() || !is_empty(&field.ty, value),
        Omit::Empty => !is_empty(&field.ty, value),
        Omit::Zero => !is_empty(&field.ty, value) && !value.as_object().is_some_and(Map::is_empty),
    }
}

fn normalize_value(ty: &Type, value: &mut Value) {
    match ty {
        Type::Message(message) => normalize(message, value),
        Type::List(element) | Type::WrappedList(element) => {
            let Value::Array(list) = value else { return };
            if element.is_plain() && list.iter().all(|value| !value.is_null()) {
                return;
            }
            list.iter_mut().for_each(|value| normalize_element(element, value));
        }
        Type::Map(element) => {
            let Value::Object(map) = value else { return };
            map.values_mut().for_each(|value| normalize_element(element, value));
        }
        Type::Double => shorten(value),
        Type::SchemaOrBool(message) | Type::SchemaOrArray(message) if value.is_object() => normalize(message, value),
        Type::SchemaOrArray(message) => {
            let Value::Array(list) = value else { return };
            list.iter_mut().for_each(|value| normalize(message, value));
        }
        Type::SchemaOrStrings(message) if value.is_object() => normalize(message, value),
        _ => {}
    }
}

fn normalize_element(ty: &Type, value: &mut Value) {
    if value.is_null() {
        *value = if matches!(ty, Type::Bytes) { "".into() } else { zero(ty) };
    }
    normalize_value(ty, value);
}

/// Go writes a whole number without a fraction.
fn shorten(value: &mut Value) {
    let whole = value.as_f64().filter(|number| value.is_f64() && number.fract() == 0.0 && number.abs() < 1e15);
    if let Some(number) = whole {
        *value = Value::from(number as i64);
    }
}

/// Whether Go's `omitempty` leaves the value out (structs are never empty to it).
pub fn is_empty(ty: &Type, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty() && !ty.is_struct(),
        Value::Number(number) => !ty.is_struct() && number.as_f64() == Some(0.0),
        Value::Bool(value) => !value && !ty.is_struct(),
        Value::Array(list) => list.is_empty() && ty.is_list(),
        Value::Object(map) => map.is_empty() && matches!(ty, Type::Map(_)),
    }
}

/// What an always written field holds when nothing was set. A raw extension that is not set is `null`.
fn written_when_unset(field: &Field) -> Value {
    if field.pointer {
        return Value::Null;
    }
    let mut value = zero(&field.ty);
    normalize_value(&field.ty, &mut value);
    value
}

/// A type's zero value as Go writes it.
pub(crate) fn zero(ty: &Type) -> Value {
    match ty {
        Type::String => "".into(),
        Type::Bool => false.into(),
        Type::Int32 | Type::Int64 | Type::Double | Type::IntOrString => 0.into(),
        Type::Quantity => "0".into(),
        Type::Message(_) => Value::Object(Map::new()),
        _ => Value::Null,
    }
}
