//! Real packets through the rules: `cargo test -p proxy --test traffic -- --ignored`.
//!
//! Needs root, iproute2, iptables and conntrack. Each test works in network namespaces of its own: a "host" with a
//! bridge, and pods on it. The API server is one in memory.

mod cases;
mod nftables;
mod scale;
mod world;
