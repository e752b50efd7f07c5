//! The kubelet's HTTPS server (10250): what runs here, its logs, streams into it, its numbers.
//!
//! Enter at [`service`]. [`route`] reads what a request asks for and what it must be allowed to do; [`pods`], [`logs`],
//! [`streams`] and [`stats`] answer. Who may ask is decided by `component::delegated` before.

mod answers;
pub mod body;
mod cadvisor;
pub mod certificate;
mod checkpoint;
pub mod logs;
mod look;
mod node_logs;
pub mod query;
mod quoted;
mod resource_metrics;
pub mod route;
mod stats;
mod streams;
#[cfg(test)]
mod tests;

use std::{convert::Infallible, sync::Arc, task};

use component::{delegated::Delegated, serve::Endpoints};
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

pub use self::node_logs::NodeLogs;
use self::{
    body::{Body, text},
    query::Query,
    route::Route,
    stats::rates::Rates,
};
use crate::pod::node::Node;

/// What the server answers from.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    node: Arc<Node>,
    endpoints: Endpoints,
    /// None: everybody may do everything (the read-only port's server allows reading only).
    gate: Option<Arc<Delegated>>,
    offers: Offers,
    rates: Arc<Rates>,
}

/// What of the server is open at all.
pub struct Offers {
    /// Logs, exec, attach, run, port-forward, checkpoints and the z-pages.
    pub debugging: bool,
    /// What `/logs/` shows.
    pub node_logs: Option<NodeLogs>,
}

/// The service for [`component::serve::accept`].
pub fn service(node: Arc<Node>, endpoints: Endpoints, gate: Option<Arc<Delegated>>, offers: Offers) -> Server {
    // Upstream tells of its configuration with what is for debugging.
    let endpoints = if offers.debugging { endpoints } else { endpoints.reticent() };
    Server(Arc::new(Inner { node, endpoints, gate, offers, rates: Arc::default() }))
}

impl tower::Service<Request<Incoming>> for Server {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), Infallible>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let inner = self.0.clone();
        Box::pin(async move { Ok(inner.answer(request).await) })
    }
}

impl Inner {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let query_text = request.uri().query().unwrap_or_default().to_owned();
        if let Some(gate) = &self.gate {
            let attributes = route::attributes(request.method(), &path, &self.node.facts.node_name);
            let allowed = allowed(gate, &request, attributes).await;
            if let Err(refusal) = allowed {
                return refusal.response().map(body::full);
            }
        }
        let zpage = || self.endpoints.zpage(&path, request.headers());
        if let Some(answer) = self.endpoints.answer(request.method(), &path, &query_text).or_else(zpage) {
            return answer.map(body::full);
        }
        let query = Query::parse(&query_text);
        let Some(route) = Route::parse(&path).filter(|route| self.offers.debugging || !route.is_withheld()) else {
            return text(StatusCode::NOT_FOUND, "404 page not found\n");
        };
        if route.is_debugging() && !self.offers.debugging {
            return text(StatusCode::METHOD_NOT_ALLOWED, "Debug endpoints are disabled.\n");
        }
        if !route.takes(request.method()) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed");
        }
        match route {
            Route::Pods => answers::pods(&self.node),
            Route::RunningPods => answers::running_pods(&self.node).await,
            Route::Logs(container) => answers::logs(&self.node, &container, &query).await,
            Route::Run(container) => answers::run(&self.node, &container, &query).await,
            Route::Exec(container) => streams::exec(&self.node, request, &container, &query).await,
            Route::Attach(container) => streams::attach(&self.node, request, &container, &query).await,
            Route::PortForward(pod) => streams::port_forward(&self.node, request, &pod, &query).await,
            Route::Checkpoint(container) => checkpoint::checkpoint(&self.node, &container, &query).await,
            Route::StatsSummary => stats::summary(&self.node, &self.rates, &query).await,
            Route::MetricsResource => resource_metrics::metrics(&self.node).await,
            Route::MetricsCadvisor => cadvisor::metrics(&self.node).await,
            Route::MetricsProbes => {
                let text = self.node.prober.figures.text();
                body::with_type(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text.into())
            }
            Route::NodeLogs(path) => match &self.offers.node_logs {
                Some(logs) => node_logs::answer(logs, &path, &query).await,
                None => text(StatusCode::METHOD_NOT_ALLOWED, "logs endpoint is disabled.\n"),
            },
        }
    }
}

/// Any one of the ways to name what is asked is enough.
async fn allowed(
    gate: &Delegated,
    request: &Request<Incoming>,
    ways: Vec<component::delegated::Attributes>,
) -> Result<(), component::delegated::Refusal> {
    let mut refusal = None;
    for attributes in ways {
        match gate.admit_for(request.headers(), request.extensions().get(), &attributes).await {
            Ok(_) => return Ok(()),
            Err(error) => refusal = Some(error),
        }
    }
    refusal.map_or(Ok(()), Err)
}
