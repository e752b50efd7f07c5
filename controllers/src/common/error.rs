//! What can go wrong in a reconcile: the operation, the object, and the API's answer.
//!
//! Errors travel up to the work queue, which logs them once and tries the key again.

use std::fmt::Display;

/// A reconcile that did not finish.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The API refused, or could not be reached.
    #[error("{operation} {object}: {}", message(source))]
    Api { operation: &'static str, object: String, source: Box<kube::Error> },
    /// The controller itself cannot go on with this object.
    #[error("{operation} {object}: {reason}")]
    Refused { operation: &'static str, object: String, reason: String },
    /// More than one of the steps of a reconcile failed.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<Error>),
}

impl Error {
    pub(crate) fn refused(operation: &'static str, object: impl Display, reason: impl Display) -> Self {
        Error::Refused { operation, object: object.to_string(), reason: reason.to_string() }
    }

    /// The `Status` in the API's answer, when it answered.
    pub(crate) fn status(&self) -> Option<&kube::core::Status> {
        match self {
            Error::Api { source, .. } => status(source),
            _ => None,
        }
    }

    /// The API's own words, without the operation around them; they go into events and conditions.
    pub(crate) fn api_message(&self) -> String {
        match self {
            Error::Api { source, .. } => message(source),
            other => other.to_string(),
        }
    }

    /// As [`Error::api_message`], for errors of the controller's own too.
    pub(crate) fn own_words(&self) -> String {
        match self {
            Error::Refused { reason, .. } => reason.clone(),
            Error::Several(errors) => {
                format!("[{}]", errors.iter().map(Error::own_words).collect::<Vec<_>>().join(", "))
            }
            other => other.api_message(),
        }
    }

    /// Whether a write may have happened all the same: nobody answered, or the server had a problem of its own.
    pub(crate) fn is_doubtful(&self) -> bool {
        match self {
            Error::Api { .. } => self.status().is_none_or(|s| s.code >= 500),
            Error::Refused { .. } => false,
            Error::Several(errors) => errors.iter().any(Error::is_doubtful),
        }
    }

    pub(crate) fn is_not_found(&self) -> bool {
        self.status().is_some_and(|s| s.code == 404)
    }

    pub(crate) fn is_conflict(&self) -> bool {
        self.status().is_some_and(|s| s.code == 409 && s.reason == "Conflict")
    }

    pub(crate) fn is_already_exists(&self) -> bool {
        self.status().is_some_and(|s| s.reason == "AlreadyExists")
    }

    pub(crate) fn is_invalid(&self) -> bool {
        self.status().is_some_and(|s| s.code == 422)
    }

    /// Whether a create failed because its namespace goes away: every later one fails too.
    pub(crate) fn is_namespace_terminating(&self) -> bool {
        self.status()
            .and_then(|s| s.details.as_ref())
            .is_some_and(|d| d.causes.iter().any(|c| c.reason == "NamespaceTerminating"))
    }
}

/// No error, the one error, or all of them together.
pub(crate) fn all(mut errors: Vec<Error>) -> Result<(), Error> {
    match errors.len() {
        0 => Ok(()),
        1 => Err(errors.remove(0)),
        _ => Err(Error::Several(errors)),
    }
}

/// A write over a cached object that was behind, or to one that is gone, is no failure: the event that the cache has yet
/// to see wakes its key again. Only for objects whose every event does that.
pub(crate) fn wait_for_event(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(e) if e.is_conflict() || e.is_not_found() => Ok(()),
        other => other,
    }
}

/// Says what was being done to which object when the API's answer was an error.
pub(crate) trait Doing<T> {
    fn doing(self, operation: &'static str, object: impl Display) -> Result<T, Error>;
}

impl<T> Doing<T> for Result<T, kube::Error> {
    fn doing(self, operation: &'static str, object: impl Display) -> Result<T, Error> {
        self.map_err(|source| Error::Api { operation, object: object.to_string(), source: Box::new(source) })
    }
}

fn status(error: &kube::Error) -> Option<&kube::core::Status> {
    match error {
        kube::Error::Api(status) => Some(status),
        _ => None,
    }
}

fn message(error: &kube::Error) -> String {
    match status(error) {
        Some(status) if !status.message.is_empty() => status.message.clone(),
        _ => error.to_string(),
    }
}
