//! Requests over one shared connection: hyper's pooling client over our TLS connector.
//!
//! A server that offers HTTP/2 gets one connection for everything; hyper-util's pool makes another when it broke or
//! said GOAWAY. One that does not, and plain http, gets HTTP/1.1 connections as needed.

use std::{
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{
    HeaderValue, Request, Response, StatusCode, Uri,
    header::{ACCEPT, AUTHORIZATION, RETRY_AFTER, USER_AGENT},
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};
use hyper::body::Incoming;
use kube::client::Body;
use rustls::pki_types::ServerName;
use tokio::time::{Instant, sleep};
use tower::{BoxError, Service};

use super::{
    Endpoint, Error,
    connector::{Http, Protocol, Unsent, http_client, unsent},
    credentials::{Certificate, Header},
    limit::Limiter,
    metrics,
};
use crate::tls::{self, Trust};

/// How often a request that was not sent is tried on another connection.
const UNSENT_RETRIES_MAX: u32 = 2;
/// How often a request is sent again because the server asked for it, as client-go's.
const RETRIES_MAX: u32 = 10;

/// A tower service that carries kube's requests. Clones share the connection.
#[derive(Clone)]
pub(super) struct Transport(Arc<Inner>);

struct Inner {
    base: Base,
    user_agent: HeaderValue,
    header: Header,
    limiter: Limiter,
    trust: Option<Trust>,
    certificate: Certificate,
    server_name: Option<ServerName<'static>>,
    current: Mutex<Current>,
}

struct Current {
    protocol: Protocol,
    /// Of the certificate that `http` shows.
    generation: u64,
    http: Http,
}

struct Base {
    scheme: Scheme,
    authority: Authority,
    /// Without a slash at its end.
    path: String,
}

impl Transport {
    pub(super) fn new(endpoint: Endpoint, user_agent: String, limiter: Limiter) -> Result<Self, Error> {
        let base = Base::parse(&endpoint.server)?;
        let trust = trust(&base, &endpoint)?;
        let address = |problem: String| Error::Address { address: endpoint.server.clone(), problem };
        let server_name = endpoint.tls_server_name.clone().map(ServerName::try_from).transpose();
        let server_name = server_name.map_err(|error| address(format!("tls-server-name: {error}")))?;
        let certificate = Certificate::load(&endpoint.identity)?;
        // Plain http has no ALPN to ask with, and whatever serves it speaks HTTP/1.1.
        let protocol = if trust.is_some() { Protocol::Http2 } else { Protocol::Http1 };
        let http = http_client(protocol, trust.as_ref(), &certificate, server_name.clone())?;
        let current = Current { protocol, generation: certificate.generation(), http };
        Ok(Self(Arc::new(Inner {
            user_agent: HeaderValue::from_str(&user_agent).map_err(|error| address(error.to_string()))?,
            header: Header::load(&endpoint.identity)?,
            base,
            limiter,
            trust,
            certificate,
            server_name,
            current: Mutex::new(current),
        })))
    }
}

impl Inner {
    /// The client for the certificate as it is now. Streams of an outdated one go on; its connection closes after the
    /// last of them.
    fn http(&self) -> Http {
        let generation = self.certificate.generation();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.generation != generation {
            let protocol = current.protocol;
            self.replace(&mut current, protocol);
        }
        current.http.clone()
    }

    /// The client for a server that turned out to speak HTTP/1.1 only.
    fn http1(&self) -> Http {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.protocol != Protocol::Http1 {
            self.replace(&mut current, Protocol::Http1);
        }
        current.http.clone()
    }

    fn replace(&self, current: &mut Current, protocol: Protocol) {
        let generation = self.certificate.generation();
        match http_client(protocol, self.trust.as_ref(), &self.certificate, self.server_name.clone()) {
            Ok(http) => *current = Current { protocol, generation, http },
            Err(error) => tracing::warn!(%error, "keeping the connections there are"),
        }
    }

    async fn send(&self, parts: &Parts, body: Body) -> Result<Response<Incoming>, BoxError> {
        self.limiter.acquire().await;
        let started = Instant::now();
        let mut copy = body.try_clone();
        let mut answer = self.http().request(Request::from_parts(parts.clone(), body)).await;
        for _ in 0..UNSENT_RETRIES_MAX {
            let unsent = answer.as_ref().err().and_then(unsent);
            let (Some(unsent), Some(body)) = (unsent, copy) else {
                break;
            };
            let http = if unsent == Unsent::NotHttp2 { self.http1() } else { self.http() };
            copy = body.try_clone();
            answer = http.request(Request::from_parts(parts.clone(), body)).await;
        }
        let status = answer.as_ref().map(Response::status);
        let code = status.as_ref().map_or("<error>", StatusCode::as_str);
        metrics::observe(parts.method.as_str(), self.base.authority.as_str(), code, started.elapsed());
        answer.map_err(describe)
    }

    fn prepare(&self, request: &mut Request<Body>) -> Result<(), http::Error> {
        let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        let uri = Uri::builder().scheme(self.base.scheme.clone()).authority(self.base.authority.clone());
        *request.uri_mut() = uri.path_and_query(format!("{}{path}", self.base.path)).build()?;
        let headers = request.headers_mut();
        headers.entry(USER_AGENT).or_insert_with(|| self.user_agent.clone());
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        if !headers.contains_key(AUTHORIZATION)
            && let Some(value) = self.header.current()
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
            inner.prepare(&mut request)?;
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

impl Base {
    /// Without a scheme, plain http, as upstream's `--master=host:port`.
    fn parse(address: &str) -> Result<Self, Error> {
        let wrong = |problem: String| Error::Address { address: address.to_owned(), problem };
        let text = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
        let parts = text.parse::<Uri>().map_err(|error| wrong(error.to_string()))?.into_parts();
        let scheme = parts.scheme.filter(|s| *s == Scheme::HTTP || *s == Scheme::HTTPS);
        let path = parts.path_and_query.map(|path| path.path().trim_end_matches('/').to_owned()).unwrap_or_default();
        Ok(Self {
            scheme: scheme.ok_or_else(|| wrong("must be http or https".to_owned()))?,
            authority: parts.authority.ok_or_else(|| wrong("has no host".to_owned()))?,
            path,
        })
    }
}

fn trust(base: &Base, endpoint: &Endpoint) -> Result<Option<Trust>, Error> {
    if base.scheme == Scheme::HTTP {
        return Ok(None);
    }
    if endpoint.insecure_skip_tls_verify {
        return Ok(Some(Trust::Anyone));
    }
    let Some(authority) = &endpoint.authority else {
        let problem = "https needs certificate-authority or insecure-skip-tls-verify in the kubeconfig".to_owned();
        return Err(Error::Address { address: endpoint.server.clone(), problem });
    };
    let (pem, what) = authority.read("certificate-authority-data")?;
    Ok(Some(Trust::Authorities(tls::certificates_from_pem(&pem, &what)?)))
}
