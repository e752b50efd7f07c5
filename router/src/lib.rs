//! skiff-router: the node's part of the pod network.
//!
//! Enter at [`run`]. `policy` says what NetworkPolicies let through (pure), `nft` writes it as rules (pure) and applies
//! them; `routes` leads to other nodes' pods, `outside` out of the cluster (through a host that forwards nothing by
//! default: `forwarding`), and `cni` is the configuration of this node's pods. `run` is the shell: watches in, rules and
//! routes out. Knows Nodes, Pods, Namespaces and NetworkPolicies; no Services, no container runtime.

mod cni;
mod flags;
mod forwarding;
mod metrics;
mod nft;
mod options;
mod outside;
mod policy;
mod routes;
mod run;

pub use flags::flags;
pub use options::Options;
pub use run::{Error, Seams, run};
