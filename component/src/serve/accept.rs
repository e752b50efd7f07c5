//! Connections in, requests to a service.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body::Body;
use hyper::{body::Incoming, service::Service};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
    service::TowerToHyperService,
};
use rustls::{ServerConfig, pki_types::CertificateDer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tower::BoxError;

use crate::{random::Random, shutdown::Shutdown};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long running requests may take after shutdown.
const GRACE: Duration = Duration::from_secs(10);
const HEADER_TIMEOUT: Duration = Duration::from_secs(32);
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Requests of a few objects fit a stream's window; one connection carries many clients' worth of streams.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// A client that gives up many watches at once is no attacker.
const MAX_PENDING_RESETS: usize = 200;
/// As upstream's API server.
const MAX_STREAMS: u32 = 1000;

/// Who is on the other end of a connection; an extension of each of its requests.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    pub remote: SocketAddr,
    pub local: SocketAddr,
    pub tls: bool,
    /// The client's certificate and its chain, if it showed any: it holds the first one's key, nothing else is checked.
    pub certificates: Arc<[CertificateDer<'static>]>,
}

/// Sends clients away now and then: each request over HTTP/2 may be the last one that its connection takes, so that the
/// clients of several servers behind one address spread over them anew.
#[derive(Clone, Debug)]
pub struct Leave {
    /// From 0 to 1.
    pub chance: f64,
    pub random: Random,
}

/// How a connection ends that its client does not end.
struct End {
    watcher: Watcher,
    shutdown: Shutdown,
    leave: Option<Leave>,
}

/// Serves connections until `shutdown`, then lets running requests end for a while.
///
/// Every request carries [`PeerInfo`] in its extensions, and can be upgraded with [`hyper::upgrade::on`]. `service` is
/// cloned for each request. A connection that fails tells only the debug log: clients come and go.
pub async fn accept<S, B>(listener: TcpListener, tls: Option<Arc<ServerConfig>>, service: S, shutdown: Shutdown)
where
    S: tower::Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    accept_for_a_while(listener, tls, service, shutdown, None).await;
}

/// As [`accept`], with connections that end while both sides live.
pub async fn accept_for_a_while<S, B>(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    service: S,
    shutdown: Shutdown,
    leave: Option<Leave>,
) where
    S: tower::Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let tls = tls.map(TlsAcceptor::from);
    let graceful = GracefulShutdown::new();
    while let Some(accepted) = shutdown.run_until(listener.accept()).await {
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                backoff(&error).await;
                continue;
            }
        };
        let (tls, service) = (tls.clone(), service.clone());
        let end = End { watcher: graceful.watcher(), shutdown: shutdown.clone(), leave: leave.clone() };
        tokio::spawn(async move {
            if let Err(error) = connection(stream, remote, tls, service, end).await {
                tracing::debug!(%remote, error, "connection failed");
            }
        });
    }
    drop(listener);
    if timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::info!("closing connections whose requests did not end");
    }
}

/// When there are no file descriptors left, accepting again at once would spin.
async fn backoff(error: &io::Error) {
    let of_connection = [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset];
    if !of_connection.contains(&error.kind()) {
        tracing::warn!(%error, "accepting connections failed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn connection<S, B>(
    stream: TcpStream,
    remote: SocketAddr,
    tls: Option<TlsAcceptor>,
    service: S,
    end: End,
) -> Result<(), BoxError>
where
    S: tower::Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    let Some(tls) = tls else {
        let peer = PeerInfo { remote, local, tls: false, certificates: Arc::new([]) };
        return serve(stream, peer, service, end).await;
    };
    let stream = timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await.map_err(|_| "TLS handshake timeout")??;
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let certificates = certificates.iter().map(|certificate| certificate.clone().into_owned()).collect();
    serve(stream, PeerInfo { remote, local, tls: true, certificates }, service, end).await
}

async fn serve<IO, S, B>(io: IO, peer: PeerInfo, service: S, end: End) -> Result<(), BoxError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: tower::Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let service = TowerToHyperService::new(service);
    let leaving = Arc::new(Notify::new());
    let lot = end.leave.clone().map(|leave| (leave, leaving.clone()));
    let with_peer = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        if let Some((leave, leaving)) = &lot
            && request.version() == Version::HTTP_2
            && leave.random.f64() < leave.chance
        {
            leaving.notify_one();
        }
        service.call(request)
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .keep_alive_interval(PING_INTERVAL);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(io), with_peer).into_owned();
    if end.leave.is_none() {
        return end.watcher.watch(connection).await;
    }
    // The library's watcher ends a connection with the server alone; here it is only held until the connection's end.
    let mut connection = pin!(connection);
    let mut is_ending = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = end.shutdown.cancelled(), if !is_ending => {}
            () = leaving.notified(), if !is_ending => {}
        }
        is_ending = true;
        connection.as_mut().graceful_shutdown();
    }
}
