//! UDP flows that lead to endpoints which are gone. A flow that conntrack knows keeps its way as long as packets come,
//! so a client that does not give up (a DNS resolver with a fixed port) would never reach a living endpoint.
//!
//! [`stale`] decides (pure), [`clean`] lists and deletes with the `conntrack` tool.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;

use tokio::process::Command;

use crate::metrics;
use crate::model::{Endpoint, Family, ServicePort};

/// The UDP frontends of all Services with the endpoints that serve them. A Service without any is left out: there is
/// no better way for its flows.
#[derive(Debug, Default)]
pub(crate) struct Frontends {
    by_address: HashMap<SocketAddr, HashSet<SocketAddr>>,
    by_node_port: HashMap<u16, HashSet<SocketAddr>>,
}

impl Frontends {
    pub(crate) fn add(&mut self, port: &ServicePort, endpoints: &[Endpoint]) {
        let serving: HashSet<SocketAddr> =
            endpoints.iter().filter(|endpoint| endpoint.is_serving).map(|endpoint| endpoint.address).collect();
        if port.protocol != "udp" || serving.is_empty() {
            return;
        }
        for ip in [&port.cluster_ip].into_iter().chain(&port.load_balancer_ips).chain(&port.external_ips) {
            self.by_address.insert(SocketAddr::new(*ip, port.port), serving.clone());
        }
        if port.node_port != 0 {
            self.by_node_port.insert(port.node_port, serving);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_address.is_empty()
    }
}

/// A flow as conntrack lists it: where it came from, where it went to, and who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flow {
    source: SocketAddr,
    destination: SocketAddr,
    answers_from: SocketAddr,
}

impl Flow {
    /// From a line such as `udp 17 29 src=A dst=B sport=1 dport=2 [UNREPLIED] src=C dst=A sport=2 dport=1 use=1`.
    fn parse(line: &str) -> Option<Flow> {
        let values =
            |key: &str| -> Vec<&str> { line.split_whitespace().filter_map(|word| word.strip_prefix(key)).collect() };
        let (sources, destinations) = (values("src="), values("dst="));
        let (source_ports, ports) = (values("sport="), values("dport="));
        let address = |ip: &str, port: &str| Some(SocketAddr::new(ip.parse::<IpAddr>().ok()?, port.parse().ok()?));
        Some(Flow {
            source: address(sources.first()?, source_ports.first()?)?,
            destination: address(destinations.first()?, ports.first()?)?,
            answers_from: address(sources.get(1)?, source_ports.get(1)?)?,
        })
    }
}

/// The flows to a frontend that no serving endpoint of it answers.
fn stale(listing: &str, frontends: &Frontends) -> Vec<Flow> {
    let is_stale = |flow: &Flow| {
        let by_address = frontends.by_address.get(&flow.destination);
        let serving = by_address.or_else(|| frontends.by_node_port.get(&flow.destination.port()));
        serving.is_some_and(|serving| !serving.contains(&flow.answers_from))
    };
    listing.lines().filter_map(Flow::parse).filter(is_stale).collect()
}

/// Deletes stale flows. Failing leaves them to their timeouts; it is told once a call.
pub(crate) async fn clean(family: Family, frontends: &Frontends) {
    let family_flag = if family == Family::V4 { "ipv4" } else { "ipv6" };
    let listing = match run(&["-L", "-f", family_flag, "-p", "udp"]).await {
        Ok(listing) => listing,
        Err(error) => {
            return tracing::warn!(%error, "cannot list connections; stale UDP flows stay until they time out");
        }
    };
    let mut deleted = 0;
    for flow in stale(&listing, frontends) {
        let (source, destination) = (flow.source.ip().to_string(), flow.destination.ip().to_string());
        let (source_port, port) = (flow.source.port().to_string(), flow.destination.port().to_string());
        let arguments = [
            "-D",
            "-f",
            family_flag,
            "-p",
            "udp",
            "-s",
            &source,
            "-d",
            &destination,
            "--sport",
            &source_port,
            "--dport",
            &port,
        ];
        match run(&arguments).await {
            Ok(_) => deleted += 1,
            // It timed out meanwhile.
            Err(error) => tracing::debug!(%error, ?flow, "flow was not deleted"),
        }
    }
    metrics::conntrack_deleted(family, deleted);
}

async fn run(arguments: &[&str]) -> std::io::Result<String> {
    let output = Command::new("conntrack").args(arguments).stdin(Stdio::null()).kill_on_drop(true).output().await?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(std::io::Error::other(format!("conntrack: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_flows_to_a_frontend_without_a_serving_answerer_are_stale() {
        let mut frontends = Frontends::default();
        let serving = HashSet::from(["10.1.1.2:53".parse().unwrap()]);
        frontends.by_address.insert("10.96.0.10:53".parse().unwrap(), serving.clone());
        frontends.by_node_port.insert(30053, serving);
        let listing = "\
udp      17 29 src=10.1.1.9 dst=10.96.0.10 sport=4000 dport=53 src=10.1.1.2 dst=10.1.1.9 sport=53 dport=4000 mark=0 use=1
udp      17 29 src=10.1.1.9 dst=10.96.0.10 sport=4001 dport=53 src=10.1.1.3 dst=10.1.1.9 sport=53 dport=4001 [ASSURED] mark=0 use=1
udp      17 29 src=10.1.1.9 dst=10.96.0.10 sport=4002 dport=53 [UNREPLIED] src=10.96.0.10 dst=10.1.1.9 sport=53 dport=4002 mark=0 use=1
udp      17 29 src=192.0.2.1 dst=192.0.2.2 sport=4003 dport=30053 src=10.1.1.3 dst=192.0.2.1 sport=53 dport=4003 mark=0 use=1
udp      17 29 src=10.1.1.9 dst=8.8.8.8 sport=4004 dport=53 src=8.8.8.8 dst=10.1.1.9 sport=53 dport=4004 mark=0 use=1
";
        let ports: Vec<u16> = stale(listing, &frontends).iter().map(|flow| flow.source.port()).collect();
        assert_eq!(ports, [4001, 4002, 4003]);
    }
}
