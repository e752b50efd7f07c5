//! The fields that an object has.

use std::collections::BTreeSet;

use serde_json::Value;

use super::set::{FieldSet, Node};
use super::shape::{Indexed, Shape, field};
use crate::schema::Schema;

/// Every field that the object states.
pub(super) fn to_set(schema: &Schema, object: &Value) -> FieldSet {
    visit(Shape::Struct(schema), object).below
}

fn visit(shape: Shape<'_>, value: &Value) -> Node {
    let mut node = Node::default();
    match value {
        Value::Object(map) if shape.is_map(Some(value)) => {
            for (name, value) in map {
                let mut below = visit(shape.child(name).unwrap_or(Shape::Deduced), value);
                let bare = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
                below.member |= bare || !shape.names(name);
                node.below.put(field(name), below);
            }
        }
        Value::Array(_) if shape.is_list() => {
            let indexed = Indexed::of(shape, Some(value));
            for element in indexed.order.iter().collect::<BTreeSet<_>>() {
                // What stands more than once is owned as one.
                let one = indexed.one(element).filter(|_| indexed.count(element) == 1);
                let mut below = one.map_or_else(Node::leaf, |value| visit(shape.step(element), value));
                below.member = true;
                node.below.put(element.clone(), below);
            }
        }
        Value::Null if shape.is_list() || matches!(shape, Shape::Struct(_) | Shape::Map(_)) => {}
        _ => node.member = true,
    }
    node
}

/// Marks every stated field above the set's paths as in the set: what removes a field's content removes the field.
pub(super) fn with_named_fields(mut set: FieldSet, shape: Shape<'_>) -> FieldSet {
    mark_named_fields(&mut set, shape);
    set
}

fn mark_named_fields(set: &mut FieldSet, shape: Shape<'_>) {
    set.change_nodes(|element, node| {
        let stated = element.strip_prefix("f:").is_some_and(|name| shape.names(name));
        node.member |= stated && !node.below.is_empty();
        mark_named_fields(&mut node.below, shape.step(element));
    });
}

/// Fits a recorded set to the schema of today: what is owned whole now is owned by its field.
pub(super) fn reconcile(set: &mut FieldSet, shape: Shape<'_>) {
    set.change_nodes(|element, node| {
        if node.below.is_empty() {
            return;
        }
        let inner = shape.step(element);
        let known = element.strip_prefix("f:").is_none_or(|name| shape.names(name));
        match inner {
            Shape::Leaf if known => *node = Node::leaf(),
            _ => reconcile(&mut node.below, inner),
        }
    });
}
