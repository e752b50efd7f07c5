//! What a load balancer is answered.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::{Ready, ready};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;

use super::{Shared, names};

/// The service of one port. Cheap to clone.
#[derive(Clone)]
pub(super) struct Answers {
    pub(super) port: u16,
    pub(super) shared: Arc<Shared>,
}

impl Answers {
    fn answer(&self) -> Response<Full<Bytes>> {
        // A connection may outlive its Service for a moment.
        let (service, count) = self.shared.service(self.port).unwrap_or_default();
        let (namespace, name) = names(&service);
        let is_healthy = self.shared.health.report(false).0;
        let body = serde_json::json!({
            "service": {"namespace": namespace, "name": name},
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
