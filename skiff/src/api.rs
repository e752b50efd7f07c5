//! The API server as `skiff` sees it: ready or not.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// A server starts in a fraction of a second; a store with much in it takes longer.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Between two tries. Nothing tells when another program begins to listen.
const PAUSE: Duration = Duration::from_millis(20);

/// Returns when `/readyz` says so: then it listens, and the bootstrap RBAC policy is in its store.
pub(crate) async fn wait_until_ready(client: &kube::Client) -> Result<()> {
    let ready = async {
        loop {
            let request = http::Request::get("/readyz").body(Vec::new()).context("make a request")?;
            match client.request_text(request).await {
                Ok(_) => return anyhow::Ok(()),
                Err(error) => tracing::debug!(%error, "the API server is not ready"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    match tokio::time::timeout(TIMEOUT, ready).await {
        Ok(ready) => ready,
        Err(_) => bail!("the API server is not ready after {TIMEOUT:?}"),
    }
}
