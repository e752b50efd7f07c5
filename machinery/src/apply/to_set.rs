//! The fields that an object has.

use std::collections::BTreeSet;

use serde_json::Value;

use super::set::{Element, FieldSet};
use super::shape::{Indexed, Shape, field};
use crate::schema::Schema;

/// Every field that the object states.
pub(super) fn to_set(schema: &Schema, object: &Value) -> FieldSet {
    let mut set = FieldSet::default();
    visit(Shape::Struct(schema), object, &mut Vec::new(), &mut set);
    set
}

fn visit(shape: Shape<'_>, value: &Value, path: &mut Vec<Element>, set: &mut FieldSet) {
    match value {
        Value::Object(map) if shape.is_map(Some(value)) => {
            for (name, value) in map {
                path.push(field(name));
                visit(shape.child(name).unwrap_or(Shape::Deduced), value, path, set);
                let bare = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
                if bare || !shape.names(name) {
                    set.insert(path);
                }
                path.pop();
            }
        }
        Value::Array(_) if shape.is_list() => {
            let indexed = Indexed::of(shape, Some(value));
            for element in indexed.order.iter().collect::<BTreeSet<_>>() {
                path.push(element.clone());
                // What stands more than once is owned as one.
                if indexed.count(element) == 1
                    && let Some(value) = indexed.one(element)
                {
                    visit(shape.step(element), value, path, set);
                }
                set.insert(path);
                path.pop();
            }
        }
        Value::Null if shape.is_list() || matches!(shape, Shape::Struct(_) | Shape::Map(_)) => {}
        _ => set.insert(path),
    }
}

/// Marks every stated field above the set's paths as in the set: what removes a field's content removes the field.
pub(super) fn with_named_fields(set: &FieldSet, shape: Shape<'_>) -> FieldSet {
    set.map_nodes(|element, member, below| {
        let named = element.strip_prefix("f:").is_some_and(|name| shape.names(name)) && !below.is_empty();
        (member || named, with_named_fields(below, shape.step(element)))
    })
}

/// Fits a recorded set to the schema of today: what is owned whole now is owned by its field.
pub(super) fn reconcile(set: &FieldSet, shape: Shape<'_>) -> FieldSet {
    set.map_nodes(|element, member, below| {
        let inner = shape.step(element);
        let known = element.strip_prefix("f:").is_none_or(|name| shape.names(name));
        match inner {
            Shape::Leaf if known && !below.is_empty() => (true, FieldSet::default()),
            _ => (member, reconcile(below, inner)),
        }
    })
}
