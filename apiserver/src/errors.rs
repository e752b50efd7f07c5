//! The one table that maps the server's own errors to what a client is told.
//!
//! Internal detail (addresses of etcd, file names) stays in the log; the Status says what the client can do.

use machinery::status::{GroupResource, Status};

use crate::cache::WatchEnd;
use crate::end::too_late;
use crate::store::{CommitError, Error as StoreError};

/// A failed read.
pub fn store(error: &StoreError) -> Status {
    match error {
        StoreError::Compacted { .. } => Status::expired("The resourceVersion for the provided list is too old."),
        StoreError::Future { newest } => {
            Status::too_large_version(&format!("Too large resource version, current: {newest}"))
        }
        StoreError::Unavailable { .. } => logged(error, Status::service_unavailable("the store cannot be reached")),
        StoreError::Timeout { .. } => logged(error, too_late()),
        StoreError::Invalid { reason, .. } if reason.contains("too large") => {
            logged(error, Status::request_entity_too_large(format!("Request entity too large: {reason}")))
        }
        StoreError::Invalid { .. } | StoreError::Failed { .. } => logged(error, Status::internal_error("store failed")),
    }
}

/// A failed write of one object. `Conflict` is for callers that cannot try again.
pub fn commit(error: &CommitError, of: GroupResource<'_>, name: &str) -> Status {
    match error {
        CommitError::Conflict { .. } => Status::conflict(of, name, MODIFIED),
        CommitError::Store(error) => store(error),
    }
}

/// Why a write that names an old resource version is refused.
pub const MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

/// A watch that cannot go on from where it was asked to.
pub fn watch(end: &WatchEnd) -> Status {
    match end {
        WatchEnd::Expired { after, oldest } => Status::expired(format!("too old resource version: {after} ({oldest})")),
        WatchEnd::Closed { .. } => Status::service_unavailable("the watch was closed by the server"),
    }
}

/// The client asked for a version that does not exist yet (Kubernetes API concept: "Unavailable resource versions").
pub fn too_large(asked: u64, newest: u64) -> Status {
    Status::too_large_version(&format!("Too large resource version: {asked}, current: {newest}"))
}

fn logged(error: &StoreError, status: Status) -> Status {
    tracing::error!(%error, "store request failed");
    status
}
