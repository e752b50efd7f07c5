//! The kernel's nf_tables over netlink: transactions, and the few questions that are asked. Enter at [`apply`].
//!
//! Why not the `nft` program: before it hands on even one element it reads every chain and map of the table, and with
//! 10,000 Services that takes 0.3 s. The kernel takes a change without any of that. (The crates there are bind the C
//! library, or run the program.) `expressions` is a rule's parts in the kernel's terms, `batch`
//! a transaction's messages, `kernel` what is told and asked. Knows nothing of Services.

mod batch;
mod expressions;
mod kernel;

pub(crate) use batch::Batch;
pub(crate) use kernel::{Error, Uses, apply, chain_uses, generation, is_usable, uses_of};

/// `NFNL_SUBSYS_NFTABLES`, with which every type of message begins.
const SUBSYSTEM: u16 = 10;

/// Types of messages, `NFT_MSG_…`.
mod message {
    pub(super) const NEWTABLE: u16 = 0;
    pub(super) const DELTABLE: u16 = 2;
    pub(super) const NEWCHAIN: u16 = 3;
    pub(super) const GETCHAIN: u16 = 4;
    pub(super) const DELCHAIN: u16 = 5;
    pub(super) const NEWRULE: u16 = 6;
    pub(super) const DELRULE: u16 = 8;
    pub(super) const NEWSET: u16 = 9;
    pub(super) const DELSET: u16 = 11;
    pub(super) const NEWSETELEM: u16 = 12;
    pub(super) const DELSETELEM: u16 = 14;
    pub(super) const NEWGEN: u16 = 15;
    pub(super) const GETGEN: u16 = 16;
}

#[cfg(test)]
mod tests;
