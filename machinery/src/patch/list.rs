//! The order of a merged list: elements that the patch names keep the patch's order, the others the live order, and the two
//! are interleaved by the live order as far as it goes.

use serde_json::Value;

use super::PatchError;
use crate::schema::go_map;

/// Names elements: by a field of theirs, or, without a key, by themselves.
pub(super) struct ByKey<'a>(pub(super) &'a str);

impl ByKey<'_> {
    pub(super) fn of<'v>(&self, element: &'v Value) -> Result<&'v Value, PatchError> {
        if self.0.is_empty() {
            return Ok(element);
        }
        element.get(self.0).ok_or_else(|| {
            PatchError::Broken(format!("map: {} does not contain declared merge key: {}", go_map(element), self.0))
        })
    }

    fn position(&self, list: &[Value], element: &Value) -> Option<usize> {
        let name = self.of(element).ok()?;
        list.iter().position(|other| self.of(other).is_ok_and(|other| other == name))
    }
}

/// Elements that `by` names, and the rest. Error: an element without its key.
pub(super) fn partition(
    list: Vec<Value>,
    by: &[Value],
    key: &ByKey<'_>,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    list.iter().try_for_each(|element| key.of(element).map(|_| ()))?;
    Ok(list.into_iter().partition(|element| key.position(by, element).is_some()))
}

/// Interleaves the elements that the patch names with those it does not.
pub(super) fn in_order(
    mut named: Vec<Value>,
    mut others: Vec<Value>,
    patch_order: &[Value],
    live_order: &[Value],
    key: &ByKey<'_>,
) -> Vec<Value> {
    named.sort_by_key(|element| key.position(patch_order, element).unwrap_or(usize::MAX));
    others.sort_by_key(|element| key.position(live_order, element).unwrap_or(usize::MAX));
    let mut merged = Vec::with_capacity(named.len() + others.len());
    let mut others = others.into_iter().peekable();
    for element in named {
        let place = key.position(live_order, &element);
        while let Some(other) = others.next_if(|other| match (key.position(live_order, other), place) {
            (Some(other), Some(place)) => other < place,
            _ => false,
        }) {
            merged.push(other);
        }
        merged.push(element);
    }
    merged.extend(others);
    merged
}
