//! The kubelet: runs the pods of one node through a CRI runtime, and tells the API how they are.
//!
//! Enter at [`run`]. A pod's way: [`dispatch`] gives it a worker ([`pod::worker`]), which looks at the runtime
//! ([`runtime`]), decides ([`pod::plan`], pure), makes volumes ([`volumes`]), images ([`images`]), sandboxes and
//! containers, and tells the status ([`status`], pure). [`eviction`] ends pods before
//! the node runs out of something, [`node`] keeps the Node object, [`server`] serves port 10250.
//! Nothing here knows how the API stores objects, or what a Service's address does.

mod certificates;
pub mod cgroups;
pub mod config;
mod connect;
mod dispatch;
mod enforcement;
pub mod env;
pub mod eviction;
mod facts;
mod flags;
mod folders;
pub mod images;
mod keepers;
mod log_rotation;
mod logind;
mod metrics;
mod net_usage;
pub mod node;
mod node_labels;
mod node_shutdown;
mod oom;
mod options;
mod orphans;
mod paths;
pub mod pod;
mod pod_resources;
mod ports;
pub mod probes;
mod process;
mod program;
pub mod rate;
mod reporting;
pub mod runtime;
pub mod server;
mod sources;
mod static_pods;
pub mod status;
mod tidying;
pub mod usage;
pub mod volumes;
mod working_pods;

pub use flags::flags;
pub use options::Options;
pub use program::{Error, Seams, run};
