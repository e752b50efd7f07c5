//! What goes wrong, as the CNI specification's error object (section "Error").

use serde::{Deserialize, Serialize};

/// An error with the specification's code. Codes from 100 on are the plugin's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{msg}")]
pub(crate) struct Failure {
    pub(crate) code: u32,
    pub(crate) msg: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) details: String,
}

impl Failure {
    pub(crate) fn new(code: u32, msg: impl Into<String>) -> Self {
        Failure { code, msg: msg.into(), details: String::new() }
    }

    pub(crate) fn incompatible_version(msg: impl Into<String>, details: impl Into<String>) -> Self {
        Failure { details: details.into(), ..Failure::new(1, msg) }
    }

    pub(crate) fn environment(msg: impl Into<String>) -> Self {
        Failure::new(4, msg)
    }

    pub(crate) fn io(msg: impl Into<String>) -> Self {
        Failure::new(5, msg)
    }

    pub(crate) fn decode(msg: impl Into<String>) -> Self {
        Failure::new(6, msg)
    }

    pub(crate) fn config(msg: impl Into<String>) -> Self {
        Failure::new(7, msg)
    }

    pub(crate) fn netns(msg: impl Into<String>) -> Self {
        Failure::new(8, msg)
    }

    /// STATUS: the plugin cannot serve ADD requests.
    pub(crate) fn not_available(msg: impl Into<String>) -> Self {
        Failure::new(50, msg)
    }

    pub(crate) fn internal(msg: impl Into<String>) -> Self {
        Failure::new(999, msg)
    }

    /// The error object that goes to stdout, under the version that the configuration asked for.
    pub(crate) fn to_json(&self, cni_version: &str) -> String {
        #[derive(Serialize)]
        struct Out<'a> {
            #[serde(rename = "cniVersion", skip_serializing_if = "str::is_empty")]
            cni_version: &'a str,
            #[serde(flatten)]
            failure: &'a Failure,
        }
        serde_json::to_string_pretty(&Out { cni_version, failure: self }).unwrap_or_else(|_| self.msg.clone())
    }

    /// Every failure of a teardown that attempts everything, as one; `Ok` when there is none.
    pub(crate) fn all(failures: Vec<Failure>) -> Result<(), Failure> {
        let mut failures = failures.into_iter();
        let Some(first) = failures.next() else { return Ok(()) };
        Err(failures.fold(first, |sum, next| Failure { msg: format!("{}; {}", sum.msg, next.msg), ..sum }))
    }
}
