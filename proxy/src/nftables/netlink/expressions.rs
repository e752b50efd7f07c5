//! A rule's parts as the kernel's expressions, the same that `nft` makes of their text.
//!
//! An expression reads and writes registers. All here is done in the first; what follows a value of a concatenation
//! stands in the next free four bytes behind it. Values of the packet are in network order, the kernel's own (marks,
//! states, kinds of addresses) in the host's.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::Family;
use crate::netlink::{Attributes, protocol_family};
use crate::nftables::Map;
use crate::nftables::rule::{Part, Protocol, Side, Verdict};

const LIST_ELEMENT: u16 = 1;
/// The register whose value is the verdict.
const VERDICT: u32 = 0;
/// The first of four registers with 16 bytes.
const FIRST: u32 = 1;
const SECOND: u32 = 2;
/// The first of 16 registers with four bytes, in the same place as the others.
const FIRST_OF_FOUR_BYTES: u32 = 8;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const META_MARK: u32 = 3;
const META_LINK_NAME: u32 = 6;
const META_PROTOCOL: u32 = 16;
const EQUAL: u32 = 0;
const UNEQUAL: u32 = 1;
/// `RTN_LOCAL`.
const LOCAL: u32 = 2;
/// The bit of `ct state new`.
const NEW: u32 = 8;
const LINK_NAME_BYTES: usize = 16;

/// A map without a name, for one rule that names it by its number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anonymous {
    pub(super) id: u32,
}

impl Anonymous {
    /// The kernel puts a number of its own in.
    pub(super) const NAME: &'static str = "__map%d";
}

/// Writes the expressions of a rule's parts into the attribute that lists them.
pub(super) struct Expressions<'a, 'b> {
    pub(super) list: &'a mut Attributes<'b>,
    pub(super) family: Family,
}

impl Expressions<'_, '_> {
    /// `anonymous` is the map for [`Part::Choose`].
    pub(super) fn part(&mut self, part: &Part, anonymous: Option<Anonymous>) {
        match part {
            Part::Address { side, net, is_negated } => self.address(*side, net, *is_negated),
            Part::SourceIn(set) => {
                self.load_address(Side::Source);
                self.look_up(set, None, None);
            }
            Part::OfThisNode(side) => {
                self.local_address(*side);
                self.compare(EQUAL, &LOCAL.to_ne_bytes());
            }
            Part::Link { name, is_prefix, is_negated } => self.link(name, *is_prefix, *is_negated),
            Part::Port(protocol, number) => {
                self.protocol(*protocol);
                self.payload(FIRST, TRANSPORT_HEADER, 2, 2);
                self.compare(EQUAL, &number.to_be_bytes());
            }
            Part::NewConnection => self.new_connection(),
            Part::OneIn(count) => {
                self.random(*count);
                self.compare(EQUAL, &0u32.to_ne_bytes());
            }
            Part::Unmarked(mark) => {
                self.meta(META_MARK, FIRST);
                self.bits(&mark.to_ne_bytes(), &[0; 4]);
                self.compare(EQUAL, &[0; 4]);
            }
            Part::SetMark(mark) => self.change_mark(!mark, *mark),
            Part::FlipMark(mark) => self.change_mark(u32::MAX, *mark),
            Part::Remember { set, seconds } => self.remember(set, *seconds),
            Part::Translate(protocol, to) => {
                self.protocol(*protocol);
                self.translate(to.ip(), to.port());
            }
            Part::Masquerade { fully_random } => {
                let flags = fully_random.then_some(0x10);
                self.expression("masq", |data| flags.into_iter().for_each(|flags| data.number(1, flags)));
            }
            Part::Reject => self.reject(),
            Part::LookUp(map) => self.look_up_destination(*map),
            Part::Choose(chains) => {
                self.random(chains.len() as u32);
                self.look_up(Anonymous::NAME, Some(VERDICT), anonymous);
            }
            Part::Do(verdict) => {
                self.expression("immediate", |data| {
                    data.number(1, VERDICT);
                    data.nest(2, |value| write_verdict(value, verdict));
                });
            }
        }
    }

    fn expression(&mut self, name: &str, fill: impl FnOnce(&mut Attributes)) {
        self.list.nest(LIST_ELEMENT, |element| {
            element.string(1, name);
            element.nest(2, fill);
        });
    }

    fn address_bytes(&self) -> u32 {
        if self.family == Family::V4 { 4 } else { 16 }
    }

    fn load_address(&mut self, side: Side) {
        let offset = match (self.family, side) {
            (Family::V4, Side::Source) => 12,
            (Family::V4, Side::Destination) => 16,
            (Family::V6, Side::Source) => 8,
            (Family::V6, Side::Destination) => 24,
        };
        self.payload(FIRST, NETWORK_HEADER, offset, self.address_bytes());
    }

    fn payload(&mut self, register: u32, header: u32, offset: u32, length: u32) {
        self.expression("payload", |data| {
            data.number(1, register);
            data.number(2, header);
            data.number(3, offset);
            data.number(4, length);
        });
    }

    fn meta(&mut self, key: u32, register: u32) {
        self.expression("meta", |data| {
            data.number(2, key);
            data.number(1, register);
        });
    }

    fn compare(&mut self, operator: u32, value: &[u8]) {
        self.expression("cmp", |data| {
            data.number(1, FIRST);
            data.number(2, operator);
            data.nest(3, |nested| nested.bytes(1, value));
        });
    }

