//! Connections: TCP, then TLS where the scheme says so, or a pipe to a server of this process; with HTTP/2 where the
//! server offers it.

use std::{
    io,
    net::{IpAddr, SocketAddr},
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
use tokio::{io::DuplexStream, net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::either::Either;
use tower::{BoxError, Service};

use super::{Error, credentials::Certificate};
use crate::{
    pipes::Pipes,
    tls::{self, Trust},
};

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
    pipes: Pipes,
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
        .build(Connector { protocol, tcp, tls, server_name, pipes }))
}

/// Connects by a pipe, or TCP and TLS where the scheme says so.
#[derive(Clone)]
pub(super) struct Connector {
    protocol: Protocol,
    tcp: HttpConnector,
    tls: Option<TlsConnector>,
    server_name: Option<ServerName<'static>>,
    pipes: Pipes,
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Stream, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Service::poll_ready(&mut self.tcp, context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let mut connector = self.clone();
        Box::pin(async move {
            let Some(tls) = connector.tls.take() else {
                return Ok(Stream::new(Either::Left(connector.tcp.call(uri).await?.into_inner())));
            };
            let name = match connector.server_name.take() {
                Some(name) => name,
                None => server_name_of(&uri)?,
            };
            let (stream, alpn_protocol) = match connector.piped(&uri, &tls, &name).await? {
                Some(piped) => piped,
                None => connector.over_tcp(uri, &tls, name).await?,
            };
            if connector.protocol == Protocol::Http2 && alpn_protocol.as_deref() != Some(b"h2") {
                return Err(NotHttp2.into());
            }
            Ok(stream)
        })
    }
}

/// A connection, and what the server chose to speak on it.
type Spoken = (Stream, Option<Vec<u8>>);

impl Connector {
    /// `None` where the address is not that of a server in this process.
    async fn piped(&self, uri: &Uri, tls: &TlsConnector, name: &ServerName<'static>) -> io::Result<Option<Spoken>> {
        let Some(address) = address_of(uri) else { return Ok(None) };
        let connecting = self.pipes.connect(address, name, tls.config());
        let piped = timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| late())??;
        Ok(piped.map(|piped| (Stream::new(Either::Right(Either::Right(piped.stream))), piped.alpn_protocol)))
    }

    async fn over_tcp(&mut self, uri: Uri, tls: &TlsConnector, name: ServerName<'static>) -> Result<Spoken, BoxError> {
        let tcp = self.tcp.call(uri).await?;
        let handshake = tls.connect(name, tcp.into_inner());
        let stream = timeout(CONNECT_TIMEOUT, handshake).await.map_err(|_| late())??;
        let alpn_protocol = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        Ok((Stream::new(Either::Right(Either::Left(Box::new(stream)))), alpn_protocol))
    }
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "TLS handshake timeout")
}

/// Where the server is, of addresses that are no names.
fn address_of(uri: &Uri) -> Option<SocketAddr> {
    let host: IpAddr = uri.host()?.trim_matches(['[', ']']).parse().ok()?;
    Some(SocketAddr::new(host, uri.port_u16().unwrap_or(443)))
}

fn server_name_of(uri: &Uri) -> io::Result<ServerName<'static>> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    ServerName::try_from(host).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// A connection of any kind.
pub(super) struct Stream(TokioIo<Io>);

type Io = Either<TcpStream, Either<Box<TlsStream<TcpStream>>, DuplexStream>>;

impl Stream {
    fn new(io: Io) -> Self {
        Self(TokioIo::new(io))
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl rt::Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl rt::Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
