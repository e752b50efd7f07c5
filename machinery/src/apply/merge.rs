//! Lays an applied configuration over the live object.

use std::collections::{BTreeSet, VecDeque};

use serde_json::{Map, Value};

use super::set::Element;
use super::shape::{Indexed, Shape, is_bare, zip};
use crate::schema::Schema;

/// The live object with the configuration's fields. Nothing is taken out.
pub(super) fn merge(schema: &Schema, live: &Value, config: &Value) -> Value {
    visit(Shape::Struct(schema), Some(live), Some(config)).unwrap_or_else(|| Value::Object(Map::new()))
}

fn visit(shape: Shape<'_>, live: Option<&Value>, config: Option<&Value>) -> Option<Value> {
    let maps = match shape {
        // A configuration that makes something else of an unknown value replaces it.
        Shape::Deduced => shape.is_map(live) && shape.is_map(config) || (config.is_none() && shape.is_map(live)),
        _ => shape.is_map(None),
    };
    if !(maps || shape.is_list()) || (is_bare(live) && is_bare(config)) {
        return config.or(live).cloned();
    }
    if maps {
        let mut merged = Map::new();
        zip(live, config, |name, live, config| {
            if let Some(value) = visit(shape.child(name).unwrap_or(Shape::Deduced), live, config) {
                merged.insert(name.to_owned(), value);
            }
        });
        return (!merged.is_empty()).then_some(Value::Object(merged));
    }
    let merged = elements(shape, live, config);
    (!merged.is_empty()).then_some(Value::Array(merged))
}

/// The configuration's elements in its order, with the live ones that it does not name kept near where they stood.
fn elements(shape: Shape<'_>, live: Option<&Value>, config: Option<&Value>) -> Vec<Value> {
    let (left, right) = (Indexed::of(shape, live), Indexed::of(shape, config));
    // A live element that stands more than once is not merged with.
    let live_of = |element: &Element| left.one(element).filter(|_| left.count(element) == 1);
    let merged = |element: &Element| visit(shape.step(element), live_of(element), right.one(element));
    let mut shared: VecDeque<&Element> = right.order.iter().filter(|element| left.count(element) > 0).collect();
    let mut next_shared = shared.pop_front();
    let mut done: BTreeSet<&Element> = BTreeSet::new();
    let mut out = Vec::with_capacity(left.order.len().max(right.order.len()));
    let (mut l, mut r) = (0, 0);
    let originals: Vec<&Value> =
        live.and_then(Value::as_array).into_iter().flatten().filter(|value| shape.element(value).is_ok()).collect();
    while l < left.order.len() || r < right.order.len() {
        if let (Some(ours), Some(theirs)) = (left.order.get(l), right.order.get(r)) {
            if ours == theirs {
                done.insert(theirs);
                out.extend(merged(theirs));
                (l, r) = (l + 1, r + 1);
                next_shared = shared.pop_front();
                continue;
            }
            if right.count(ours) > 0 && next_shared.is_some_and(|next| next != ours) {
                l += 1;
                continue;
            }
        }
        if let Some(ours) = left.order.get(l) {
            if right.count(ours) == 0 {
                out.extend(visit(shape.step(ours), Some(originals[l]), None));
                l += 1;
                continue;
            }
            if done.contains(ours) {
                l += 1;
            }
        }
        if let Some(theirs) = right.order.get(r) {
            done.insert(theirs);
            out.extend(merged(theirs));
            r += 1;
            if next_shared == Some(theirs) {
                next_shared = shared.pop_front();
            }
        }
    }
    out
}
