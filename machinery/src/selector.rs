//! Label selectors and field selectors: what a list, a watch or a controller picks objects by.
//!
//! Enter at [`Selector::parse`] (kubectl's `-l`), [`Selector::from_label_selector`] (the API's `LabelSelector`) and
//! [`FieldSelector::parse`] (`--field-selector`). Errors are in upstream's words. Which labels or fields an object has
//! is the caller's: matching takes a lookup.
//!
//! Rule: Kubernetes concepts "Labels and Selectors" and "Field Selectors".

mod fields;
mod label;
mod parse;
#[cfg(test)]
mod tests;

pub use fields::{FieldSelector, FieldTerm, escape_value};
pub use label::{Operator, Requirement, Selector};

/// A selector that cannot be understood; the message is for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);
