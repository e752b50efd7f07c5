//! `spec.healthCheckNodePort`: load balancers ask a node on this port whether it has endpoints of the Service.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use component::recorder::{Recorder, Type};
use component::serve;
use component::shutdown::Shutdown;
use futures::future::{Ready, ready};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use k8s_openapi::api::core::v1::ObjectReference;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, TcpSocket};

use crate::health::Health;
use crate::iptables::NodePorts;
use crate::model::{Endpoint, Family, ServicePort};

/// The ports that are open, by Service.
pub(crate) struct ServiceHealth {
    family: Family,
    node_name: String,
    health: Health,
    recorder: Recorder,
    shutdown: Shutdown,
    open: BTreeMap<String, Open>,
}

/// Load balancers ask each node every few seconds.
const LISTEN_BACKLOG: u32 = 128;

struct Open {
    port: u16,
    addresses: Vec<IpAddr>,
    close: Shutdown,
    local_endpoints: Arc<AtomicUsize>,
}

impl ServiceHealth {
    pub(crate) fn new(family: Family, node_name: &str, health: Health, recorder: Recorder, shutdown: Shutdown) -> Self {
        ServiceHealth { family, node_name: node_name.to_owned(), health, recorder, shutdown, open: BTreeMap::new() }
    }

    /// Opens, closes or moves a Service's port, and takes the number of its endpoints on this node. It is open where
    /// NodePorts are served.
    pub(crate) fn set(&mut self, service: &str, ports: &[(ServicePort, Vec<Endpoint>)], node_ports: &NodePorts) {
        let wanted = ports.iter().map(|(port, _)| port.health_check_node_port).find(|port| *port != 0);
        let wanted = wanted.map(|port| (port, addresses(self.family, node_ports)));
        if let Some(open) = self.open.get(service)
            && wanted.as_ref().is_none_or(|(port, addresses)| open.port != *port || open.addresses != *addresses)
        {
            open.close.trigger();
            self.open.remove(service);
        }
        let Some((port, addresses)) = wanted else { return };
        let count = local_endpoints(ports);
        match self.open.get(service) {
            Some(open) => open.local_endpoints.store(count, Ordering::Relaxed),
            None => self.listen(service, port, addresses, count),
        }
    }

    fn listen(&mut self, service: &str, port: u16, addresses: Vec<IpAddr>, count: usize) {
        let listeners = addresses.iter().map(|ip| bind(SocketAddr::new(*ip, port)));
        let listeners: Vec<TcpListener> = match listeners.collect() {
            Ok(listeners) => listeners,
            Err(error) => return self.tell(service, port, &error),
        };
        let (close, local_endpoints) = (self.shutdown.child(), Arc::new(AtomicUsize::new(count)));
        let (namespace, name) = service.split_once('/').unwrap_or(("", service));
        let answers = Answers {
            namespace: namespace.into(),
            name: name.into(),
            local_endpoints: local_endpoints.clone(),
            health: self.health.clone(),
        };
        for listener in listeners {
            tokio::spawn(serve::accept(listener, None, answers.clone(), close.clone()));
        }
        self.open.insert(service.to_owned(), Open { port, addresses, close, local_endpoints });
    }

    fn tell(&self, service: &str, port: u16, error: &std::io::Error) {
        let (namespace, name) = service.split_once('/').unwrap_or(("", service));
        let message =
            format!("node {} failed to start healthcheck {service:?} on port {port}: {error}", self.node_name);
        tracing::error!("{message}");
        let regarding = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Service".into()),
            namespace: Some(namespace.into()),
            name: Some(name.into()),
            ..ObjectReference::default()
        };
        self.recorder.event_about(&regarding, Type::Warning, "FailedToStartServiceHealthcheck", message);
    }
}

/// The family's own, or those of this node that are in the ranges.
fn addresses(family: Family, node_ports: &NodePorts) -> Vec<IpAddr> {
    let NodePorts::Ranges(ranges) = node_ports else {
        return vec![match family {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }];
    };
    let links = getifaddrs().inspect_err(|error| tracing::warn!(%error, "cannot list this node's addresses"));
    let present = links.into_iter().flatten().filter_map(|link| {
        let address = link.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::from(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::from(address.ip())))
    });
    let is_served = |ip: &IpAddr| Family::of(*ip) == family && ranges.iter().any(|range| range.contains(ip));
    present.filter(is_served).collect::<BTreeSet<IpAddr>>().into_iter().collect()
}

/// Each family's own, so that both can have the same port.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    if address.is_ipv4() {
        return serve::bind(address);
    }
    let socket = TcpSocket::new_v6()?;
    socket.set_reuseaddr(true)?;
    setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    socket.bind(address)?;
    socket.listen(LISTEN_BACKLOG)
}

/// The pods of this node that are ready for any of the ports.
fn local_endpoints(ports: &[(ServicePort, Vec<Endpoint>)]) -> usize {
    let endpoints = ports.iter().flat_map(|(_, endpoints)| endpoints);
    let ours = endpoints.filter(|endpoint| endpoint.is_local && endpoint.is_ready);
    ours.map(|endpoint| endpoint.address.ip()).collect::<BTreeSet<IpAddr>>().len()
}

/// The service of one port. Cheap to clone.
#[derive(Clone)]
struct Answers {
    namespace: Arc<str>,
    name: Arc<str>,
    local_endpoints: Arc<AtomicUsize>,
    health: Health,
}

impl Answers {
    fn answer(&self) -> Response<Full<Bytes>> {
        let count = self.local_endpoints.load(Ordering::Relaxed);
        let is_healthy = self.health.report(false).0;
        let body = serde_json::json!({
            "service": {"namespace": &*self.namespace, "name": &*self.name},
            "localEndpoints": count,
            "serviceProxyHealthy": is_healthy,
        });
        let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
        if count == 0 || !is_healthy {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        headers.insert("x-load-balancing-endpoint-weight", HeaderValue::from(count));
        response
    }
}

impl tower::Service<Request<Incoming>> for Answers {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Incoming>) -> Self::Future {
        ready(Ok(self.answer()))
    }
}
