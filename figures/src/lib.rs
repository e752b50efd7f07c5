//! What benches measure, in one form: figures with their budgets, and curves.
//!
//! A bench opens a [`Sheet`], adds a [`Figure`] for each thing that it measures, which prints a line, and writes the sheet
//! when it is done. `skiff-figures` joins the sheets of all benches to one table and one picture. [`process`] reads what
//! the kernel counts of a process, [`samples`] makes one number of many. What is measured, and how, is not known here.

mod figure;
pub mod process;
pub mod samples;
mod sheet;
pub mod svg;
pub mod table;

pub use figure::{Beside, Budget, Figure};
pub use sheet::{Line, Panel, Sheet};

/// Where the benches of this workspace leave their sheets: for use in benches, which alone know cargo's folder.
#[macro_export]
macro_rules! folder {
    () => {
        concat!(env!("CARGO_TARGET_TMPDIR"), "/bench")
    };
}
