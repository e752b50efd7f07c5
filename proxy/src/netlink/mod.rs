//! Netlink to netfilter: messages, attributes, the way to the kernel and back. Knows neither rules nor connections.

pub(crate) mod attributes;
pub(crate) mod socket;

pub(crate) use attributes::Attributes;
pub(crate) use socket::{Answer, Refusal, exchange};

use crate::model::Family;

/// Flags of messages, `NLM_F_…`.
pub(crate) mod flag {
    pub(crate) const REQUEST: u16 = 1;
    pub(crate) const ACK: u16 = 4;
    /// In an answer: the list changed while it was made.
    pub(crate) const DUMP_INTERRUPTED: u16 = 0x10;
    pub(crate) const DUMP: u16 = 0x300;
    pub(crate) const CREATE: u16 = 0x400;
    pub(crate) const APPEND: u16 = 0x800;
}

/// Bytes of both headers of a message.
pub(crate) const HEADER_BYTES: usize = 20;

/// `NFPROTO_IPV4` and `NFPROTO_IPV6`.
pub(crate) fn protocol_family(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

/// The headers of a message: netlink's (its length is put in by [`end`]), and netfilter's.
pub(crate) fn begin(bytes: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, family: u8, resource: u16) -> usize {
    let at = bytes.len();
    bytes.extend(0u32.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((flags | flag::REQUEST).to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0u32.to_ne_bytes());
    bytes.extend([family, 0]);
    bytes.extend(resource.to_be_bytes());
    at
}

pub(crate) fn end(bytes: &mut [u8], at: usize) {
    let length = (bytes.len() - at) as u32;
    bytes[at..at + 4].copy_from_slice(&length.to_ne_bytes());
}

/// One message with its attributes.
pub(crate) fn message(kind: u16, flags: u16, family: Family, fill: impl FnOnce(&mut Attributes)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let at = begin(&mut bytes, kind, flags, 1, protocol_family(family), 0);
    fill(&mut Attributes(&mut bytes));
    end(&mut bytes, at);
    bytes
}
