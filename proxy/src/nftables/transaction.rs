//! The steps of a transaction: everything, or the difference between what is there and what is wanted. Pure.
//!
//! The kernel takes a transaction whole or not at all. Within it the order matters: what is named must be there before,
//! and what goes must not be named any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::base::Base;
use super::operation::{Operation, Step};
use super::{Place, ServiceTable};
use crate::syncer::Change;

/// The way to have no table of the family's: made first, so that deleting it cannot fail.
pub(crate) fn removal() -> Vec<Step<'static>> {
    Place::all().flat_map(|place| [Operation::AddTable.at(place), Operation::DeleteTable.at(place)]).collect()
}

/// All tables anew, in the place of what is there.
pub(crate) fn full<'a>(base: &'a Base, services: &'a BTreeMap<String, Arc<ServiceTable>>) -> Vec<Step<'a>> {
    let mut steps = removal();
    steps.extend(Place::all().map(|place| Operation::AddTable.at(place)));
    steps.extend(base.steps());
    let mut parts = Parts::default();
    for new in services.values() {
        parts.add(&NOTHING, new);
    }
    steps.extend(parts.in_order());
    steps
}

/// The steps for some Services' changes; none when nothing differs.
pub(crate) fn difference(changes: &[Change<ServiceTable>]) -> Vec<Step<'_>> {
    let mut parts = Parts::default();
    for (old, new) in changes {
        parts.add(old.as_deref().unwrap_or(&NOTHING), new.as_deref().unwrap_or(&NOTHING));
    }
    parts.in_order()
}

static NOTHING: ServiceTable =
    ServiceTable { shard: Place::Main, chains: BTreeMap::new(), sets: BTreeSet::new(), elements: BTreeMap::new() };

/// Steps by their place in the transaction. A key that one Service gives up may be another's: all deletions of elements
/// come before the first addition.
#[derive(Default)]
struct Parts<'a> {
    declarations: Vec<Step<'a>>,
    rules: Vec<Step<'a>>,
    deletions: Vec<Step<'a>>,
    additions: Vec<Step<'a>>,
    removals: Vec<Step<'a>>,
}

impl<'a> Parts<'a> {
    fn add(&mut self, old: &'a ServiceTable, new: &'a ServiceTable) {
        self.declare(old, new);
        for ((place, chain), rules) in new.chains.iter().filter(|(key, rules)| old.chains.get(*key) != Some(*rules)) {
            self.rules.extend(rules.iter().map(|rule| Operation::AddRule { chain, rule }.at(*place)));
        }
        for ((map, key), verdict) in
            old.elements.iter().filter(|(key, verdict)| new.elements.get(*key) != Some(*verdict))
        {
            self.deletions.push(Operation::DeleteElement { map: *map, key, verdict }.at(map.place(old)));
        }
        for ((map, key), verdict) in
            new.elements.iter().filter(|(key, verdict)| old.elements.get(*key) != Some(*verdict))
        {
            self.additions.push(Operation::AddElement { map: *map, key, verdict }.at(map.place(new)));
        }
        self.remove(old, new);
    }

    /// Chains and sets that rules will name. A chain that is there already is emptied.
    fn declare(&mut self, old: &'a ServiceTable, new: &'a ServiceTable) {
        self.declarations.extend(new.sets.difference(&old.sets).map(|name| Operation::AddSet(name).at(new.shard)));
        for (key, rules) in &new.chains {
            let (place, name) = (key.0, key.1.as_str());
            match old.chains.get(key) {
                None => self.declarations.push(Operation::AddChain { name, hook: None }.at(place)),
                Some(known) if known != rules => self.declarations.push(Operation::FlushChain(name).at(place)),
                Some(_) => {}
            }
        }
    }

    /// Chains name each other, so all are emptied before the first goes.
    fn remove(&mut self, old: &'a ServiceTable, new: &'a ServiceTable) {
        let gone = || old.chains.keys().filter(|key| !new.chains.contains_key(*key));
        self.removals.extend(gone().map(|(place, name)| Operation::FlushChain(name).at(*place)));
        self.removals.extend(gone().map(|(place, name)| Operation::DeleteChain(name).at(*place)));
        self.removals.extend(old.sets.difference(&new.sets).map(|name| Operation::DeleteSet(name).at(old.shard)));
    }

    fn in_order(self) -> Vec<Step<'a>> {
        [self.declarations, self.rules, self.deletions, self.additions, self.removals].concat()
    }
}
