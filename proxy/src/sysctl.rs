//! Kernel switches under `/proc/sys` that Services need.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::options::Conntrack;

/// `/proc/sys`, or a test's copy of it.
#[derive(Clone, Debug)]
pub(crate) struct Sysctl(pub(crate) PathBuf);

impl Sysctl {
    pub(crate) fn get(&self, key: &str) -> Option<String> {
        std::fs::read_to_string(self.0.join(key)).ok().map(|text| text.trim().to_string())
    }

    /// Makes `key` hold `value`; writes only when it does not.
    pub(crate) fn ensure(&self, key: &str, value: &str) -> io::Result<()> {
        if self.get(key).as_deref() == Some(value) {
            return Ok(());
        }
        std::fs::write(self.0.join(key), value)
            .map_err(|error| io::Error::new(error.kind(), format!("set {key} to {value}: {error}")))
    }

    fn try_ensure(&self, key: &str, value: &str) {
        if let Err(error) = self.ensure(key, value) {
            tracing::warn!(%error, "kernel switch stays as it is");
        }
    }

    /// Lets Services work for pods on one bridge. Their packets to each other stay on the bridge; without this switch
    /// an answer goes past iptables straight to the client, from an address that the client never asked, and the
    /// client waits until it gives up. Kernels without bridge netfilter have no such switch.
    pub(crate) fn call_iptables_for_bridges(&self) {
        for key in ["net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"] {
            if Path::exists(&self.0.join(key)) {
                self.try_ensure(key, "1");
            }
        }
    }

    /// Lets packets from 127.0.0.1 to a NodePort leave by another link; the kernel drops them as martians otherwise.
    pub(crate) fn route_localnet(&self) -> io::Result<()> {
        self.ensure("net/ipv4/conf/all/route_localnet", "1")
    }

    pub(crate) fn is_tcp_liberal(&self) -> bool {
        self.get("net/netfilter/nf_conntrack_tcp_be_liberal").is_some_and(|value| value != "0")
    }

    /// Limits and timeouts of connection tracking. The limit belongs to the host: in a network namespace of a container
    /// it can only be read, and the others' timeouts still count.
    pub(crate) fn conntrack(&self, wanted: &Conntrack, cores: u64) {
        let max = if wanted.max_per_core == 0 { 0 } else { (wanted.max_per_core * cores).max(wanted.min) };
        let prefix = "net/netfilter/nf_conntrack_";
        let now = self.get(&format!("{prefix}max")).and_then(|text| text.parse::<u64>().ok());
        if max > 0 && now.is_some_and(|now| now < max) {
            self.try_ensure(&format!("{prefix}max"), &max.to_string());
        }
        for (key, timeout) in [
            ("tcp_timeout_established", wanted.tcp_established_timeout),
            ("tcp_timeout_close_wait", wanted.tcp_close_wait_timeout),
            ("udp_timeout", wanted.udp_timeout),
            ("udp_timeout_stream", wanted.udp_stream_timeout),
        ] {
            if timeout > Duration::ZERO && self.get(&format!("{prefix}{key}")).is_some() {
                self.try_ensure(&format!("{prefix}{key}"), &timeout.as_secs().to_string());
            }
        }
        if wanted.tcp_be_liberal {
            self.try_ensure(&format!("{prefix}tcp_be_liberal"), "1");
        }
    }
}
