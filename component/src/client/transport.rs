//! Requests over one shared connection: hyper's pooling client over our TLS connector.
//!
//! A server that offers HTTP/2 gets one connection for everything; hyper-util's pool makes another when it broke or
//! said GOAWAY. One that does not (an upstream proxy over plain http, say) gets HTTP/1.1 connections as needed.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{
    HeaderValue, Request, Response, StatusCode, Uri,
    header::{ACCEPT, AUTHORIZATION, USER_AGENT},
    uri::{Authority, PathAndQuery, Scheme},
};
use hyper::{body::Incoming, rt};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection, HttpConnector},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use kube::client::Body;
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, time::Instant};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower::{BoxError, Service};

use super::{
    Endpoint, Error,
    credentials::{Certificate, Header},
    limit::Limiter,
    metrics,
};
use crate::tls::{self, Trust};

/// A stream's window holds a whole page of a list; the connection's, many of them.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
/// As Go's health check of HTTP/2 connections: a ping when nothing came for 30 s, dead after 15 s more.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

type Http = Client<Connector, Body>;

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
    current: Mutex<(u64, Http)>,
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
        let http = http_client(trust.as_ref(), &certificate, server_name.clone())?;
        let generation = certificate.generation();
        Ok(Self(Arc::new(Inner {
            user_agent: HeaderValue::from_str(&user_agent).map_err(|error| address(error.to_string()))?,
            header: Header::load(&endpoint.identity)?,
            base,
            limiter,
            trust,
            certificate,
            server_name,
            current: Mutex::new((generation, http)),
        })))
    }
}

impl Inner {
    /// The client for the certificate as it is now. Streams of an outdated one go on; its connection closes after the
    /// last of them.
    fn http(&self) -> Http {
        let generation = self.certificate.generation();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.0 != generation {
            match http_client(self.trust.as_ref(), &self.certificate, self.server_name.clone()) {
                Ok(http) => *current = (generation, http),
                Err(error) => tracing::warn!(%error, "keeping the connection with the old certificate"),
            }
        }
        current.1.clone()
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
            inner.limiter.acquire().await;
            inner.prepare(&mut request)?;
            let (method, started) = (request.method().clone(), Instant::now());
            let answer = inner.http().request(request).await;
            let status = answer.as_ref().map(|answer| answer.status());
            let code = status.as_ref().map_or("<error>", StatusCode::as_str);
            metrics::observe(method.as_str(), inner.base.authority.as_str(), code, started.elapsed());
            answer.map_err(describe)
        })
    }
}

/// hyper's "client error (Connect)" hides the reason in its sources.
fn describe(error: hyper_util::client::legacy::Error) -> BoxError {
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

fn http_client(
    trust: Option<&Trust>,
    certificate: &Certificate,
    server_name: Option<ServerName<'static>>,
) -> Result<Http, Error> {
    let tls = match trust {
        None => None,
        Some(trust) => {
            let mut config = tls::client_config(trust, certificate.resolver())?;
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            Some(TlsConnector::from(Arc::new(config)))
        }
    };
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.set_keepalive(Some(PING_INTERVAL));
    Ok(Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(90))
        .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
        .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(PING_INTERVAL)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .build(Connector { tcp, tls, server_name }))
}

/// Connects TCP, then TLS where the scheme says so.
#[derive(Clone)]
struct Connector {
    tcp: HttpConnector,
    tls: Option<TlsConnector>,
    server_name: Option<ServerName<'static>>,
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Stream, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Service::poll_ready(&mut self.tcp, context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.tcp.call(uri.clone());
        let (tls, server_name) = (self.tls.clone(), self.server_name.clone());
        Box::pin(async move {
            let tcp = connecting.await?;
            let Some(tls) = tls else {
                return Ok(Stream::Plain(tcp));
            };
            let name = match server_name {
                Some(name) => name,
                None => ServerName::try_from(uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned())?,
            };
            let handshake = tls.connect(name, tcp.into_inner());
            let stream =
                tokio::time::timeout(CONNECT_TIMEOUT, handshake).await.map_err(|_| "TLS handshake timeout")??;
            Ok(Stream::Tls(Box::new(TokioIo::new(stream))))
        })
    }
}

/// A connection of either kind.
enum Stream {
    Plain(TokioIo<TcpStream>),
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match self {
            Self::Plain(_) => Connected::new(),
            Self::Tls(stream) => match stream.inner().get_ref().1.alpn_protocol() {
                Some(b"h2") => Connected::new().negotiated_h2(),
                _ => Connected::new(),
            },
        }
    }
}

impl rt::Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl rt::Write for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
