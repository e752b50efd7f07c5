//! The reconcile loops: kube-controller-manager as a library.
//!
//! Enter by [`flags`], [`Options::from_flags`] and [`run`]. Each controller has a folder: `plan.rs` is its core, which
//! turns what is into what to write and is pure; `mod.rs` is its shell, which reads caches and carries plans out.
//! Controllers know the API only; they do not know one another, storage, or the other components.

mod bootstrap;
mod certificates;
mod clusterroleaggregation;
mod common;
mod cronjob;
mod daemonset;
mod deployment;
mod devicetainteviction;
mod disruption;
mod endpoints;
mod endpointslice;
mod endpointslicemirroring;
mod flags;
mod garbagecollector;
mod job;
mod legacytokens;
mod manager;
mod names;
mod namespace;
mod nodeipam;
mod nodelifecycle;
mod options;
mod podautoscaler;
mod podgc;
mod replicaset;
mod resourceclaim;
mod resourcequota;
mod rootca;
mod serviceaccount;
mod serviceaccounttoken;
mod servicecidr;
mod servicelb;
mod statefulset;
mod tainteviction;
#[cfg(test)]
mod tests;
mod ttl;
mod ttlafterfinished;
mod volume;

pub use self::flags::flags;
pub use component::context::Seams;

pub use self::manager::{Error, run};
pub use self::options::Options;
