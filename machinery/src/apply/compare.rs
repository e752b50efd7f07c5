//! Which fields differ between two states of an object.

use std::cell::Cell;
use std::collections::BTreeSet;

use serde_json::Value;

use super::set::{Element, FieldSet, Node};
use super::shape::{Indexed, Shape, field, is_bare, zip};
use crate::schema::Schema;

/// The difference of two objects as three sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    pub added: FieldSet,
    pub modified: FieldSet,
    pub removed: FieldSet,
    /// A list has an element that cannot be named, so nobody can be said to own what is in it.
    pub malformed: bool,
}

/// Compares two objects of the schema.
pub fn compare(schema: &Schema, old: &Value, new: &Value) -> Comparison {
    let malformed = Cell::new(false);
    let found = visit(Shape::Struct(schema), Some(old), Some(new), &malformed);
    let malformed = malformed.get();
    Comparison { added: found.added.below, modified: found.modified.below, removed: found.removed.below, malformed }
}

impl Comparison {
    /// Leaves out the fields and all below them.
    pub(super) fn without(mut self, ignored: &FieldSet) -> Self {
        [&mut self.added, &mut self.modified, &mut self.removed]
            .into_iter()
            .for_each(|set| set.subtract_recursively(ignored));
        self
    }

    /// What the new state states otherwise than the old one.
    pub(super) fn gained(self) -> FieldSet {
        let mut gained = self.modified;
        gained.add(self.added);
        gained
    }
}

/// The difference at one place.
#[derive(Default)]
struct Found {
    added: Node,
    modified: Node,
    removed: Node,
}

impl Found {
    fn put(&mut self, element: Element, found: Self) {
        let sets =
            [(&mut self.added, found.added), (&mut self.modified, found.modified), (&mut self.removed, found.removed)];
        let mut sets = sets.into_iter().filter(|(_, node)| !node.is_empty()).peekable();
        while let Some((set, node)) = sets.next() {
            // Mostly there is one: it takes the name itself.
            if sets.peek().is_none() {
                return set.below.put(element, node);
            }
            set.below.put(element.clone(), node);
        }
    }
}

fn visit(shape: Shape<'_>, old: Option<&Value>, new: Option<&Value>, malformed: &Cell<bool>) -> Found {
    if let (None, Some(new)) = (old, new) {
        return Found { added: all_of(shape, new, malformed), ..Found::default() };
    }
    let maps = shape.is_map(old) || shape.is_map(new);
    // Two empty ones are a leaf: that keeps empty and absent apart.
    if !(maps || shape.is_list()) || (is_bare(old) && is_bare(new)) {
        return leaf(old, new);
    }
    let mut found = match maps {
        true => fields(shape, old, new, malformed),
        false => elements(shape, old, new, malformed),
    };
    found.removed.member |= new.is_none();
    found
}

/// A place that was not there before, with all below it.
fn all_of(shape: Shape<'_>, new: &Value, malformed: &Cell<bool>) -> Node {
    let mut node = Node::leaf();
    if is_bare(Some(new)) {
        return node;
    }
    if let (true, Some(map)) = (shape.is_map(Some(new)), new.as_object()) {
        for (name, value) in map {
            node.below.put(field(name), all_of(shape.child(name).unwrap_or(Shape::Deduced), value, malformed));
        }
    } else if shape.is_list() {
        let indexed = Indexed::of(shape, Some(new));
        malformed.set(malformed.get() || indexed.malformed);
        for (element, values) in indexed.values {
            let below = match values.as_slice() {
                [one] => all_of(shape.step(&element), one, malformed),
                _ => Node::leaf(),
            };
            node.below.put(element, below);
        }
    }
    node
}

fn leaf(old: Option<&Value>, new: Option<&Value>) -> Found {
    let mut found = Found::default();
    match (old, new) {
        (Some(old), Some(new)) => found.modified.member = old != new,
        (Some(_), None) => found.removed.member = true,
        (None, _) => {}
    }
    found
}

fn fields(shape: Shape<'_>, old: Option<&Value>, new: Option<&Value>, malformed: &Cell<bool>) -> Found {
    let mut found = Found::default();
    zip(old, new, |name, old, new| {
        let below = visit(shape.child(name).unwrap_or(Shape::Deduced), old, new, malformed);
        found.put(field(name), below);
    });
    found
}

fn elements(shape: Shape<'_>, old: Option<&Value>, new: Option<&Value>, malformed: &Cell<bool>) -> Found {
    let mut found = Found::default();
    if old == new {
        return found;
    }
    let (old, new) = (Indexed::of(shape, old), Indexed::of(shape, new));
    malformed.set(malformed.get() || old.malformed || new.malformed);
    let elements: BTreeSet<&Element> = old.order.iter().chain(&new.order).collect();
    for element in elements {
        let inner = shape.step(element);
        // What stands more than once is compared as one.
        let below = match (old.count(element), new.count(element)) {
            (0..=1, 0..=1) => visit(inner, old.one(element), new.one(element), malformed),
            (2.., 2..) => {
                let differ = old.values.get(element) != new.values.get(element);
                Found { modified: Node { member: differ, ..Node::default() }, ..Found::default() }
            }
            (2.., after) => {
                let below = if after > 0 { visit(inner, None, new.one(element), malformed) } else { Found::default() };
                Found { removed: Node::leaf(), ..below }
            }
            (before, _) => {
                let below = if before > 0 { visit(inner, old.one(element), None, malformed) } else { Found::default() };
                Found { added: Node::leaf(), ..below }
            }
        };
        found.put(element.clone(), below);
    }
    found
}
