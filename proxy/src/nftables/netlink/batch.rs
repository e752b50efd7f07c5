//! A transaction as messages between a beginning and an end. Pure.

use super::expressions::{Anonymous, Expressions, octets, write_verdict};
use super::{SUBSYSTEM, message};
use crate::model::Family;
use crate::netlink::{Attributes, HEADER_BYTES, begin, end, flag, protocol_family};
use crate::nftables::operation::{Hook, HookPoint, Operation, Step};
use crate::nftables::rule::{Part, Rule, Verdict};
use crate::nftables::{Key, Map};

const BEGIN: u16 = 0x10;
const END: u16 = 0x11;
/// An attribute's length has 16 bits; elements with long chain names take 200 bytes.
const ELEMENTS_PER_MESSAGE: usize = 256;

/// Flags of sets, `NFT_SET_…`.
const ANONYMOUS: u32 = 1;
const CONSTANT: u32 = 2;
const IS_MAP: u32 = 8;
const HAS_TIMEOUT: u32 = 0x10;
const IS_DYNAMIC: u32 = 0x20;
/// `NFT_DATA_VERDICT`: what maps lead to.
const VERDICT_DATA: u32 = 0xffff_ff00;
/// Kinds of keys, by `nft`'s numbers: the kernel only keeps them. A concatenation has six bits for each.
const INTEGER: u32 = 4;
const IPV4_ADDR: u32 = 7;
const IPV6_ADDR: u32 = 8;
const INET_PROTO: u32 = 12;
const INET_SERVICE: u32 = 13;

/// The messages of a transaction on one family's tables.
pub(crate) struct Batch {
    family: Family,
    /// Of the step that is written.
    table: String,
    bytes: Vec<u8>,
    /// Where the last message begins.
    last: usize,
    /// Of the step that is written, so that the kernel's answers name it. The beginning has 0.
    sequence: u32,
    /// Sets and maps are numbered within a transaction.
    sets: u32,
}

