//! The two ports: health (10256) and metrics (10249).

use std::convert::Infallible;
use std::task::{Context, Poll};

use bytes::Bytes;
use component::serve::{Endpoints, Gate};
use futures::future::{Ready, ready};
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;

use crate::config::File;
use crate::health::Health;
use crate::metrics;
use crate::mode::Mode;

/// The service of either port. Cheap to clone.
#[derive(Clone)]
pub(crate) enum Server {
    Health(Health),
    Metrics(Endpoints, Mode),
}

impl Server {
    pub(crate) fn metrics(file: &File, mode: Mode) -> Server {
        let mut configz = serde_json::to_value(file).unwrap_or_default();
        configz["kind"] = "KubeProxyConfiguration".into();
        configz["apiVersion"] = "kubeproxy.config.k8s.io/v1alpha1".into();
        let endpoints =
            Endpoints::new(Gate::Open).with_configz(serde_json::json!({ "kubeproxy.config.k8s.io": configz }));
        Server::Metrics(endpoints, mode)
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        match self {
            Server::Health(health) => match path {
                "/healthz" => health_answer(health, true, metrics::healthz),
                "/livez" => health_answer(health, false, metrics::livez),
                _ => response(StatusCode::NOT_FOUND, TEXT, "404 page not found\n"),
            },
            Server::Metrics(_, mode) if path == "/proxyMode" => response(StatusCode::OK, TEXT, mode.name()),
            Server::Metrics(endpoints, _) => endpoints
                .answer(request.method(), path, request.uri().query().unwrap_or_default())
                .unwrap_or_else(|| response(StatusCode::NOT_FOUND, TEXT, "404 page not found\n")),
        }
    }
}

const TEXT: &str = "text/plain; charset=utf-8";

fn health_answer(health: &Health, with_node: bool, count: fn(&str)) -> Response<Full<Bytes>> {
    let (is_good, report) = health.report(with_node);
    let status = if is_good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    count(status.as_str());
    response(status, "application/json", serde_json::to_vec(&report).unwrap_or_default())
}

fn response(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response.headers_mut().insert("x-content-type-options", header::HeaderValue::from_static("nosniff"));
    response
}

impl tower::Service<Request<Incoming>> for Server {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        ready(Ok(self.answer(&request)))
    }
}
