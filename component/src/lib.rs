//! What makes a program a Kubernetes component.
//!
//! Enter at [`flags`] (the command line), [`client`] (the way to the API server) and [`context`] (what `run` is handed):
//! [`informer`]s fill stores, stores fill a [`queue`], the queue drives the reconcile loop, a [`recorder`] tells events.
//! [`pipes`] join components that share a process with the API server. Nothing here knows any one component.

pub mod bootstrap_token;
pub mod client;
pub mod clock;
pub mod config;
pub mod context;
pub mod delegated;
pub mod file_watch;
pub mod flags;
pub mod gates;
pub mod informer;
pub mod key;
pub mod leader;
pub mod logging;
pub mod metrics;
pub mod pipes;
pub mod queue;
pub mod random;
pub mod recorder;
pub mod removal;
pub mod scheduling;
pub mod serve;
pub mod shutdown;
#[cfg(feature = "testing")]
pub mod testing;
pub mod tls;
pub mod version;
