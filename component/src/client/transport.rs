//! Requests over one shared connection, signed, counted and held back.
//!
//! A server that offers HTTP/2 gets one connection for everything; hyper-util's pool makes another when it broke or
//! said GOAWAY. One that does not, and plain http, gets HTTP/1.1 connections as needed.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{
    HeaderValue, Request, Response, StatusCode, Uri,
    header::{ACCEPT, AUTHORIZATION, RETRY_AFTER, USER_AGENT},
    request::Parts,
    uri::PathAndQuery,
};
use hyper::body::Incoming;
use kube::client::Body;
use tokio::time::{Instant, sleep};
use tower::{BoxError, Service};

use super::{
    Error,
    connections::Connections,
    connector::{Unsent, unsent},
    credentials::Header,
    limit::Limiter,
    metrics,
};

/// How often a request that was not sent is tried on another connection.
const UNSENT_RETRIES_MAX: u32 = 2;
/// How often a request is sent again because the server asked for it, as client-go's.
const RETRIES_MAX: u32 = 10;

/// A tower service that carries kube's requests. Clones share the connection.
#[derive(Clone)]
pub(super) struct Transport(Arc<Inner>);

struct Inner {
    connections: Arc<Connections>,
    user_agent: HeaderValue,
    header: Header,
    limiter: Limiter,
}

impl Transport {
    /// Requests over `connections`, signed with `header`.
    pub(super) fn new(
        connections: Arc<Connections>,
        user_agent: &str,
        header: Header,
        limiter: Limiter,
    ) -> Result<Self, Error> {
        let user_agent = HeaderValue::from_str(user_agent).map_err(|_| Error::Component(user_agent.to_owned()))?;
        Ok(Self(Arc::new(Inner { connections, user_agent, header, limiter })))
    }
}

impl Inner {
    async fn send(&self, parts: &Parts, body: Body) -> Result<Response<Incoming>, BoxError> {
        self.limiter.acquire().await;
        let started = Instant::now();
        let mut copy = body.try_clone();
        let mut answer = self.connections.http().request(Request::from_parts(parts.clone(), body)).await;
        for _ in 0..UNSENT_RETRIES_MAX {
            let unsent = answer.as_ref().err().and_then(unsent);
            let (Some(unsent), Some(body)) = (unsent, copy) else {
                break;
            };
            let http = if unsent == Unsent::NotHttp2 { self.connections.http1() } else { self.connections.http() };
            copy = body.try_clone();
            answer = http.request(Request::from_parts(parts.clone(), body)).await;
        }
        let status = answer.as_ref().map(Response::status);
        let code = status.as_ref().map_or("<error>", StatusCode::as_str);
        metrics::observe(parts.method.as_str(), self.connections.base.authority.as_str(), code, started.elapsed());
        answer.map_err(describe)
    }

    async fn prepare(&self, request: &mut Request<Body>) -> Result<(), BoxError> {
        let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        let uri = Uri::builder()
            .scheme(self.connections.base.scheme.clone())
            .authority(self.connections.base.authority.clone());
        *request.uri_mut() = uri.path_and_query(format!("{}{path}", self.connections.base.path)).build()?;
        let headers = request.headers_mut();
        headers.entry(USER_AGENT).or_insert_with(|| self.user_agent.clone());
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        if !headers.contains_key(AUTHORIZATION)
            && let Some(value) = self.header.current().await?
        {
            headers.insert(AUTHORIZATION, value);
        }
        Ok(())
    }
}

impl Service<Request<Body>> for Transport {
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Incoming>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let inner = self.0.clone();
        Box::pin(async move {
            inner.prepare(&mut request).await?;
            let (parts, mut body) = request.into_parts();
            for _ in 0..RETRIES_MAX {
                let Some(copy) = body.try_clone() else {
                    break;
                };
                let answer = inner.send(&parts, body).await?;
                match retry_after(&answer) {
                    None => return Ok(answer),
                    Some(delay) => sleep(delay).await,
                }
                body = copy;
            }
            inner.send(&parts, body).await
        })
    }
}

/// How long to wait before the request is sent again: a server that is too busy, or not ready, says so.
fn retry_after(answer: &Response<Incoming>) -> Option<Duration> {
    let status = answer.status();
    let busy = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
    let seconds = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    busy.then_some(Duration::from_secs(seconds))
}

/// hyper's "client error (Connect)" hides the reason in its sources.
fn describe(error: hyper_util::client::legacy::Error) -> BoxError {
    if unsent(&error) == Some(Unsent::Waiting) {
        return "the connection that the request waited for could not be made".into();
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text.into()
}
