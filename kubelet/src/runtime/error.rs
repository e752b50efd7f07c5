//! What a CRI call can fail with. Speaks gRPC's words, as events and pod statuses show them.

use tonic::Code;

/// A CRI call that failed: the call, what it was for, and the runtime's answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{operation} {object}: rpc error: code = {} desc = {message}", code_name(*.code))]
pub struct Error {
    pub operation: &'static str,
    pub object: String,
    pub code: Code,
    pub message: String,
}

impl Error {
    pub fn new(operation: &'static str, object: impl Into<String>, status: &tonic::Status) -> Self {
        Self { operation, object: object.into(), code: status.code(), message: status.message().to_owned() }
    }

    /// An answer that CRI does not allow (a required part is missing).
    pub fn malformed(operation: &'static str, object: impl Into<String>) -> Self {
        Self {
            operation,
            object: object.into(),
            code: Code::Internal,
            message: "the runtime's answer is incomplete".into(),
        }
    }

    pub fn is_not_found(&self) -> bool {
        // containerd 1.6 answers some missing tasks and sandboxes with Unknown and this text.
        self.code == Code::NotFound || (self.code == Code::Unknown && self.message.contains("not found"))
    }

    pub fn is_unavailable(&self) -> bool {
        self.code == Code::Unavailable
    }

    /// The error as grpc-go prints it, which is how pod events carry it.
    pub fn rpc(&self) -> String {
        format!("rpc error: code = {} desc = {}", code_name(self.code), self.message)
    }
}

/// grpc-go's names of the codes.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}
