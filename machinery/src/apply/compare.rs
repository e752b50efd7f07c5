//! Which fields differ between two states of an object.

use serde_json::Value;

use super::set::{Element, FieldSet};
use super::shape::{Indexed, Shape, field, is_bare, names};
use crate::schema::Schema;

/// The difference of two objects as three sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    pub added: FieldSet,
    pub modified: FieldSet,
    pub removed: FieldSet,
}

/// Compares two objects of the schema.
pub fn compare(schema: &Schema, old: &Value, new: &Value) -> Comparison {
    let mut walk = Walk::default();
    walk.visit(Shape::Struct(schema), Some(old), Some(new));
    walk.found
}

impl Comparison {
    /// Leaves out the fields and all below them.
    pub(super) fn without(self, ignored: &FieldSet) -> Self {
        Self {
            added: self.added.recursive_difference(ignored),
            modified: self.modified.recursive_difference(ignored),
            removed: self.removed.recursive_difference(ignored),
        }
    }
}

#[derive(Default)]
struct Walk {
    path: Vec<Element>,
    found: Comparison,
}

impl Walk {
    fn visit(&mut self, shape: Shape<'_>, old: Option<&Value>, new: Option<&Value>) {
        let maps = shape.is_map(old) || shape.is_map(new);
        // Two empty ones are a leaf: that keeps empty and absent apart.
        if !(maps || shape.is_list()) || (is_bare(old) && is_bare(new)) {
            return self.leaf(old, new);
        }
        if maps {
            for name in names(old, new) {
                let old = old.and_then(|value| value.get(name));
                let new = new.and_then(|value| value.get(name));
                self.below(field(name), shape.child(name).unwrap_or(Shape::Deduced), old, new);
            }
        } else {
            self.elements(shape, old, new);
        }
        match (old, new) {
            (None, _) => self.found.added.insert(&self.path),
            (_, None) => self.found.removed.insert(&self.path),
            _ => {}
        }
    }

    fn leaf(&mut self, old: Option<&Value>, new: Option<&Value>) {
        match (old, new) {
            (None, _) => self.found.added.insert(&self.path),
            (_, None) => self.found.removed.insert(&self.path),
            (Some(old), Some(new)) if old != new => self.found.modified.insert(&self.path),
            _ => {}
        }
    }

    fn below(&mut self, element: Element, shape: Shape<'_>, old: Option<&Value>, new: Option<&Value>) {
        self.path.push(element);
        self.visit(shape, old, new);
        self.path.pop();
    }

    fn elements(&mut self, shape: Shape<'_>, old: Option<&Value>, new: Option<&Value>) {
        let (old, new) = (Indexed::of(shape, old), Indexed::of(shape, new));
        let elements: std::collections::BTreeSet<&Element> = old.order.iter().chain(&new.order).collect();
        for element in elements {
            let inner = shape.step(element);
            // What stands more than once is compared as one.
            match (old.count(element), new.count(element)) {
                (0..=1, 0..=1) => self.below(element.clone(), inner, old.one(element), new.one(element)),
                (2.., 2..) if old.values.get(element) != new.values.get(element) => {
                    self.mark(element, |found| &mut found.modified);
                }
                (2.., 2..) => {}
                (2.., after) => {
                    if after > 0 {
                        self.below(element.clone(), inner, None, new.one(element));
                    }
                    self.mark(element, |found| &mut found.removed);
                }
                (before, _) => {
                    if before > 0 {
                        self.below(element.clone(), inner, old.one(element), None);
                    }
                    self.mark(element, |found| &mut found.added);
                }
            }
        }
    }

    fn mark(&mut self, element: &Element, which: impl Fn(&mut Comparison) -> &mut FieldSet) {
        self.path.push(element.clone());
        which(&mut self.found).insert(&self.path);
        self.path.pop();
    }
}
