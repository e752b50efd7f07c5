//! `spec.healthCheckNodePort`: load balancers ask a node on this port whether it has endpoints of the Service.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
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

use crate::health::Health;
use crate::model::{Endpoint, Family, ServicePort};

/// The ports that are open, by Service.
pub(crate) struct ServiceHealth {
    address: IpAddr,
    node_name: String,
    health: Health,
    recorder: Recorder,
    shutdown: Shutdown,
    open: BTreeMap<String, Open>,
}

struct Open {
    port: u16,
    close: Shutdown,
    local_endpoints: Arc<AtomicUsize>,
}

impl ServiceHealth {
    pub(crate) fn new(family: Family, node_name: &str, health: Health, recorder: Recorder, shutdown: Shutdown) -> Self {
        let address = match family {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        ServiceHealth { address, node_name: node_name.to_owned(), health, recorder, shutdown, open: BTreeMap::new() }
    }

    /// Opens, closes or moves a Service's port, and takes the number of its endpoints on this node.
    pub(crate) fn set(&mut self, service: &str, ports: &[(ServicePort, Vec<Endpoint>)]) {
        let wanted = ports.iter().map(|(port, _)| port.health_check_node_port).find(|port| *port != 0);
        if let Some(open) = self.open.get(service)
            && Some(open.port) != wanted
        {
            open.close.trigger();
            self.open.remove(service);
        }
        let Some(port) = wanted else { return };
        let count = local_endpoints(ports);
        match self.open.get(service) {
            Some(open) => open.local_endpoints.store(count, Ordering::Relaxed),
            None => self.listen(service, port, count),
        }
    }

    fn listen(&mut self, service: &str, port: u16, count: usize) {
        let listener = match serve::bind(SocketAddr::new(self.address, port)) {
            Ok(listener) => listener,
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
        tokio::spawn(serve::accept(listener, None, answers, close.clone()));
        self.open.insert(service.to_owned(), Open { port, close, local_endpoints });
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
