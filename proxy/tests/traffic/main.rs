//! Real packets through the rules of either mode: `cargo test -p proxy --test traffic -- --ignored`.
//!
//! Needs root, iproute2, iptables, nftables and conntrack. Each test works in network namespaces of its own: a "host"
//! with a bridge, and pods on it. The API server is one in memory.

mod cases;
mod lives;
mod net;
mod policies;
mod world;
