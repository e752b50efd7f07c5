//! Rules as values: what matches and what is done, and how people read it, in the language of `nft`.
//!
//! Only what kube-proxy's rules need. `netlink` writes the same values for the kernel; the two are held together by a
//! test that lists what either made.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::{Map, word};
use crate::model::Family;

/// A rule: its parts from left to right.
pub(crate) type Rule = Vec<Part>;

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// From a [`crate::model::ServicePort`]'s word.
    pub(crate) fn of(word: &str) -> Option<Protocol> {
        [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().find(|protocol| protocol.name() == word)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }

    /// IANA's number.
    pub(crate) fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }
}

/// Which of a packet's two addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Source,
    Destination,
}

impl Side {
    fn word(self) -> &'static str {
        match self {
            Side::Source => "saddr",
            Side::Destination => "daddr",
        }
    }
}

/// Where a packet goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Into a chain, and back.
    Jump(String),
    Goto(String),
    Return,
    Drop,
}

impl Verdict {
    pub(crate) fn text(&self) -> String {
        match self {
            Verdict::Jump(chain) => format!("jump {chain}"),
            Verdict::Goto(chain) => format!("goto {chain}"),
            Verdict::Return => "return".to_owned(),
            Verdict::Drop => "drop".to_owned(),
        }
    }
}

/// A part of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Address {
        side: Side,
        net: IpNet,
        is_negated: bool,
    },
    /// The source is in a set.
    SourceIn(String),
    /// The address is one of this node.
    OfThisNode(Side),
    /// The link that the packet came in by; a prefix stands for all whose names begin so.
    Link {
        name: String,
        is_prefix: bool,
        is_negated: bool,
    },
    Port(Protocol, u16),
    NewConnection,
    /// One time in so many.
    OneIn(u32),
    /// The bits of the packet's mark are not set.
    Unmarked(u32),
    SetMark(u32),
    FlipMark(u32),
    /// Puts the source into a set, or makes its time there begin anew.
    Remember {
        set: String,
        seconds: u32,
    },
    Translate(Protocol, SocketAddr),
    Masquerade {
        fully_random: bool,
    },
    Reject,
    /// Does what a map says of the packet's destination.
    LookUp(Map),
    /// Goes to any of the chains.
    Choose(Vec<String>),
    Do(Verdict),
}

impl Part {
    pub(crate) fn is(side: Side, ip: IpAddr) -> Part {
        Part::Address { side, net: IpNet::from(ip), is_negated: false }
    }

    pub(crate) fn goto(chain: impl Into<String>) -> Part {
        Part::Do(Verdict::Goto(chain.into()))
    }

    pub(crate) fn jump(chain: impl Into<String>) -> Part {
        Part::Do(Verdict::Jump(chain.into()))
    }

    fn text(&self, family: Family) -> String {
        let ip = word(family);
        match self {
            Part::Address { side, net, is_negated } => {
                format!("{ip} {} {}{}", side.word(), not(*is_negated), address(net))
            }
            Part::SourceIn(set) => format!("{ip} saddr @{set}"),
            Part::OfThisNode(side) => format!("fib {} type local", side.word()),
            Part::Link { name, is_prefix, is_negated } => {
                format!("iifname {}\"{name}{}\"", not(*is_negated), if *is_prefix { "*" } else { "" })
            }
            Part::Port(protocol, number) => format!("{} dport {number}", protocol.name()),
            Part::NewConnection => "ct state new".to_owned(),
            Part::OneIn(count) => format!("numgen random mod {count} 0"),
            Part::Unmarked(mark) => format!("meta mark and {mark:#x} == 0"),
            Part::SetMark(mark) => format!("meta mark set meta mark or {mark:#x}"),
            Part::FlipMark(mark) => format!("meta mark set meta mark xor {mark:#x}"),
            Part::Remember { set, seconds } => format!("update @{set} {{ {ip} saddr timeout {seconds}s }}"),
            Part::Translate(protocol, to) => format!("meta l4proto {} dnat to {to}", protocol.name()),
            Part::Masquerade { fully_random } => {
                format!("masquerade{}", if *fully_random { " fully-random" } else { "" })
            }
            Part::Reject => "reject".to_owned(),
            Part::LookUp(map) => {
                let address = if map.is_of_node_ports() { String::new() } else { format!("{ip} daddr . ") };
                format!("{address}meta l4proto . th dport vmap @{}", map.name())
            }
            Part::Choose(chains) => {
                let ways = chains.iter().enumerate().map(|(at, chain)| format!("{at} : goto {chain}"));
                format!("numgen random mod {} vmap {{ {} }}", chains.len(), ways.collect::<Vec<_>>().join(", "))
            }
            Part::Do(verdict) => verdict.text(),
        }
    }
}

pub(crate) fn text(rule: &Rule, family: Family) -> String {
    rule.iter().map(|part| part.text(family)).collect::<Vec<_>>().join(" ")
}

fn not(is_negated: bool) -> &'static str {
    if is_negated { "!= " } else { "" }
}

fn address(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}
