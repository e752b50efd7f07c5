//! The controllers against a real API server, with nodes that only say what a kubelet would; all in this process.
//!
//! Each controller works under its own ServiceAccount with upstream's bootstrap rights, so a right that is missing shows.
//! Nothing needs root. `support` makes the cluster, every other module tells stories of some controllers.

mod batch;
mod cleaning;
mod cluster;
mod devices;
#[path = "../hollow/mod.rs"]
mod hollow;
mod hopeless;
mod limits;
mod scaling;
mod support;
mod volumes;
mod workloads;
