//! Texts for `nft -f`: everything, or the difference between what is there and what is wanted. Pure.
//!
//! The kernel takes a text whole or not at all. Within it the order matters: what is named must be there before, and
//! what goes must not be named any more.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::{Map, ServiceTable, base, table};
use crate::iptables::Settings;
use crate::model::Family;

/// The way to have no table of the family's: made first, so that deleting it cannot fail.
pub(crate) fn removal(family: Family) -> String {
    let table = table(family);
    format!("add table {table}\ndelete table {table}\n")
}

/// The whole table anew, in the place of what is there.
pub(crate) fn full(settings: &Settings, services: &BTreeMap<String, Arc<ServiceTable>>) -> String {
    let mut text = removal(settings.family);
    let _ = writeln!(text, "table {} {{", table(settings.family));
    for line in base::body(settings) {
        let _ = writeln!(text, "  {line}");
    }
    text.push_str("}\n");
    let new: Vec<_> = services.values().map(|new| (None, Some(new.clone()))).collect();
    text + &difference(settings.family, &new)
}

/// What a Service had, and has now.
pub(crate) type Change = (Option<Arc<ServiceTable>>, Option<Arc<ServiceTable>>);

/// The text for some Services' changes; empty when nothing differs.
pub(crate) fn difference(family: Family, changes: &[Change]) -> String {
    let empty = ServiceTable::default();
    let table = table(family);
    // A key that one Service gives up may be another's: all deletions come before the first addition.
    let mut parts: [String; 5] = Default::default();
    for (old, new) in changes {
        let (old, new) = (old.as_deref().unwrap_or(&empty), new.as_deref().unwrap_or(&empty));
        declare(&table, old, new, &mut parts[0]);
        rules(&table, old, new, &mut parts[1]);
        elements("delete", &table, old, new, &mut parts[2]);
        elements("add", &table, new, old, &mut parts[3]);
        remove(&table, old, new, &mut parts[4]);
    }
    parts.concat()
}

/// Chains and sets that rules will name. A chain that is there already is emptied.
fn declare(table: &str, old: &ServiceTable, new: &ServiceTable, text: &mut String) {
    for (name, declaration) in new.sets.iter().filter(|(name, _)| !old.sets.contains_key(*name)) {
        let _ = writeln!(text, "add set {table} {name} {{ {declaration} }}");
    }
    for (name, rules) in &new.chains {
        match old.chains.get(name) {
            None => {
                let _ = writeln!(text, "add chain {table} {name}");
            }
            Some(known) if known != rules => {
                let _ = writeln!(text, "flush chain {table} {name}");
            }
            Some(_) => {}
        }
    }
}

fn rules(table: &str, old: &ServiceTable, new: &ServiceTable, text: &mut String) {
    for (name, rules) in new.chains.iter().filter(|(name, rules)| old.chains.get(*name) != Some(*rules)) {
        for rule in rules {
            let _ = writeln!(text, "add rule {table} {name} {rule}");
        }
    }
}

/// Deletes, or adds, what the one has and the other has not.
fn elements(verb: &str, table: &str, one: &ServiceTable, other: &ServiceTable, text: &mut String) {
    let differs = |(key, verdict): &(&(Map, String), &String)| other.elements.get(*key) != Some(*verdict);
    for ((map, key), verdict) in one.elements.iter().filter(differs) {
        let _ = writeln!(text, "{verb} element {table} {} {{ {key} : {verdict} }}", map.name());
    }
}

/// Chains name each other, so all are emptied before the first goes.
fn remove(table: &str, old: &ServiceTable, new: &ServiceTable, text: &mut String) {
    let gone = || old.chains.keys().filter(|name| !new.chains.contains_key(*name));
    for verb in ["flush", "delete"] {
        for name in gone() {
            let _ = writeln!(text, "{verb} chain {table} {name}");
        }
    }
    for name in old.sets.keys().filter(|name| !new.sets.contains_key(*name)) {
        let _ = writeln!(text, "delete set {table} {name}");
    }
}
