//! Work that blocks its thread: reads of many values, indexing, recovery.

use futures::future::{Either, ready};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{JoinError, spawn_blocking};

/// Whether the runtime has one thread only. There, blocking work is done in place: a helper's thread would run beside
/// simulated time, which would then move on before the work is done, and no run would be like another.
pub(crate) fn is_single_threaded() -> bool {
    Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread
}

/// Does `work` on a thread that may block. It begins at once, whether or not the future is polled.
pub(crate) fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Result<T, JoinError>> + Send {
    match is_single_threaded() {
        true => Either::Left(ready(Ok(work()))),
        false => Either::Right(spawn_blocking(work)),
    }
}
