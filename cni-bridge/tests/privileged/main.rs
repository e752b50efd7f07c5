//! The plugins against a real kernel, beside Debian's plugins: `cargo test -p cni-bridge --test privileged -- --ignored`.
//!
//! Needs root, iproute2, iptables and (for comparing) the package containernetworking-plugins. Each test works in a
//! network and mount namespace of its own thread; nothing of the host is touched.

mod compare;
mod lives;
mod look;
mod world;
