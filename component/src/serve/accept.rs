//! Connections in, requests to a service.

use std::{
    future::pending,
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::TryFutureExt;
use http::{Request, Response, Version};
use http_body::Body;
use hyper::{body::Incoming, service::Service};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
    service::TowerToHyperService,
};
use rustls::{ServerConfig, pki_types::CertificateDer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{either::Either, task::AbortOnDropHandle};
use tower::BoxError;

use super::{
    connection::Streams,
    outlet::{Io, Outlet},
};
use crate::{
    pipes::{self, Arrival},
    random::Random,
    shutdown::Shutdown,
};

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

impl PeerInfo {
    /// The client's, as it would write it.
    pub fn address(&self) -> IpAddr {
        self.remote.ip().to_canonical()
    }
}

/// Sends clients away now and then: each request over HTTP/2 may be the last one that its connection takes, so that the
/// clients of several servers behind one address spread over them anew.
#[derive(Clone, Debug)]
pub struct Leave {
    /// From 0 to 1.
    pub chance: f64,
    pub random: Random,
}

/// Where connections of the secure port come from, and how long they last.
#[derive(Default)]
pub struct Ways {
    /// From clients of this process, beside those of the port.
    pub pipes: Option<pipes::Listener>,
    pub leave: Option<Leave>,
}

/// A client that has come.
enum Client {
    OverTcp(TcpStream, SocketAddr),
    OverPipe(Arrival),
}

impl Client {
    fn remote(&self) -> SocketAddr {
        match self {
            Self::OverTcp(_, remote) => *remote,
            Self::OverPipe(arrival) => arrival.peer.remote,
        }
    }
}

/// Why a request gets no answer.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Unanswered(BoxError);

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
    accept_from(listener, tls, service, shutdown, Ways::default()).await;
}

/// As [`accept`], with connections from this process, and some that end while both sides live.
pub async fn accept_from<S, B>(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    service: S,
    shutdown: Shutdown,
    ways: Ways,
) where
    S: tower::Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let tls = tls.map(TlsAcceptor::from);
    let Ways { mut pipes, leave } = ways;
    let graceful = GracefulShutdown::new();
    while let Some(accepted) = shutdown.run_until(next(&listener, pipes.as_mut())).await {
        let client = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                backoff(&error).await;
                continue;
            }
        };
        let (tls, service) = (tls.clone(), service.clone());
        let end = End { watcher: graceful.watcher(), shutdown: shutdown.clone(), leave: leave.clone() };
        tokio::spawn(async move {
            let remote = client.remote();
            let served = async {
                let (io, peer) = meet(client, tls).await?;
                serve(io, peer, service, end).await
            };
            if let Err(error) = served.await {
                tracing::debug!(%remote, error, "connection failed");
            }
        });
    }
    drop((listener, pipes));
    if timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::info!("closing connections whose requests did not end");
    }
}

async fn next(listener: &TcpListener, pipes: Option<&mut pipes::Listener>) -> io::Result<Client> {
    let piped = async {
        match pipes {
            Some(pipes) => pipes.accept().await,
            None => pending().await,
        }
    };
    tokio::select! {
        accepted = listener.accept() => accepted.map(|(stream, remote)| Client::OverTcp(stream, remote)),
        arrival = piped => Ok(Client::OverPipe(arrival)),
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

/// The connection, and who is at its other end.
async fn meet(client: Client, tls: Option<TlsAcceptor>) -> Result<(Io, PeerInfo), BoxError> {
    let (stream, remote) = match client {
        Client::OverTcp(stream, remote) => (stream, remote),
        Client::OverPipe(Arrival { stream, peer }) => return Ok((Either::Right(Either::Right(stream)), peer)),
    };
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    let Some(tls) = tls else {
        return Ok((Either::Left(stream), PeerInfo { remote, local, tls: false, certificates: Arc::new([]) }));
    };
    let stream = timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await.map_err(|_| "TLS handshake timeout")??;
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let certificates = certificates.iter().map(|certificate| certificate.clone().into_owned()).collect();
    Ok((Either::Right(Either::Left(stream)), PeerInfo { remote, local, tls: true, certificates }))
}

async fn serve<S, B>(io: Io, peer: PeerInfo, service: S, end: End) -> Result<(), BoxError>
where
    S: tower::Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let service = TowerToHyperService::new(service);
    let (outlet, streams) = (Outlet::new(io), Streams::default());
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
        // Beside it are others of the same connection, which is one task.
        let is_one_of_many = request.version() == Version::HTTP_2;
        let answer = service.call(request).map_err(|error| Unanswered(error.into()));
        async move {
            if !is_one_of_many {
                return answer.await;
            }
            match AbortOnDropHandle::new(tokio::spawn(answer)).await {
                Ok(answer) => answer,
                Err(error) => Err(Unanswered(error.into())),
            }
        }
    });
    let mut builder = auto::Builder::new(streams.clone());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .keep_alive_interval(PING_INTERVAL);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(outlet.clone()), with_peer).into_owned();
    if end.leave.is_none() {
        return streams.drive(end.watcher.watch(connection), outlet).await;
    }
    // The library's watcher ends a connection with the server alone; here it is only held until the connection's end.
    let leaving = async move {
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
    };
    streams.drive(leaving, outlet).await
}
