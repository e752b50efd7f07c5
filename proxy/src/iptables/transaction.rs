//! The text for `iptables-restore --noflush`: everything, or only what changed. Pure.
//!
//! A restore is atomic per table, and nothing outside our chains is named in it but the jumps that are missing.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::base::{self, JUMPS, Jump};
use super::{ServiceRules, Settings, Shared, names};
use crate::syncer::Change;

/// A table's part of the text, in the order in which iptables must see it: chains made or emptied, old rules taken
/// out, new ones put in, and chains deleted once nothing jumps to them.
#[derive(Debug, Default)]
struct Table {
    chains: Vec<String>,
    deletions: Vec<String>,
    rules: Vec<String>,
    removals: Vec<String>,
}

impl Table {
    fn chain(&mut self, name: &str) {
        self.chains.push(format!(":{name} - [0:0]"));
    }

    fn append(&mut self, chain: &str, rules: &[String]) {
        self.rules.extend(rules.iter().map(|rule| format!("-A {chain} {rule}")));
    }

    fn is_empty(&self) -> bool {
        self.chains.is_empty() && self.deletions.is_empty() && self.rules.is_empty() && self.removals.is_empty()
    }

    fn write(&self, name: &str, out: &mut String) {
        if self.is_empty() {
            return;
        }
        out.push_str(&format!("*{name}\n"));
        for line in self.chains.iter().chain(&self.deletions).chain(&self.rules).chain(&self.removals) {
            out.push_str(line);
            out.push('\n');
        }
        out.push_str("COMMIT\n");
    }
}

/// What `iptables-save` shows of a table, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Saved {
    /// Names of chains, by table.
    pub(crate) chains: BTreeMap<String, Vec<String>>,
    /// Rules (`-A …`) of the kernel's own chains and of those that are kept, by table.
    pub(crate) rules: BTreeMap<String, Vec<String>>,
}

impl Saved {
    /// Reads the text of `iptables-save` (all tables).
    pub(crate) fn parse(text: &str) -> Saved {
        let mut saved = Saved::default();
        let mut table = String::new();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('*') {
                table = name.trim().to_string();
            } else if let Some(chain) = line.strip_prefix(':') {
                let name = chain.split(' ').next().unwrap_or(chain);
                saved.chains.entry(table.clone()).or_default().push(name.to_string());
            } else if line.starts_with("-A ") && !line.starts_with("-A KUBE-S") {
                saved.rules.entry(table.clone()).or_default().push(line.to_string());
            }
        }
        saved
    }

    fn has_chain(&self, table: &str, name: &str) -> bool {
        self.chains.get(table).is_some_and(|chains| chains.iter().any(|chain| chain == name))
    }

    fn rules_of<'a>(&'a self, table: &str, chain: &str) -> impl Iterator<Item = &'a str> {
        let prefix = format!("-A {chain} ");
        let rules = self.rules.get(table).into_iter().flatten().map(String::as_str);
        rules.filter(move |rule| rule.starts_with(&prefix))
    }
}

/// More rules than this go in several restores with the nft back end: its time grows with the square of a text's chains.
/// The rules of 10,000 Services take it 20 s of CPU in pieces of 32,000, 6 s of 8,000, 3 s of 1,000. The legacy back end
/// reads and writes the whole table each time: one text is best.
pub(crate) const RULES_PER_RESTORE_NFT: usize = 1000;

/// Everything: our chains with what belongs in them, stale chains of Services gone, jumps and canaries where missing.
///
/// One text, or with many rules several: first what no Service owns, then the Services' own chains piece by piece, last
/// the chains that all share and that lead to them. So at no time does a rule lead to a chain that is not whole, and
/// what was served before is served all along.
pub(crate) fn full(
    settings: &Settings,
    services: &BTreeMap<String, Arc<ServiceRules>>,
    saved: &Saved,
    rules_per_restore: usize,
) -> Vec<String> {
    let rules_count: usize = services.values().map(|rules| rules.counts().1).sum();
    let mut tables = base(settings, saved);
    if rules_count <= rules_per_restore {
        services.values().for_each(|rules| own_chains(&mut tables.nat, rules));
        shared_chains(settings, services, saved, &mut tables);
        return vec![tables.text()];
    }
    for (name, table) in [("filter", &mut tables.filter), ("nat", &mut tables.nat)] {
        base::shared_chains(name)
            .iter()
            .filter(|chain| !saved.has_chain(name, chain))
            .for_each(|chain| table.chain(chain));
    }
    let mut texts = vec![tables.text()];
    let (mut piece, mut size) = (Tables::default(), 0);
    for rules in services.values() {
        own_chains(&mut piece.nat, rules);
        size += rules.counts().1;
        if size >= rules_per_restore {
            texts.push(std::mem::take(&mut piece).text());
            size = 0;
        }
    }
    texts.push(piece.text());
    let mut last = Tables::default();
    shared_chains(settings, services, saved, &mut last);
    texts.push(last.text());
    texts.retain(|text| !text.is_empty());
    texts
}

