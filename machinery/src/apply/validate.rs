//! Whether an applied configuration fits the schema.

use std::collections::BTreeSet;

use serde_json::Value;

use super::shape::Shape;
use crate::patch::go_type;
use crate::schema::{Schema, Type, go_map};

/// The objections, in upstream's words: `.spec.foo: field not declared in schema`. As there, nothing more is told of a map
/// behind a field that there is not, and of a list behind an element that cannot be told from others.
pub(super) fn validate(schema: &Schema, config: &Value) -> Result<(), String> {
    let mut errors = Vec::new();
    visit_struct(schema, config, "", &mut errors);
    match errors.as_slice() {
        [] => Ok(()),
        [error] => Err(error.clone()),
        errors => Err(format!("errors:\n  {}", errors.join("\n  "))),
    }
}

/// What is owned whole is looked into as well.
fn visit(ty: &Type, shape: Shape<'_>, value: &Value, path: &str, errors: &mut Vec<String>) {
    match (ty, value) {
        (_, Value::Null) => {}
        (Type::Message(schema), value) => visit_struct(schema, value, path, errors),
        (Type::Map(entries), Value::Object(map)) => {
            for (name, value) in map {
                visit(entries, Shape::of_type(entries), value, &format!("{path}.{name}"), errors);
            }
        }
        (Type::List(ty) | Type::WrappedList(ty), Value::Array(list)) => visit_list(ty, shape, list, path, errors),
        (ty, value) => errors.extend(mismatch(ty, value).map(|why| format!("{path}: expected {why}"))),
    }
}

fn visit_struct(schema: &Schema, value: &Value, path: &str, errors: &mut Vec<String>) {
    let Value::Object(map) = value else {
        let at = if path.is_empty() { String::new() } else { format!("{path}: ") };
        return errors.push(format!("{at}expected map, got &{{{}}}", go_map(value)));
    };
    for (name, value) in map {
        let path = format!("{path}.{name}");
        match schema.field(name) {
            Some(field) => visit(&field.ty, Shape::of_field(field), value, &path, errors),
            None if schema.preserve_unknown => {}
            None => {
                errors.push(format!("{path}: field not declared in schema"));
                break;
            }
        }
    }
}

fn visit_list(ty: &Type, shape: Shape<'_>, list: &[Value], path: &str, errors: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (at, value) in list.iter().enumerate() {
        let name = match shape.is_list().then(|| shape.element(value)) {
            None => format!("[{at}]"),
            Some(Ok(element)) => {
                let name = super::set::show(std::slice::from_ref(&element));
                if !seen.insert(element) {
                    errors.push(format!("{path}: duplicate entries for key {name}"));
                }
                name
            }
            Some(Err(error)) => {
                errors.push(format!("{path}: element {at}: {error}"));
                break;
            }
        };
        visit(ty, Shape::of_type(ty), value, &format!("{path}{name}"), errors);
    }
}

/// What was expected in the place of a value that does not fit, and what is there.
fn mismatch(ty: &Type, value: &Value) -> Option<String> {
    let is_scalar = !value.is_object() && !value.is_array();
    let (fits, expected) = match ty {
        Type::String | Type::Bytes => (value.is_string(), "string"),
        Type::Int32 | Type::Int64 | Type::Double => (value.is_number(), "numeric (int or float)"),
        Type::Bool => (value.is_boolean(), "boolean"),
        Type::Quantity | Type::Time | Type::MicroTime => (is_scalar, "any scalar"),
        Type::Map(_) => (false, "map"),
        Type::List(_) | Type::WrappedList(_) => (false, "list"),
        _ => (true, ""),
    };
    let got = || match expected {
        "string" => format!("&value.valueUnstructured{{Value:{}}}", syntax(value)),
        "numeric (int or float)" => go_type(value).to_owned(),
        _ => format!("&{{{}}}", go_map(value)),
    };
    (!fits).then(|| format!("{expected}, got {}", got()))
}

/// As Go's `%#v` shows it.
fn syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::Array(list) => {
            format!("{}{{{}}}", go_type(value), list.iter().map(syntax).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let entries = map.iter().map(|(name, value)| format!("{name:?}:{}", syntax(value)));
            format!("{}{{{}}}", go_type(value), entries.collect::<Vec<_>>().join(", "))
        }
        Value::String(text) => format!("{text:?}"),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}
