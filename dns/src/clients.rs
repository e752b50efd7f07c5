//! Who may ask. A server on a node's own address would otherwise serve, and resolve names for, whoever reaches the node.
//!
//! Pure.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;

#[derive(Debug, Default)]
pub(crate) struct Clients {
    /// Empty: everybody.
    ranges: Vec<IpNet>,
    /// The cluster's nodes: their own programs ask from these, and pods whose packets were masqueraded.
    nodes: HashSet<IpAddr>,
}

impl Clients {
    pub(crate) fn new(ranges: Vec<IpNet>) -> Clients {
        Clients { ranges, nodes: HashSet::new() }
    }

    pub(crate) fn set_nodes(&mut self, nodes: HashSet<IpAddr>) {
        self.nodes = nodes;
    }

    pub(crate) fn may_ask(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.ranges.is_empty()
            || client.is_loopback()
            || self.nodes.contains(&client)
            || self.ranges.iter().any(|range| range.contains(&client))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_nodes_and_this_machine_may_ask() {
        let mut clients = Clients::new(vec!["10.244.0.0/16".parse().unwrap()]);
        clients.set_nodes(HashSet::from(["192.0.2.7".parse().unwrap()]));
        for (client, expected) in [
            ("10.244.3.4", true),
            ("::ffff:10.244.3.4", true),
            ("127.0.0.1", true),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(clients.may_ask(client.parse().unwrap()), expected, "{client}");
        }
        assert!(Clients::default().may_ask("192.0.2.8".parse().unwrap()));
    }
}
