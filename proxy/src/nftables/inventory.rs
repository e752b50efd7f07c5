//! What the kernel should count of our chains, against what it counts. Pure.
//!
//! A chain's uses are its rules and whatever leads to it: rules and elements. So a chain that was flushed, a rule or an
//! element that was taken out, and one that was put in show as another number, without a look at any rule.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::base::Base;
use super::netlink::Uses;
use super::rule::{Part, Rule, Verdict};
use super::{Place, ServiceTable};

/// Uses by chain.
#[derive(Debug, Default)]
pub(crate) struct Inventory<'a>(HashMap<(Place, &'a str), u32>);

impl<'a> Inventory<'a> {
    pub(crate) fn new(base: &'a Base, services: &'a BTreeMap<String, Arc<ServiceTable>>) -> Inventory<'a> {
        let mut inventory = Inventory::default();
        for chain in &base.chains {
            inventory.chain(chain.place, chain.name, &chain.rules);
        }
        for table in services.values() {
            table.chains.iter().for_each(|((place, name), rules)| inventory.chain(*place, name, rules));
            for ((map, _), verdict) in &table.elements {
                inventory.verdict(map.place(table), verdict);
            }
        }
        inventory
    }

    fn chain(&mut self, place: Place, name: &'a str, rules: &'a [Rule]) {
        self.count(place, name, rules.len() as u32);
        for part in rules.iter().flatten() {
            match part {
                Part::Do(verdict) => self.verdict(place, verdict),
                Part::Choose(chains) => chains.iter().for_each(|chain| self.count(place, chain, 1)),
                _ => {}
            }
        }
    }

    fn verdict(&mut self, place: Place, verdict: &'a Verdict) {
        if let Verdict::Jump(chain) | Verdict::Goto(chain) = verdict {
            self.count(place, chain, 1);
        }
    }

    fn count(&mut self, place: Place, chain: &'a str, uses: u32) {
        *self.0.entry((place, chain)).or_default() += uses;
    }

    /// A chain of ours that is not as it should be.
    pub(crate) fn damaged(&self, found: &Uses) -> Option<(Place, &'a str)> {
        let is_whole = |place: &Place, chain: &str, uses: u32| {
            found.get(place).and_then(|chains| chains.get(chain)).is_some_and(|found| *found == uses)
        };
        self.0.iter().find(|((place, chain), uses)| !is_whole(place, chain, **uses)).map(|(key, _)| *key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Family;
    use crate::nftables::tests::{compile, of_outside};
    use crate::testkit::settings;

    #[test]
    fn whatever_is_taken_away_shows() {
        let settings = settings(Family::V4);
        let base = Base::new(&settings);
        let name = |at: usize| format!("ns/{at}");
        let tables: BTreeMap<_, _> =
            of_outside().iter().enumerate().map(|(at, both)| (name(at), compile(&settings, both))).collect();
        let inventory = Inventory::new(&base, &tables);
        let mut found = Uses::new();
        for ((place, chain), uses) in &inventory.0 {
            found.entry(*place).or_default().insert((*chain).to_owned(), *uses);
        }
        assert_eq!(inventory.damaged(&found), None);
        found.entry(Place::Main).or_default().insert("of somebody else".into(), 7);
        assert_eq!(inventory.damaged(&found), None);
        // One element less leads to the chain that refuses.
        *found.get_mut(&Place::Main).unwrap().get_mut("reject-chain").unwrap() -= 1;
        assert_eq!(inventory.damaged(&found), Some((Place::Main, "reject-chain")));
        assert!(Inventory::new(&base, &BTreeMap::new()).damaged(&Uses::new()).is_some(), "nothing is there");
    }
}