#[derive(Debug, Default)]
struct Tables {
    mangle: Table,
    filter: Table,
    nat: Table,
}

impl Tables {
    fn text(&self) -> String {
        let mut text = String::new();
        self.mangle.write("mangle", &mut text);
        self.filter.write("filter", &mut text);
        self.nat.write("nat", &mut text);
        text
    }
}

/// What no Service owns: canaries, jumps, masquerading, forwarding.
fn base(settings: &Settings, saved: &Saved) -> Tables {
    let mut tables = Tables::default();
    for (name, table) in [("mangle", &mut tables.mangle), ("filter", &mut tables.filter), ("nat", &mut tables.nat)] {
        if !saved.has_chain(name, base::CANARY) {
            table.chain(base::CANARY);
        }
        base::own_chains(name).iter().for_each(|chain| table.chain(chain));
        for (_, kept) in base::KEPT.iter().filter(|(of, kept)| *of == name && !saved.has_chain(name, kept)) {
            table.chain(kept);
        }
        table.deletions = misplaced(name, saved);
        let jumps = JUMPS.iter().filter(|jump| jump.table == name && !is_in_place(jump, saved));
        table.rules.extend(jumps.map(|jump| format!("-I {} 1 {}", jump.from, jump.rule())));
    }
    if settings.localhost_node_ports && !settings.is_v6() && !has_martian_rule(saved) {
        tables.filter.append("KUBE-FIREWALL", &[base::MARTIANS.to_string()]);
    }
    tables.filter.append("KUBE-FORWARD", &base::forward(settings));
    for (chain, rules) in base::masquerade(settings) {
        tables.nat.append(chain, &rules);
    }
    tables
}

fn own_chains(nat: &mut Table, rules: &ServiceRules) {
    for (chain, lines) in &rules.chains {
        nat.chain(chain);
        nat.append(chain, lines);
    }
}

/// The chains that lead to the Services', and the end of chains that nothing leads to any more.
fn shared_chains(
    settings: &Settings,
    services: &BTreeMap<String, Arc<ServiceRules>>,
    saved: &Saved,
    tables: &mut Tables,
) {
    for (name, table) in [("filter", &mut tables.filter), ("nat", &mut tables.nat)] {
        base::shared_chains(name).iter().for_each(|chain| table.chain(chain));
    }
    for (shared, lines) in services.values().flat_map(|rules| &rules.shared) {
        let table = if shared.is_nat() { &mut tables.nat } else { &mut tables.filter };
        table.append(shared.chain(), lines);
    }
    tables.nat.append(Shared::NatServices.chain(), &base::node_port_tail(settings));
    remove_stale_chains(&mut tables.nat, services, saved);
}

fn remove_stale_chains(nat: &mut Table, services: &BTreeMap<String, Arc<ServiceRules>>, saved: &Saved) {
    let wanted: HashSet<&String> = services.values().flat_map(|rules| rules.chains.keys()).collect();
    let chains = saved.chains.get("nat").into_iter().flatten();
    for chain in chains.filter(|chain| names::is_service_chain(chain) && !wanted.contains(chain)) {
        nat.chain(chain);
        nat.removals.push(format!("-X {chain}"));
    }
}

/// Only what differs between the old and the new rules of some Services. Fails as a whole when somebody changed our
/// chains meanwhile (a rule to take out is not there): then everything must be written again.
pub(crate) fn difference(changes: &[Change<ServiceRules>]) -> String {
    let (mut filter, mut nat) = (Table::default(), Table::default());
    let nothing = ServiceRules::default();
    for (old, new) in changes {
        let (old, new) = (old.as_deref().unwrap_or(&nothing), new.as_deref().unwrap_or(&nothing));
        chain_difference(old, new, &mut nat);
        shared_difference(old, new, &mut filter, &mut nat);
    }
    let mut text = String::new();
    filter.write("filter", &mut text);
    nat.write("nat", &mut text);
    text
}

