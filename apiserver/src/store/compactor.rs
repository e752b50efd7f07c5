//! Forgets history as time goes by: every interval, what was the newest an interval ago.

use std::sync::Arc;
use std::time::Duration;

use component::shutdown::Shutdown;

use super::{Error, Revision, Store};

/// Runs until `shutdown`. History then reaches back one to two intervals. Several servers may run it on one etcd: each
/// is told by `compacted` what is gone, whoever was first.
pub async fn run(
    store: Arc<dyn Store>,
    interval: Duration,
    compacted: impl Fn(Revision) + Send + 'static,
    shutdown: Shutdown,
) {
    let compact = async {
        let mut before = None;
        loop {
            if let Some(revision) = before {
                match store.compact(revision).await {
                    Ok(()) | Err(Error::Compacted { .. }) => compacted(revision),
                    Err(error) => tracing::warn!(%error, %revision, "could not compact the store"),
                }
            }
            before = match store.revision().await {
                Ok(revision) => Some(revision),
                Err(error) => {
                    tracing::warn!(%error, "could not read the store's revision");
                    before
                }
            };
            tokio::time::sleep(interval).await;
        }
    };
    shutdown.run_until(compact).await;
}
