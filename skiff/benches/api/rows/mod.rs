//! The groups of rows, in the order in which they are measured: each leaves the server running for the next.

mod cost;
mod curve;
mod list;
mod load;
mod start;
mod watch;

use anyhow::Result;

use crate::report::Measured;
use crate::server::Server;

/// What a group measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Group {
    /// Start to ready, and memory at rest.
    Start,
    /// CPU of single requests.
    Cost,
    /// Memory and lists with 3,000 pods and 3,000 ConfigMaps.
    List,
    /// Starts with data, and after kill -9.
    Restart,
    /// CPU of watch events.
    Watch,
    /// Latency under load, and durable creates a second.
    Load,
    /// All that grows with the number of pods.
    Curve,
}

/// How much is done.
pub(crate) struct Size {
    pub(crate) effort: f64,
    /// The end of the curve.
    pub(crate) pods: usize,
}

impl Size {
    /// That many at full effort, and never none.
    pub(crate) fn of(&self, count: usize) -> usize {
        ((count as f64 * self.effort) as usize).max(1)
    }
}

impl Group {
    pub(crate) const ALL: [Self; 7] =
        [Self::Start, Self::Cost, Self::List, Self::Restart, Self::Watch, Self::Load, Self::Curve];

    pub(crate) async fn measure(self, server: &mut Server, size: &Size, measured: &mut Measured) -> Result<()> {
        match self {
            Self::Start => start::first(server, measured).await,
            Self::Cost => cost::measure(server, size, measured).await,
            Self::List => list::measure(server, size, measured).await,
            Self::Watch => watch::measure(server, size, measured).await,
            Self::Load => load::measure(server, size, measured).await,
            Self::Restart => start::again(server, size, measured).await,
            Self::Curve => curve::measure(server, size, measured).await,
        }
    }
}
