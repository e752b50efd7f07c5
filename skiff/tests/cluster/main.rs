//! Whole clusters with real containers, each in a bed of its own, spoken to with kubectl and curl.
//!
//! One binary, so that it is linked once: `support` makes the cluster, `go_between` stands between a kubelet and its
//! runtime, every other module is a story.

mod bad_input;
mod bad_pods;
mod conformance;
mod flow;
mod go_between;
mod kills;
mod machine;
mod metrics;
mod names;
mod node;
mod nodes;
mod offline;
mod older_style;
mod page;
mod policies;
mod restart;
mod rotation;
mod standalone;
mod store;
mod streams;
mod support;
mod three_nodes;
mod walkthrough;
mod workloads;
