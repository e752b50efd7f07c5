//! The one signal that ends a component, as an argument.
//!
//! A child ends with its parent, never the other way round.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A shared request to stop. Clones see the same request.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// Not triggered.
    pub fn new() -> Self {
        Self::default()
    }

    /// Triggered by the first SIGTERM or SIGINT. A second one ends the process at once with code 1, as upstream's.
    /// Spawns a task on the current runtime.
    pub fn from_signals() -> std::io::Result<Self> {
        let shutdown = Self::new();
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let triggered = shutdown.clone();
        tokio::spawn(async move {
            for first in [true, false] {
                tokio::select! {
                    _ = terminate.recv() => tracing::info!("received SIGTERM"),
                    _ = interrupt.recv() => tracing::info!("received SIGINT"),
                }
                if !first {
                    std::process::exit(1);
                }
                triggered.trigger();
            }
        });
        Ok(shutdown)
    }

    /// Returns once triggered; at once if it already is.
    pub async fn cancelled(&self) {
        self.0.cancelled().await;
    }

    /// Asks everything that holds this signal to stop.
    pub fn trigger(&self) {
        self.0.cancel();
    }

    /// Whether the signal was given.
    pub fn is_triggered(&self) -> bool {
        self.0.is_cancelled()
    }

    /// A signal that ends with this one, and can be triggered alone.
    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }

    /// Runs `future` until it ends or the signal comes: `None` when the signal came first and `future` was dropped.
    pub async fn run_until<F: Future>(&self, future: F) -> Option<F::Output> {
        self.0.run_until_cancelled(future).await
    }
}
