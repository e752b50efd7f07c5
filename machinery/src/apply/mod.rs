//! Server-side apply: who owns which field, what an applied configuration changes, and whose fields it may not take.
//!
//! Start at [`apply`] for an apply request and at [`update`] for every other write; both set `metadata.managedFields`.
//! Objects are in the form of [`crate::schema::normalize`]; the applied configuration is as the client sent it. Defaulting
//! and admission are not known here, nor how one version of an object becomes another ([`Other`]).
//!
//! Rule: Kubernetes concept "Server-Side Apply"; the algorithm is that of structured-merge-diff.

mod compare;
mod conflict;
mod managers;
mod merge;
mod remove;
mod scale;
mod set;
mod shape;
#[cfg(test)]
mod tests;
mod to_set;
mod update;
mod validate;
mod versions;

use serde_json::Value;

use crate::schema::Schema;

pub use compare::{Comparison, compare};
pub use conflict::{Conflict, Conflicts};
pub use managers::{is_reset, without_times};
pub use scale::{owners_from_scale, owners_to_scale};
pub use set::FieldSet;
pub use update::{apply, update};
pub use versions::Other;

/// What a write says about itself.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub schema: &'a Schema,
    /// `apps/v1`: the version that the request was made in.
    pub api_version: &'a str,
    /// Another version that owners may be recorded at.
    pub other: Option<Other<'a>>,
    /// Empty for the object itself.
    pub subresource: &'a str,
    /// The `fieldManager`, or what the user agent gives for it.
    pub manager: &'a str,
    /// RFC 3339, whole seconds, UTC: recorded beside the fields.
    pub now: &'a str,
    /// Fields that this kind of write resets, which nobody comes to own by it (`status`, or all but it).
    pub ignored: &'a FieldSet,
    /// The client sent an empty list of managed fields: ownership begins anew. See [`is_reset`].
    pub reset: bool,
}

/// Why a configuration was not applied.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
pub enum ApplyError {
    /// Other managers own fields of it (409).
    #[error("{0}")]
    Conflict(Conflicts),
    /// It carries managed fields (400).
    #[error("{0}")]
    Malformed(String),
    /// It does not fit the schema (upstream answers 500, without a reason).
    #[error("{0}")]
    Invalid(String),
}

/// An object of the schema with nothing set: what a create is compared with.
pub fn empty(schema: &Schema, api_version: &str) -> Value {
    let mut object = serde_json::json!({"apiVersion": api_version, "kind": schema.short_name()});
    crate::schema::normalize(schema, &mut object);
    object
}