impl Batch {
    pub(crate) fn new(family: Family, steps: &[Step]) -> Batch {
        let mut batch = Batch { family, table: String::new(), bytes: Vec::new(), last: 0, sequence: 0, sets: 0 };
        batch.frame(BEGIN);
        for step in steps {
            batch.sequence += 1;
            batch.table = step.place.name();
            batch.step(step.operation);
        }
        batch.want_answer();
        batch.sequence += 1;
        batch.frame(END);
        batch
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The sequence number of the last step, for which the kernel says that all is done.
    pub(super) fn last_sequence(&self) -> u32 {
        self.sequence - 1
    }

    fn frame(&mut self, kind: u16) {
        let at = begin(&mut self.bytes, kind, 0, self.sequence, 0, SUBSYSTEM);
        end(&mut self.bytes, at);
    }

    fn want_answer(&mut self) {
        let flags = self.last + 6..self.last + 8;
        let wanted =
            flag::REQUEST | flag::ACK | u16::from_ne_bytes([self.bytes[flags.start], self.bytes[flags.start + 1]]);
        self.bytes[flags].copy_from_slice(&wanted.to_ne_bytes());
    }

    fn message(&mut self, kind: u16, flags: u16, fill: impl FnOnce(&mut Attributes)) {
        self.last =
            begin(&mut self.bytes, SUBSYSTEM << 8 | kind, flags, self.sequence, protocol_family(self.family), 0);
        debug_assert_eq!(self.bytes.len() - self.last, HEADER_BYTES);
        let mut attributes = Attributes(&mut self.bytes);
        // In every kind of message but those of a table's own, too, the first attribute is the table.
        attributes.string(1, &self.table);
        fill(&mut attributes);
        end(&mut self.bytes, self.last);
    }

    fn step(&mut self, step: Operation) {
        match step {
            Operation::AddTable => self.message(message::NEWTABLE, flag::CREATE, |table| table.number(2, 0)),
            Operation::DeleteTable => self.message(message::DELTABLE, 0, |_| {}),
            Operation::AddMap(map) => self.add_map(map),
            Operation::AddSet(name) => self.add_set(name),
            Operation::DeleteSet(name) => self.message(message::DELSET, 0, |set| set.string(2, name)),
            Operation::AddChain { name, hook } => self.add_chain(name, hook),
            // A deletion of rules that names none is of all.
            Operation::FlushChain(name) => self.message(message::DELRULE, 0, |rule| rule.string(2, name)),
            Operation::DeleteChain(name) => self.message(message::DELCHAIN, 0, |chain| chain.string(3, name)),
            Operation::AddRule { chain, rule } => self.add_rule(chain, rule),
            Operation::AddElement { map, key, verdict } => self.element(message::NEWSETELEM, map, key, Some(verdict)),
            Operation::DeleteElement { map, key, .. } => self.element(message::DELSETELEM, map, key, None),
        }
    }

    fn add_map(&mut self, map: Map) {
        let (kind, length) = match (map.is_of_node_ports(), self.family) {
            (true, _) => (INET_PROTO, 4),
            (false, Family::V4) => (IPV4_ADDR << 6 | INET_PROTO, 8),
            (false, Family::V6) => (IPV6_ADDR << 6 | INET_PROTO, 20),
        };
        self.sets += 1;
        let id = self.sets;
        self.message(message::NEWSET, flag::CREATE, |set| {
            set.string(2, map.name());
            set.number(3, IS_MAP);
            set.number(4, kind << 6 | INET_SERVICE);
            set.number(5, length + 4);
            set.number(6, VERDICT_DATA);
            set.number(7, 0);
            set.number(10, id);
        });
    }

    fn add_set(&mut self, name: &str) {
        let (kind, length) = if self.family == Family::V4 { (IPV4_ADDR, 4) } else { (IPV6_ADDR, 16) };
        self.sets += 1;
        let id = self.sets;
        self.message(message::NEWSET, flag::CREATE, |set| {
            set.string(2, name);
            set.number(3, HAS_TIMEOUT | IS_DYNAMIC);
            set.number(4, kind);
            set.number(5, length);
            set.number(10, id);
        });
    }

    fn add_chain(&mut self, name: &str, hook: Option<Hook>) {
        self.message(message::NEWCHAIN, flag::CREATE, |chain| {
            chain.string(3, name);
            let Some(hook) = hook else { return };
            chain.nest(4, |nested| {
                nested.number(1, hook_number(hook.point));
                nested.bytes(2, &hook.priority.to_be_bytes());
            });
            // Policy: accept.
            chain.number(5, 1);
            chain.string(7, hook.kind);
        });
    }

    fn add_rule(&mut self, chain: &str, rule: &Rule) {
        let anonymous = rule.iter().find_map(|part| match part {
            Part::Choose(chains) => Some(chains),
            _ => None,
        });
        let anonymous = anonymous.map(|chains| self.anonymous_map(chains));
        let family = self.family;
        self.message(message::NEWRULE, flag::CREATE | flag::APPEND, |message| {
            message.string(2, chain);
            message.nest(4, |list| {
                let mut expressions = Expressions { list, family };
                rule.iter().for_each(|part| expressions.part(part, anonymous));
            });
        });
    }

    /// From numbers to chains.
    fn anonymous_map(&mut self, chains: &[String]) -> Anonymous {
        self.sets += 1;
        let id = self.sets;
        self.message(message::NEWSET, flag::CREATE, |set| {
            set.string(2, Anonymous::NAME);
            set.number(3, ANONYMOUS | CONSTANT | IS_MAP);
            set.number(4, INTEGER);
            set.number(5, 4);
            set.number(6, VERDICT_DATA);
            set.number(7, 0);
            set.nest(9, |description| description.number(1, chains.len() as u32));
            set.number(10, id);
            // The listing tool's note that keys are in the host's order.
            set.bytes(13, &[&[0, 4][..], &1u32.to_ne_bytes()].concat());
        });
        let ways: Vec<(u32, &String)> = (0..).zip(chains).collect();
        for ways in ways.chunks(ELEMENTS_PER_MESSAGE) {
            self.message(message::NEWSETELEM, flag::CREATE, |elements| {
                elements.string(2, Anonymous::NAME);
                elements.number(4, id);
                elements.nest(3, |list| {
                    for (at, chain) in ways {
                        write_element(list, &at.to_ne_bytes(), Some(&Verdict::Goto((*chain).clone())));
                    }
                });
            });
        }
        Anonymous { id }
    }

    fn element(&mut self, kind: u16, map: Map, key: &Key, verdict: Option<&Verdict>) {
        self.message(kind, if verdict.is_some() { flag::CREATE } else { 0 }, |elements| {
            elements.string(2, map.name());
            elements.nest(3, |list| write_element(list, &key_bytes(key), verdict));
        });
    }
}

fn write_element(list: &mut Attributes, key: &[u8], verdict: Option<&Verdict>) {
    list.nest(1, |element| {
        element.nest(1, |value| value.bytes(1, key));
        if let Some(verdict) = verdict {
            element.nest(2, |value| write_verdict(value, verdict));
        }
    });
}

/// Each part of a concatenation takes a multiple of four bytes.
fn key_bytes(key: &Key) -> Vec<u8> {
    let mut bytes = key.ip.map(octets).unwrap_or_default();
    bytes.extend([key.protocol.number(), 0, 0, 0]);
    bytes.extend(key.port.to_be_bytes());
    bytes.extend([0; 2]);
    bytes
}

fn hook_number(point: HookPoint) -> u32 {
    match point {
        HookPoint::Prerouting => 0,
        HookPoint::Input => 1,
        HookPoint::Forward => 2,
        HookPoint::Output => 3,
        HookPoint::Postrouting => 4,
    }
}
