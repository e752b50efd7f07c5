//! The kernel's nf_tables over netlink: transactions, and the few questions that are asked. Enter at [`apply`].
//!
//! Why not the `nft` program: before it hands on even one element it reads every chain and map of the table, and with
//! 10,000 Services that takes 0.3 s. The kernel takes a change without any of that. (The crates there are bind the C
//! library, or run the program.) `attributes` is netlink's encoding, `expressions` a rule's parts in the kernel's terms,
//! `batch` a transaction's messages, `socket` the way there and back. Knows nothing of Services.

mod attributes;
mod batch;
mod expressions;
mod socket;

pub(crate) use batch::Batch;
pub(crate) use socket::{Error, apply, is_usable, rule_count};

use crate::model::Family;

/// `NFNL_SUBSYS_NFTABLES`, with which every type of message begins.
const SUBSYSTEM: u16 = 10;

/// Types of messages, `NFT_MSG_…`.
mod message {
    pub(super) const NEWTABLE: u16 = 0;
    pub(super) const DELTABLE: u16 = 2;
    pub(super) const NEWCHAIN: u16 = 3;
    pub(super) const DELCHAIN: u16 = 5;
    pub(super) const NEWRULE: u16 = 6;
    pub(super) const GETRULE: u16 = 7;
    pub(super) const DELRULE: u16 = 8;
    pub(super) const NEWSET: u16 = 9;
    pub(super) const DELSET: u16 = 11;
    pub(super) const NEWSETELEM: u16 = 12;
    pub(super) const DELSETELEM: u16 = 14;
}

/// Flags of messages, `NLM_F_…`.
mod flag {
    pub(super) const REQUEST: u16 = 1;
    pub(super) const ACK: u16 = 4;
    pub(super) const DUMP: u16 = 0x300;
    pub(super) const CREATE: u16 = 0x400;
    pub(super) const APPEND: u16 = 0x800;
}

/// `NFPROTO_IPV4` and `NFPROTO_IPV6`.
fn protocol_family(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

/// The headers of a message: netlink's (its length is put in by [`end`]), and netfilter's.
fn begin(bytes: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, family: u8, resource: u16) -> usize {
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

fn end(bytes: &mut [u8], at: usize) {
    let length = (bytes.len() - at) as u32;
    bytes[at..at + 4].copy_from_slice(&length.to_ne_bytes());
}

#[cfg(test)]
mod tests;
