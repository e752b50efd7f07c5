//! The plan as an nftables table of our own: `render` writes it (pure, golden texts), `tool` hands it to the kernel.
//!
//! The table is written whole, in one transaction: packets meet the old rules or the new ones. No other table is read
//! or touched.

pub(crate) mod render;
pub(crate) mod tool;
