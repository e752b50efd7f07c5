//! kube-proxy: Services as rules of the node's packet filter.
//!
//! Enter at [`run`]. `model` says which endpoints a Service's traffic goes to, `iptables` and `nftables` write and apply
//! the rules for it; all have pure cores. `run` is the thin shell around them: informers in, transactions out. Knows no pods and
//! no containers: only Services, EndpointSlices and this node's Node.

mod config;
mod conntrack;
mod flags;
mod health;
mod iptables;
mod metrics;
mod mode;
mod model;
mod netlink;
mod nftables;
mod objects;
mod options;
mod pending;
mod run;
mod service_health;
mod serving;
mod syncer;
mod sysctl;
#[cfg(test)]
mod testkit;
mod view;

pub use flags::flags;
pub use options::Options;
pub use run::{Error, Seams, run};
