//! Connections: TCP, then TLS where the scheme says so, with HTTP/2 where the server offers it.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::Uri;
use hyper::rt;
use hyper_util::{
    client::legacy::{
        self, Client,
        connect::{Connected, Connection, HttpConnector},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use kube::client::Body;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower::{BoxError, Service};

use super::{Error, credentials::Certificate};
use crate::tls::{self, Trust};

/// A stream's window holds a whole page of a list; the connection's, many of them.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
/// As Go's health check of HTTP/2 connections: a ping when nothing came for 30 s, dead after 15 s more.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

pub(super) type Http = Client<Connector, Body>;

/// Which HTTP a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Only HTTP/2: requests that come while the first connection is being made wait for it. With a pool that takes
    /// either, each would make its own, and all but one would be thrown away.
    Http2,
    Http1,
}

/// The server does not offer HTTP/2.
#[derive(Debug, thiserror::Error)]
#[error("the server does not speak HTTP/2")]
struct NotHttp2;

/// Whose fault it was that a request was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    /// The server does not offer HTTP/2.
    NotHttp2,
    /// The request waited for the connection that another one made, and that failed.
    Waiting,
}

/// What can be said of a request that failed; `None` when it may have been sent, or its own connection failed.
pub(super) fn unsent(error: &legacy::Error) -> Option<Unsent> {
    let first: &(dyn std::error::Error + 'static) = error;
    let mut causes = std::iter::successors(Some(first), |error| error.source());
    if causes.clone().any(|cause| cause.is::<NotHttp2>()) {
        return Some(Unsent::NotHttp2);
    }
    // Everything that fails in our connector is an I/O error.
    let waiting = error.is_connect() && !causes.any(|cause| cause.is::<io::Error>());
    waiting.then_some(Unsent::Waiting)
}

/// A pooling client that trusts and shows what is given.
pub(super) fn http_client(
    protocol: Protocol,
    trust: Option<&Trust>,
    certificate: &Certificate,
    server_name: Option<ServerName<'static>>,
) -> Result<Http, Error> {
    let tls = match trust {
        None => None,
        Some(trust) => {
            let mut config = tls::client_config(trust, certificate.resolver())?;
            // A server that offers only HTTP/1.1 would break off, were only HTTP/2 asked for.
            let http1 = b"http/1.1".to_vec();
            config.alpn_protocols = if protocol == Protocol::Http2 { vec![b"h2".to_vec(), http1] } else { vec![http1] };
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
        .pool_idle_timeout(IDLE_TIMEOUT)
        .http2_only(protocol == Protocol::Http2)
        .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
        .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(PING_INTERVAL)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .build(Connector { protocol, tcp, tls, server_name }))
}

/// Connects TCP, then TLS where the scheme says so.
#[derive(Clone)]
pub(super) struct Connector {
    protocol: Protocol,
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
        let (protocol, tls, server_name) = (self.protocol, self.tls.clone(), self.server_name.clone());
        Box::pin(async move {
            let tcp = connecting.await?;
            let Some(tls) = tls else {
                return Ok(Stream::Plain(tcp));
            };
            let name = match server_name {
                Some(name) => name,
                None => server_name_of(&uri)?,
            };
            let handshake = tls.connect(name, tcp.into_inner());
            let late = |_| io::Error::new(io::ErrorKind::TimedOut, "TLS handshake timeout");
            let stream = tokio::time::timeout(CONNECT_TIMEOUT, handshake).await.map_err(late)??;
            if protocol == Protocol::Http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                return Err(NotHttp2.into());
            }
            Ok(Stream::Tls(Box::new(TokioIo::new(stream))))
        })
    }
}

fn server_name_of(uri: &Uri) -> io::Result<ServerName<'static>> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    ServerName::try_from(host).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// A connection of either kind.
pub(super) enum Stream {
    Plain(TokioIo<TcpStream>),
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
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
