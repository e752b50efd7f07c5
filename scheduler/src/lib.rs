//! Pods to nodes: kube-scheduler as a library.
//!
//! Enter by [`flags`], [`Options::from_flags`] and [`run`]. The parts, from the inside out: [`objects`] (what is read of
//! the API's objects), [`snapshot`] (the cluster as it stands), [`devices`] (which ones a claim gets), [`plugins`] and
//! [`framework`] (one decision), [`queue`] (who is next), [`core`] (events in, decisions out); all these are pure. `shell`
//! carries decisions to the API. Nothing here knows the kubelet, containers or storage.

pub mod config;
pub mod core;
pub mod devices;
pub mod event;
pub mod extender;
mod flags;
pub mod framework;
pub mod metrics;
pub mod objects;
mod options;
pub mod plugins;
pub mod preemption;
mod program;
pub mod queue;
pub mod shell;
pub mod snapshot;
#[cfg(test)]
mod testkit;

pub use component::context::Seams;
pub use flags::flags;
pub use options::Options;
pub use program::{Error, run};
