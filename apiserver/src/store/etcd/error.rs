//! What etcd's errors mean for a store. etcd tells its own by their text.

use tonic::Code;

use crate::store::{Error, Revision};

/// Whether the connection broke: a read may be tried again.
pub(super) fn is_connection(error: &etcd_client::Error) -> bool {
    use etcd_client::Error::{GRpcStatus, IoError, TransportError};
    match error {
        // tonic tells a broken connection as "unavailable" or, in the middle of an answer, as "unknown".
        GRpcStatus(status) => matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled),
        TransportError(_) | IoError(_) => true,
        _ => false,
    }
}

/// Of an operation that changes nothing.
pub(super) fn of_read(operation: &'static str, error: etcd_client::Error) -> Error {
    known(operation, &error).unwrap_or_else(|| {
        if is_connection(&error) {
            Error::Unavailable { operation, reason: error.to_string() }
        } else {
            Error::Failed { operation, reason: error.to_string() }
        }
    })
}

/// Of an operation that may have happened although its answer was lost.
pub(super) fn of_commit(operation: &'static str, error: etcd_client::Error) -> Error {
    known(operation, &error).unwrap_or_else(|| {
        if is_connection(&error) {
            tracing::warn!(operation, %error, "the connection to etcd broke, the outcome is not known");
            Error::Timeout { operation }
        } else {
            Error::Failed { operation, reason: error.to_string() }
        }
    })
}

fn known(operation: &'static str, error: &etcd_client::Error) -> Option<Error> {
    let etcd_client::Error::GRpcStatus(status) = error else { return None };
    let message = status.message();
    let reason = || message.to_owned();
    // Revisions are filled in by the caller; etcd does not tell them here.
    Some(match message {
        "etcdserver: mvcc: required revision has been compacted" => Error::Compacted { oldest: Revision(0) },
        "etcdserver: mvcc: required revision is a future revision" => Error::Future { newest: Revision(0) },
        "etcdserver: no leader" | "etcdserver: too many requests" | "etcdserver: not capable" => {
            Error::Unavailable { operation, reason: reason() }
        }
        _ => match status.code() {
            Code::InvalidArgument => Error::Invalid { operation, reason: reason() },
            // The limit of a message, above etcd's own of a request.
            Code::ResourceExhausted if message.contains("larger than max") => {
                Error::Invalid { operation, reason: "request is too large".to_owned() }
            }
            Code::DeadlineExceeded => Error::Timeout { operation },
            _ if message.starts_with("etcdserver: request timed out") => Error::Timeout { operation },
            _ => return None,
        },
    })
}
