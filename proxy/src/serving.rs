//! The two ports: health (10256) and metrics (10249).

use std::convert::Infallible;
use std::task::{Context, Poll};

use bytes::Bytes;
use component::serve::{Endpoints, Gate, zpages::ZPages};
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
    pub(crate) fn metrics(file: &File, mode: Mode, zpages: ZPages) -> Server {
        let mut configz = serde_json::to_value(file).unwrap_or_default();
        configz["kind"] = "KubeProxyConfiguration".into();
        configz["apiVersion"] = "kubeproxy.config.k8s.io/v1alpha1".into();
        let endpoints =
            Endpoints::new(Gate::Open).with_configz(serde_json::json!({ "kubeproxy.config.k8s.io": configz }));
        Server::Metrics(endpoints.with_zpages(zpages).beside(&[MODE]), mode)
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        match self {
            Server::Health(health) => match path {
                "/healthz" => health_answer(health, true, metrics::healthz),
                "/livez" => health_answer(health, false, metrics::livez),
                _ => response(StatusCode::NOT_FOUND, TEXT, "404 page not found\n"),
            },
            Server::Metrics(_, mode) if path == MODE => response(StatusCode::OK, TEXT, mode.name()),
            Server::Metrics(endpoints, _) => endpoints
                .answer(request.method(), path, request.uri().query().unwrap_or_default())
                .or_else(|| endpoints.zpage(path, request.headers()))
                .unwrap_or_else(|| response(StatusCode::NOT_FOUND, TEXT, "404 page not found\n")),
        }
    }
}

const MODE: &str = "/proxyMode";
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

#[cfg(test)]
mod tests {
    use component::clock::Clock;
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn the_metrics_port_tells_the_mode_and_how_it_was_started() {
        let flags = [("proxy-mode", "nftables".to_owned())].into();
        let zpages = ZPages { component: "kube-proxy", flags, clock: Clock::system() };
        let server = Server::metrics(&File::default(), Mode::Nftables, zpages);
        for (path, code, end) in [
            ("/proxyMode", 200, "nftables"),
            ("/flagz", 200, "\nproxy-mode=nftables\n"),
            ("/statusz", 200, "\nPaths: /configz /flagz /healthz /livez /metrics /proxyMode /readyz /version\n"),
            ("/nothing", 404, "404 page not found\n"),
        ] {
            let answer = server.answer(&Request::get(path).body(()).expect("a request"));
            assert_eq!(answer.status().as_u16(), code, "{path}");
            let text = answer.into_body().collect().await.expect("a body").to_bytes();
            assert!(text.ends_with(end.as_bytes()), "{path}: {text:?}");
        }
    }
}
