//! One address on which a Service's health is asked: opened, tried again where that fails, served until it goes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use component::serve;
use component::shutdown::Shutdown;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use super::Shared;
use super::answer::Answers;

/// Before that nobody is told: an address that is new may only be checked for another host that has it.
const TOLD_AFTER: Duration = Duration::from_secs(2);
/// Whoever had a port a moment ago (an address that went and came back) needs so long to let go of it.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Nobody tells when another program lets go of a port.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Until shutdown. One address that cannot be had keeps no other from being served.
pub(super) async fn keep(address: SocketAddr, shared: Arc<Shared>, shutdown: Shutdown) {
    let Some(listener) = shutdown.run_until(open(address, &shared)).await else { return };
    let answers = Answers { port: address.port(), shared };
    serve::accept(listener, None, answers, shutdown).await;
}

async fn open(address: SocketAddr, shared: &Shared) -> TcpListener {
    let (start, mut pause, mut told) = (Instant::now(), FIRST_PAUSE, None);
    loop {
        // Before the try: what changes during it counts, too.
        let changed = shared.changed.notified();
        // Each family has its own, so that both can have the same port.
        match serve::bind_family(address) {
            Ok(listener) => {
                if told.is_some() {
                    tracing::info!(%address, "a healthcheck that could not be started is served now");
                }
                return listener;
            }
            Err(error) if start.elapsed() >= TOLD_AFTER => told = shared.tell(address.port(), told, &error),
            Err(error) => tracing::debug!(%error, "trying again"),
        }
        tokio::select! {
            () = changed => {}
            () = sleep(pause) => pause = (2 * pause).min(LONGEST_PAUSE),
        }
    }
}