    /// Keeps the bits of a mask and flips others.
    fn bits(&mut self, mask: &[u8], flip: &[u8]) {
        self.expression("bitwise", |data| {
            data.number(1, FIRST);
            data.number(2, FIRST);
            data.number(3, mask.len() as u32);
            data.nest(4, |nested| nested.bytes(1, mask));
            data.nest(5, |nested| nested.bytes(1, flip));
        });
    }

    fn address(&mut self, side: Side, net: &IpNet, is_negated: bool) {
        self.load_address(side);
        if net.prefix_len() < net.max_prefix_len() {
            let zeros = vec![0; self.address_bytes() as usize];
            self.bits(&octets(net.netmask()), &zeros);
        }
        self.compare(if is_negated { UNEQUAL } else { EQUAL }, &octets(net.addr()));
    }

    /// `nft` writes as many bytes as tell: the name with its zeros, or of a prefix only the letters.
    fn link(&mut self, name: &str, is_prefix: bool, is_negated: bool) {
        let mut value = name.as_bytes().to_vec();
        value.resize(if is_prefix { value.len().min(LINK_NAME_BYTES) } else { LINK_NAME_BYTES }, 0);
        self.meta(META_LINK_NAME, FIRST);
        self.compare(if is_negated { UNEQUAL } else { EQUAL }, &value);
    }

    fn protocol(&mut self, protocol: Protocol) {
        self.meta(META_PROTOCOL, FIRST);
        self.compare(EQUAL, &[protocol.number()]);
    }

    fn local_address(&mut self, side: Side) {
        self.expression("fib", |data| {
            data.number(1, FIRST);
            data.number(2, 3);
            data.number(3, if side == Side::Source { 1 } else { 2 });
        });
    }

    fn new_connection(&mut self) {
        self.expression("ct", |data| {
            data.number(2, 0);
            data.number(1, FIRST);
        });
        self.bits(&NEW.to_ne_bytes(), &[0; 4]);
        self.compare(UNEQUAL, &[0; 4]);
    }

    fn random(&mut self, count: u32) {
        self.expression("numgen", |data| {
            data.number(1, FIRST);
            data.number(2, count);
            data.number(3, 1);
            data.number(4, 0);
        });
    }

    fn change_mark(&mut self, kept: u32, flipped: u32) {
        self.meta(META_MARK, FIRST);
        self.bits(&kept.to_ne_bytes(), &flipped.to_ne_bytes());
        self.expression("meta", |data| {
            data.number(2, META_MARK);
            data.number(3, FIRST);
        });
    }

    fn remember(&mut self, set: &str, seconds: u32) {
        self.load_address(Side::Source);
        self.expression("dynset", |data| {
            data.string(1, set);
            data.number(3, 1);
            data.number(4, FIRST);
            data.long(6, u64::from(seconds) * 1000);
        });
    }

    fn translate(&mut self, ip: IpAddr, port: u16) {
        for (register, value) in [(FIRST, octets(ip)), (SECOND, port.to_be_bytes().to_vec())] {
            self.expression("immediate", |data| {
                data.number(1, register);
                data.nest(2, |nested| nested.bytes(1, &value));
            });
        }
        let family = u32::from(protocol_family(self.family));
        self.expression("nat", |data| {
            data.number(1, 1);
            data.number(2, family);
            data.number(3, FIRST);
            data.number(5, SECOND);
            // NF_NAT_RANGE_PROTO_SPECIFIED
            data.number(7, 2);
        });
    }

    /// With "port unreachable" of the family's ICMP.
    fn reject(&mut self) {
        let code = if self.family == Family::V4 { 3 } else { 4 };
        self.expression("reject", |data| {
            data.number(1, 0);
            data.bytes(2, &[code]);
        });
    }

    fn look_up_destination(&mut self, map: Map) {
        let mut words = 0;
        if !map.is_of_node_ports() {
            self.load_address(Side::Destination);
            words = self.address_bytes() / 4;
        }
        let register = |word| if word == 0 { FIRST } else { FIRST_OF_FOUR_BYTES + word };
        self.meta(META_PROTOCOL, register(words));
        self.payload(register(words + 1), TRANSPORT_HEADER, 2, 2);
        self.look_up(map.name(), Some(VERDICT), None);
    }

    fn look_up(&mut self, set: &str, to: Option<u32>, anonymous: Option<Anonymous>) {
        self.expression("lookup", |data| {
            data.number(2, FIRST);
            to.into_iter().for_each(|register| data.number(3, register));
            data.string(1, set);
            anonymous.into_iter().for_each(|set| data.number(4, set.id));
        });
    }
}

/// A verdict as data, of a rule or of a map's element.
pub(super) fn write_verdict(value: &mut Attributes, verdict: &Verdict) {
    let (code, chain) = match verdict {
        Verdict::Drop => (0, None),
        Verdict::Jump(chain) => (-3, Some(chain)),
        Verdict::Goto(chain) => (-4, Some(chain)),
        Verdict::Return => (-5i32, None),
    };
    value.nest(2, |nested| {
        nested.bytes(1, &code.to_be_bytes());
        chain.into_iter().for_each(|chain| nested.string(2, chain));
    });
}

pub(super) fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}
