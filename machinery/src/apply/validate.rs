//! Whether an applied configuration fits the schema.

use std::collections::BTreeSet;

use serde_json::Value;

use super::shape::Shape;
use crate::schema::{Field, Schema, Type};

/// Every objection, in upstream's words: `.spec.foo: field not declared in schema`.
pub(super) fn validate(schema: &Schema, config: &Value) -> Result<(), String> {
    let mut errors = Vec::new();
    visit(Shape::Struct(schema), config, "", &mut errors);
    match errors.as_slice() {
        [] => Ok(()),
        [error] => Err(error.clone()),
        errors => Err(format!("errors:\n  {}", errors.join("\n  "))),
    }
}

fn visit(shape: Shape<'_>, value: &Value, path: &str, errors: &mut Vec<String>) {
    let mut refuse = |text: String| errors.push(if path.is_empty() { text } else { format!("{path}: {text}") });
    match (shape, value) {
        (_, Value::Null) | (Shape::Leaf | Shape::Deduced, _) => {}
        (Shape::Struct(_) | Shape::Map(_), Value::Object(map)) => {
            for (name, value) in map {
                let path = format!("{path}.{name}");
                match shape.child(name) {
                    None => errors.push(format!("{path}: field not declared in schema")),
                    Some(inner) => {
                        visit(inner, value, &path, errors);
                        if let Shape::Struct(schema) = shape {
                            schema.field(name).into_iter().for_each(|field| scalar(field, value, &path, errors));
                        }
                    }
                }
            }
        }
        (Shape::Struct(_) | Shape::Map(_), other) => refuse(format!("expected map, got {}", show(other))),
        (Shape::Set | Shape::Keyed(..), Value::Array(list)) => {
            let mut seen = BTreeSet::new();
            for (at, value) in list.iter().enumerate() {
                match shape.element(value) {
                    Err(error) => errors.push(format!("{path}: element {at}: {error}")),
                    Ok(element) => {
                        let shown = super::set::show(std::slice::from_ref(&element));
                        if !seen.insert(element.clone()) {
                            errors.push(format!("{path}: duplicate entries for key {shown}"));
                        }
                        visit(shape.step(&element), value, &format!("{path}{shown}"), errors);
                    }
                }
            }
        }
        (Shape::Set | Shape::Keyed(..), other) => refuse(format!("expected list, got {}", show(other))),
    }
}

fn scalar(field: &Field, value: &Value, path: &str, errors: &mut Vec<String>) {
    let expected = match (&field.ty, value) {
        (_, Value::Null) => return,
        (Type::String | Type::Bytes, value) if !value.is_string() => "string",
        (Type::Int32 | Type::Int64 | Type::Double, value) if !value.is_number() => "numeric (int or float)",
        (Type::Bool, value) if !value.is_boolean() => "boolean",
        _ => return,
    };
    errors.push(format!("{path}: expected {expected}, got {}", show(value)));
}

fn show(value: &Value) -> String {
    match value {
        Value::String(text) => format!("&value.valueUnstructured{{Value:{text:?}}}"),
        other => format!("&{{{other}}}"),
    }
}
