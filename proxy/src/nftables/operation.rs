//! What a transaction is made of, and its text for people: in errors, and in golden files that `nft -f` takes.

use super::rule::{self, Rule, Verdict};
use super::{Key, Map, Place, table, word};
use crate::model::Family;

/// Where the kernel enters a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hook {
    /// `filter` or `nat`.
    pub(crate) kind: &'static str,
    pub(crate) point: HookPoint,
    pub(crate) priority: i32,
}

/// A place on a packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HookPoint {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

impl HookPoint {
    fn name(self) -> &'static str {
        match self {
            HookPoint::Prerouting => "prerouting",
            HookPoint::Input => "input",
            HookPoint::Forward => "forward",
            HookPoint::Output => "output",
            HookPoint::Postrouting => "postrouting",
        }
    }
}

/// A step of a transaction, and in which table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step<'a> {
    pub(crate) place: Place,
    pub(crate) operation: Operation<'a>,
}

/// What a step does. Adding what is there does nothing; deleting what is not there fails, and with it the transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation<'a> {
    AddTable,
    DeleteTable,
    AddMap(Map),
    /// A set of clients that forgets each after the time that it was put in with. It has no time of its own: kernels
    /// before 6.2 keep that of a set which is there.
    AddSet(&'a str),
    DeleteSet(&'a str),
    AddChain {
        name: &'a str,
        hook: Option<Hook>,
    },
    FlushChain(&'a str),
    DeleteChain(&'a str),
    AddRule {
        chain: &'a str,
        rule: &'a Rule,
    },
    AddElement {
        map: Map,
        key: &'a Key,
        verdict: &'a Verdict,
    },
    DeleteElement {
        map: Map,
        key: &'a Key,
        verdict: &'a Verdict,
    },
}

impl<'a> Operation<'a> {
    pub(crate) fn at(self, place: Place) -> Step<'a> {
        Step { place, operation: self }
    }
}

impl Step<'_> {
    /// A line for `nft -f`, without its end.
    pub(crate) fn text(&self, family: Family) -> String {
        let table = table(family, self.place);
        match self.operation {
            Operation::AddTable => format!("add table {table}"),
            Operation::DeleteTable => format!("delete table {table}"),
            Operation::AddMap(map) => {
                let address =
                    if map.is_of_node_ports() { String::new() } else { format!("{} . ", address_type(family)) };
                format!("add map {table} {} {{ type {address}inet_proto . inet_service : verdict; }}", map.name())
            }
            Operation::AddSet(name) => {
                format!("add set {table} {name} {{ type {}; flags dynamic,timeout; }}", address_type(family))
            }
            Operation::DeleteSet(name) => format!("delete set {table} {name}"),
            Operation::AddChain { name, hook: None } => format!("add chain {table} {name}"),
            Operation::AddChain { name, hook: Some(Hook { kind, point, priority }) } => {
                format!("add chain {table} {name} {{ type {kind} hook {} priority {priority}; }}", point.name())
            }
            Operation::FlushChain(name) => format!("flush chain {table} {name}"),
            Operation::DeleteChain(name) => format!("delete chain {table} {name}"),
            Operation::AddRule { chain, rule } => format!("add rule {table} {chain} {}", rule::text(rule, family)),
            Operation::AddElement { map, key, verdict } => element("add", &table, map, key, verdict),
            Operation::DeleteElement { map, key, verdict } => element("delete", &table, map, key, verdict),
        }
    }
}

fn element(verb: &str, table: &str, map: Map, key: &Key, verdict: &Verdict) -> String {
    format!("{verb} element {table} {} {{ {key} : {} }}", map.name(), verdict.text())
}

fn address_type(family: Family) -> String {
    format!("{}_addr", if word(family) == "ip" { "ipv4" } else { "ipv6" })
}
