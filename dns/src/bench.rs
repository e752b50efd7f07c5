//! What the benchmark measures: the way of one packet through the pure core. Not for use by others.

use std::net::IpAddr;

use component::random::Random;
use component::shutdown::Shutdown;
use hickory_proto::rr::Name;

use crate::answer::Rules;
use crate::clients::Clients;
use crate::feed::Shared;
use crate::forward::Forward;
use crate::message::Transport;
use crate::options::ForwardOptions;
use crate::serve::{Begun, Server};
use crate::zone::{Entry, Port, Zone};

/// A server that knows so many Services, `service-N` in namespace `default`, and has no socket.
pub struct Answerer(Server);

impl Answerer {
    pub fn with_services(count: u16) -> Answerer {
        let mut zone = Zone::new(Name::from_ascii("cluster.local.").unwrap_or_default(), Vec::new());
        zone.set_namespace("default", true);
        for number in 0..count {
            let [high, low] = number.to_be_bytes();
            let ports = vec![Port { name: "http".into(), protocol: "tcp".into(), number: 80 }];
            let entry = Entry::Cluster { addresses: vec![IpAddr::from([10, 96, high, low])], ports };
            zone.set_service("default", &format!("service-{number}"), Some(entry));
        }
        zone.is_complete = true;
        let rules = Rules { ttl_seconds: 5, has_pod_names: true, walks_search_path: true };
        let forward = ForwardOptions {
            resolv_conf: "/dev/null".into(),
            resolver_port: 53,
            timeout: std::time::Duration::ZERO,
            cache_ttl: std::time::Duration::ZERO,
            cache_size: 0,
        };
        let forward = Forward::new(forward, Vec::new(), Random::seeded(0), Shutdown::new());
        let clients = Clients::new(vec!["10.244.0.0/16".parse().unwrap_or_default()]);
        Answerer(Server::new(Shared::new(zone), rules, Shared::new(clients), forward))
    }

    /// The reply to a datagram from a pod, when nobody else need be asked.
    pub fn answer(&self, packet: &[u8]) -> Option<Vec<u8>> {
        match self.0.begin(packet, IpAddr::from([10, 244, 0, 7]), Transport::Udp) {
            Begun::Reply(bytes) => Some(bytes),
            Begun::Nothing | Begun::Later(_) => None,
        }
    }
}
