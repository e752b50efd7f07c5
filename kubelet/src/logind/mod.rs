//! Graceful shutdown by logind's word (`pkg/kubelet/nodeshutdown/nodeshutdown_manager_linux.go`): an inhibitor lock holds the
//! machine's going down until the pods have ended, and `PrepareForShutdown` tells of it before any service is stopped.
//!
//! Enter at [`keep`]. [`Logind`] is the seam: [`bus`] speaks D-Bus. Where there is no system bus the kubelet goes by SIGTERM
//! alone, as [`crate::node_shutdown`] has it. Knows neither pods nor periods but by what it is given to run.

pub(crate) mod bus;
#[cfg(test)]
mod tests;

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use component::shutdown::Shutdown;
use futures::{StreamExt as _, future::BoxFuture, stream::BoxStream};

const DROP_IN: &str = "etc/systemd/logind.conf.d/99-kubelet.conf";
/// logind reads its configuration anew in its own time.
const LOOKS_MAX: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// After the bus has ended its stream of signals.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// Why logind cannot be followed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{operation}: {problem}")]
    Bus { operation: &'static str, problem: String },
    #[error("failed writing logind shutdown inhibit override file {path}: {source}", path = path.display())]
    DropIn { path: PathBuf, source: io::Error },
    #[error(
        "node shutdown manager was timed out after {LOOKS_MAX} attempts waiting for logind InhibitDelayMaxSec to update to \
         {wanted:?} (ShutdownGracePeriod), current value is {found:?}"
    )]
    Delay { wanted: Duration, found: Duration },
}

/// What is asked of logind, and of systemd about it.
#[async_trait]
pub(crate) trait Logind: Send + Sync {
    /// How long a lock may hold the machine (`InhibitDelayMaxUSec`).
    async fn delay_max(&self) -> Result<Duration, Error>;
    /// Has logind read its configuration anew.
    async fn reload(&self) -> Result<(), Error>;
    /// The lock: it holds until it is closed.
    async fn inhibit(&self) -> Result<OwnedFd, Error>;
    /// True when the machine is to go down, false when it is not after all. Ends with the bus.
    async fn going_down(&self) -> Result<BoxStream<'static, bool>, Error>;
}

/// What has to be done at each word of logind; the machine waits for its end.
pub(crate) type OnWord = Box<dyn Fn(bool) -> BoxFuture<'static, ()> + Send + Sync>;

/// Follows logind until shutdown. `period` is what all pods have together, `root` where /etc is.
pub(crate) async fn keep(period: Duration, root: PathBuf, on_word: OnWord, shutdown: Shutdown) {
    let mut is_first = true;
    loop {
        let ended = async {
            let bus = bus::Bus::connect().await?;
            follow(&bus, period, &root, &on_word).await
        };
        match shutdown.run_until(ended).await {
            None => return,
            Some(Err(error)) if is_first => {
                tracing::warn!(%error, "logind is not followed: of the machine's going down only SIGTERM tells");
                return;
            }
            Some(Err(error)) => tracing::warn!(%error, "logind cannot be followed, trying again"),
            Some(Ok(())) => tracing::warn!("logind's signals have ended, following them anew"),
        }
        is_first = false;
        if shutdown.run_until(tokio::time::sleep(RECONNECT_PAUSE)).await.is_none() {
            return;
        }
    }
}

/// Until the bus ends. The lock is dropped with the future: a kubelet that stops holds nothing.
async fn follow(logind: &dyn Logind, period: Duration, root: &Path, on_word: &OnWord) -> Result<(), Error> {
    ensure_delay(logind, period, root).await?;
    // The signals first: none is missed between the two.
    let mut words = logind.going_down().await?;
    let mut lock = Some(logind.inhibit().await?);
    tracing::info!(?period, "logind holds the machine's going down for this kubelet");
    while let Some(is_going_down) = words.next().await {
        on_word(is_going_down).await;
        lock = match is_going_down {
            true => None,
            // The machine stays: the next time is to be held, too.
            false => Some(logind.inhibit().await?),
        };
    }
    drop(lock);
    Ok(())
}

/// Makes logind wait as long as the pods may take.
async fn ensure_delay(logind: &dyn Logind, period: Duration, root: &Path) -> Result<(), Error> {
    let mut found = logind.delay_max().await?;
    if found >= period {
        return Ok(());
    }
    let path = root.join(DROP_IN);
    let text = format!("# Kubelet logind override\n[Login]\nInhibitDelayMaxSec={}\n", period.as_secs());
    let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, text));
    written.map_err(|source| Error::DropIn { path, source })?;
    logind.reload().await?;
    for look in 1..=LOOKS_MAX {
        found = logind.delay_max().await?;
        if found >= period {
            return Ok(());
        }
        if look < LOOKS_MAX {
            tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(look - 1)).await;
        }
    }
    Err(Error::Delay { wanted: period, found })
}
