//! The three kinds of patch, applied to objects in memory: [`strategic`], [`merge`] (RFC 7386), [`json`] (RFC 6902).
//!
//! Nothing is checked against a schema here but what strategic merge needs to find its merge keys: decode the result with
//! [`crate::schema::decode_value`].

mod document;
mod json;
mod list;
mod shape;
mod strategic;
#[cfg(test)]
mod tests;

use serde_json::Value;

pub use document::{Lists, document};
pub use json::{OPERATIONS_MAX, json};
pub(crate) use strategic::go_type;
pub use strategic::strategic;

/// Why a patch was not applied; the texts are upstream's. The object is then in no particular state: drop it.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum PatchError {
    /// The patch is not what its type says (upstream answers 400).
    #[error("{0}")]
    Malformed(String),
    /// It does not fit this object (422).
    #[error("{0}")]
    Inapplicable(String),
    /// A list element without its merge key and the like (upstream answers 500).
    #[error("{0}")]
    Broken(String),
    /// 413.
    #[error("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {0}")]
    TooManyOperations(usize),
}

/// RFC 7386: objects merge, null deletes, all else replaces. Error: a patch that is no object.
pub fn merge(original: &mut Value, patch: &Value) -> Result<(), PatchError> {
    if !patch.is_object() {
        return Err(PatchError::Malformed("Invalid JSON Patch".to_owned()));
    }
    json_patch::merge(original, patch);
    Ok(())
}
