//! What a pod has sent and received: the counters of its network's interfaces, through any of its processes.

use std::fs;

use k8s_openapi::api::core::v1::Pod;

use crate::pod::{node::Node, spec};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    pub bytes: u64,
    pub packets: u64,
    pub errors: u64,
    pub dropped: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub received: Traffic,
    pub sent: Traffic,
}

/// None for pods on the node's own network, and while no process of the pod runs.
pub fn of_pod(node: &Node, pod: &Pod) -> Option<Vec<Interface>> {
    if spec::is_host_network(pod) {
        return None;
    }
    let process = node.cgroups.as_ref()?.any_process(pod)?;
    let text = fs::read_to_string(format!("/proc/{process}/net/dev")).ok()?;
    Some(parse(&text)).filter(|interfaces| !interfaces.is_empty())
}

/// Interfaces that begin so are no node's own, as cAdvisor has it.
const NOT_THE_NODES: [&str; 4] = ["lo", "veth", "docker", "nerdctl"];

/// Those of the network that the kubelet itself is in: the node's.
pub fn of_node() -> Vec<Interface> {
    let mut interfaces = parse(&fs::read_to_string("/proc/self/net/dev").unwrap_or_default());
    interfaces.retain(|interface| !NOT_THE_NODES.iter().any(|prefix| interface.name.starts_with(prefix)));
    interfaces
}

/// Reads /proc/net/dev; the loopback is left out.
fn parse(text: &str) -> Vec<Interface> {
    let one = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let numbers: Vec<u64> = numbers.split_whitespace().filter_map(|it| it.parse().ok()).collect();
        let traffic = |from: usize| {
            let own = numbers.get(from..from + 4)?;
            Some(Traffic { bytes: own[0], packets: own[1], errors: own[2], dropped: own[3] })
        };
        Some(Interface { name: name.trim().to_owned(), received: traffic(0)?, sent: traffic(8)? })
    };
    text.lines().filter_map(one).filter(|interface| interface.name != "lo").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets errs\n\
                    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n\
                    eth0: 1000 10 1 2 0 0 0 0 2000 20 3 4 0 0 0 0\n";
        let received = Traffic { bytes: 1000, packets: 10, errors: 1, dropped: 2 };
        let sent = Traffic { bytes: 2000, packets: 20, errors: 3, dropped: 4 };
        assert_eq!(parse(text), [Interface { name: "eth0".into(), received, sent }]);
    }
}
