//! Takes a set of fields out of an object.

use serde_json::{Map, Value};

use super::set::FieldSet;
use super::shape::{Shape, field};
use crate::schema::Schema;

/// The object without the set's fields; a container that loses all its content that way stays, empty.
pub(super) fn remove(schema: &Schema, object: &Value, set: &FieldSet) -> Value {
    visit(Shape::Struct(schema), object, set)
}

fn visit(shape: Shape<'_>, value: &Value, set: &FieldSet) -> Value {
    match value {
        Value::Object(map) if shape.is_map(Some(value)) => {
            let kept = map.iter().filter_map(|(name, value)| {
                let element = field(name);
                if set.has(&element) {
                    return None;
                }
                let inner = shape.child(name).unwrap_or(Shape::Deduced);
                let kept = set.below(&element).map_or_else(|| value.clone(), |below| within(inner, value, below));
                Some((name.clone(), kept))
            });
            Value::Object(kept.collect())
        }
        Value::Array(list) if shape.is_list() => {
            let kept = list.iter().filter_map(|value| {
                let Ok(element) = shape.element(value) else { return Some(value.clone()) };
                if set.has(&element) {
                    return None;
                }
                let inner = shape.step(&element);
                Some(set.below(&element).map_or_else(|| value.clone(), |below| within(inner, value, below)))
            });
            Value::Array(kept.collect())
        }
        scalar => scalar.clone(),
    }
}

/// What is owned whole and yet loses something inside loses all.
fn within(shape: Shape<'_>, value: &Value, set: &FieldSet) -> Value {
    match (shape, value) {
        (Shape::Leaf, Value::Object(_)) => Value::Object(Map::new()),
        (Shape::Leaf, Value::Array(_)) => Value::Array(Vec::new()),
        _ => visit(shape, value, set),
    }
}
