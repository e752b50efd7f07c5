//! UDP flows that lead to endpoints which are gone. A flow that conntrack knows keeps its way as long as packets come,
//! so a client that does not give up (a DNS resolver with a fixed port) would never reach a living endpoint.
//!
//! [`Frontends`] decides (pure), [`clean`] lists and deletes over netlink (`kernel`). Rules: upstream's, so that flows of
//! UDP live as long as TCP connections do: neither traffic policies nor hints end one.

mod kernel;

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use crate::metrics;
use crate::model::{Endpoint, Family, ServicePort};
use kernel::{Filter, Flow};

/// With more frontends all UDP flows are listed once, instead of each one's.
const FILTERS_MAX: usize = 8;

/// The UDP frontends of Services with the endpoints that serve them. A Service without any is left out: there is no
/// better way for its flows.
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

    /// What the kernel is to list.
    fn filters(&self) -> Vec<Filter> {
        if self.by_address.len() + self.by_node_port.len() > FILTERS_MAX {
            return vec![Filter::Udp];
        }
        let by_address = self.by_address.keys().map(|address| Filter::To(*address));
        by_address.chain(self.by_node_port.keys().map(|port| Filter::ToPort(*port))).collect()
    }

    /// To a frontend that no serving endpoint of it answers.
    fn is_stale(&self, flow: &Flow) -> bool {
        let by_address = self.by_address.get(&flow.destination);
        let serving = by_address.or_else(|| self.by_node_port.get(&flow.destination.port()));
        serving.is_some_and(|serving| !serving.contains(&flow.answers_from))
    }
}

/// Deletes stale flows. Failing leaves them to their timeouts; it is told once a call.
pub(crate) async fn clean(family: Family, frontends: Frontends) {
    let start = Instant::now();
    let cleaned = tokio::task::spawn_blocking(move || delete_stale(family, &frontends)).await;
    match cleaned.unwrap_or_else(|error| Err(io::Error::other(error))) {
        Ok(deleted) => metrics::conntrack_cleaned(family, deleted, start.elapsed()),
        Err(error) => tracing::warn!(%error, "cannot list connections; stale UDP flows stay until they time out"),
    }
}

/// How many were deleted.
fn delete_stale(family: Family, frontends: &Frontends) -> io::Result<u64> {
    let mut deleted = 0;
    for filter in frontends.filters() {
        let mut stale = Vec::new();
        kernel::list(family, filter, |flow| {
            if frontends.is_stale(&flow) {
                stale.push(flow);
            }
        })?;
        for flow in stale {
            match kernel::delete(family, &flow) {
                Ok(()) => deleted += 1,
                // It timed out meanwhile.
                Err(error) => tracing::debug!(%error, ?flow, "flow was not deleted"),
            }
        }
    }
    Ok(deleted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frontends() -> Frontends {
        let mut frontends = Frontends::default();
        let serving = HashSet::from(["10.1.1.2:53".parse().unwrap()]);
        frontends.by_address.insert("10.96.0.10:53".parse().unwrap(), serving.clone());
        frontends.by_node_port.insert(30053, serving);
        frontends
    }

    #[test]
    fn only_flows_to_a_frontend_without_a_serving_answerer_are_stale() {
        for (destination, answers_from, is_stale) in [
            ("10.96.0.10:53", "10.1.1.2:53", false),
            ("10.96.0.10:53", "10.1.1.3:53", true),
            // From before there were endpoints: not translated.
            ("10.96.0.10:53", "10.96.0.10:53", true),
            ("192.0.2.2:30053", "10.1.1.3:53", true),
            ("192.0.2.2:30053", "10.1.1.2:53", false),
            ("8.8.8.8:53", "8.8.8.8:53", false),
        ] {
            let [destination, answers_from] = [destination, answers_from].map(|text| text.parse().unwrap());
            let flow = Flow { destination, answers_from, key: Vec::new() };
            assert_eq!(frontends().is_stale(&flow), is_stale, "{destination} by {answers_from}");
        }
    }

    #[test]
    fn few_frontends_are_asked_for_and_many_are_not() {
        let mut frontends = frontends();
        assert_eq!(frontends.filters().len(), 2);
        for last in 0..10 {
            frontends.by_address.insert(SocketAddr::from(([10, 96, 1, last], 53)), HashSet::new());
        }
        assert_eq!(frontends.filters(), [Filter::Udp]);
    }
}