fn chain_difference(old: &ServiceRules, new: &ServiceRules, nat: &mut Table) {
    for chain in old.chains.keys().filter(|chain| !new.chains.contains_key(*chain)) {
        nat.chain(chain);
        nat.removals.push(format!("-X {chain}"));
    }
    for (chain, rules) in new.chains.iter().filter(|(chain, rules)| old.chains.get(*chain) != Some(rules)) {
        nat.chain(chain);
        nat.append(chain, rules);
    }
}

/// New rules go to the head: the order among Services does not matter, but the NodePorts' rule must stay last. Deletion
/// comes first, so that a rule that only moved its target is never there twice.
fn shared_difference(old: &ServiceRules, new: &ServiceRules, filter: &mut Table, nat: &mut Table) {
    let empty = Vec::new();
    let mut shared: Vec<Shared> = old.shared.keys().chain(new.shared.keys()).copied().collect();
    shared.sort();
    shared.dedup();
    for shared in shared {
        let table = if shared.is_nat() { &mut *nat } else { &mut *filter };
        let (before, after) = (old.shared.get(&shared).unwrap_or(&empty), new.shared.get(&shared).unwrap_or(&empty));
        let chain = shared.chain();
        table
            .deletions
            .extend(before.iter().filter(|rule| !after.contains(rule)).map(|rule| format!("-D {chain} {rule}")));
        table
            .rules
            .extend(after.iter().filter(|rule| !before.contains(rule)).map(|rule| format!("-I {chain} 1 {rule}")));
    }
}

/// The rules that a text puts into the filter and the nat table.
pub(crate) fn rule_counts(text: &str) -> (usize, usize) {
    let (filter, nat) = text.split_once("*nat\n").unwrap_or((text, ""));
    let rules = |text: &str| text.lines().filter(|line| line.starts_with("-A ") || line.starts_with("-I ")).count();
    (rules(filter), rules(nat))
}

/// KUBE-POSTROUTING must see packets before any rule that could accept them. CNI's `ipMasq` chains accept what stays in
/// the pods' subnet: a pod's packet to its own Service, turned round to itself, would keep its source and be dropped
/// as coming from itself. Whoever was started first, here the order is put right. portmap's and other Kubernetes
/// chains go by marks of their own and may stand before.
fn is_in_place(jump: &Jump, saved: &Saved) -> bool {
    let mut before = saved.rules_of(jump.table, jump.from).take_while(|rule| !is_jump(rule, jump));
    let is_there = saved.rules_of(jump.table, jump.from).any(|rule| is_jump(rule, jump));
    is_there && (jump.to != "KUBE-POSTROUTING" || before.all(may_go_first))
}

fn may_go_first(rule: &str) -> bool {
    ["CNI-HOSTPORT-", "KUBE-"].iter().any(|prefix| rule.contains(&format!("-j {prefix}")))
}

/// The old jump is taken out where it stands.
fn misplaced(table: &str, saved: &Saved) -> Vec<String> {
    let jumps = JUMPS.iter().filter(|jump| jump.table == table && !is_in_place(jump, saved));
    let rules = jumps.flat_map(|jump| saved.rules_of(table, jump.from).filter(|rule| is_jump(rule, jump)));
    rules.map(|rule| rule.replacen("-A ", "-D ", 1)).collect()
}

/// The tools list a rule's matches in an order of their own: words are compared, not lines.
fn is_jump(rule: &str, jump: &Jump) -> bool {
    let sorted = |text: &str| {
        let mut words: Vec<String> = text.split_whitespace().map(|word| word.replace('"', "")).collect();
        words.sort();
        words
    };
    sorted(rule) == sorted(&format!("-A {} {}", jump.from, jump.rule()))
}

fn has_martian_rule(saved: &Saved) -> bool {
    let mut rules = saved.rules_of("filter", "KUBE-FIREWALL");
    rules.any(|rule| rule.contains("block incoming localnet connections") && rule.ends_with("-j DROP"))
}
