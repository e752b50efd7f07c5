//! Starts the server: the store and the ports, and what lies between; and stops it.
//!
//! Enter at [`run`], or at [`InProcess`] for a server without ports. What lies between is put together in
//! [`crate::parts`].

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use component::clock::Clock;
use component::pipes::{self, Pipes};
use component::random::Random;
use component::serve::{self, Leave, Ways};
use component::shutdown::Shutdown;
use component::tls;
use futures::future::BoxFuture;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::net::TcpListener;

use crate::authz::Mode;
use crate::bootstrap::Advertised;
use crate::http_body::{Body, BoxError, received};
use crate::options::{Options, StoreChoice};
use crate::parts::{End, Parts};
use crate::server::{Server, handle};
use crate::serving;
use crate::store::Store;
use crate::store::embedded::{self, Embedded};
use crate::store::etcd::Etcd;

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Options(String),
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    #[error(transparent)]
    Tls(#[from] tls::Error),
    #[error("service account key: {0}")]
    Tokens(String),
    #[error("self-made serving certificate: {0}")]
    Certificate(String),
    #[error("failed to create listener: {0}")]
    Listen(#[from] std::io::Error),
}

/// What the server does not take from flags.
pub struct Seams {
    pub shutdown: Shutdown,
    pub clock: Clock,
    pub random: Random,
    /// The secure port; `None`: the one that the flags name is opened.
    pub listener: Option<TcpListener>,
    /// The port without TLS, in the place of the flags'; refused like it unless everything is allowed.
    pub insecure_listener: Option<TcpListener>,
    /// From clients of this process that ask for the secure port.
    pub pipes: Pipes,
}

impl Seams {
    /// Real time and randomness, and the ports of the flags.
    pub fn system(shutdown: Shutdown) -> Self {
        let (clock, random) = (Clock::system(), Random::from_os());
        Self { shutdown, clock, random, listener: None, insecure_listener: None, pipes: Pipes::default() }
    }
}

/// Runs until shutdown.
pub async fn run(options: Options, seams: Seams) -> Result<(), Error> {
    warn_of_open_doors(&options);
    for idle in &options.runtime_config.idle {
        tracing::warn!("{idle}");
    }
    if options.values.is_given("profiling") && options.values.bool("profiling") {
        tracing::warn!("--profiling: profiles are not built; nothing is served below /debug/pprof");
    }
    let Seams { shutdown, clock, random, listener, insecure_listener, pipes } = seams;
    let end = delayed(shutdown, options.values.duration("shutdown-delay-duration"));
    let shutdown = end.shutdown.clone();
    let (listener, pipes) = open_port(&options, listener, &pipes)?;
    let advertised = Advertised { address: options.advertise, port: listener.local_addr()?.port() };
    let tls = serving::server_config(&options)?;
    pipes.speak(tls.clone());
    let (store, embedded) = open_store(&options, &clock).await?;
    let insecure = options.insecure;
    let goaway_chance = options.values.float("goaway-chance");
    let allows_all = options.modes == [Mode::AlwaysAllow];
    let mut parts = Parts::start(options, store, advertised, clock, random.clone(), end)?;
    let leave = (goaway_chance > 0.0).then(|| Leave { chance: goaway_chance, random: random.clone() });
    let ways = Ways { pipes: Some(pipes), leave };
    parts.tasks.spawn(serve_on(listener, Some(tls), parts.server(false), shutdown.clone(), ways));
    let insecure_listener = match (insecure_listener, insecure) {
        (Some(listener), _) => Some(listener),
        (None, Some(address)) => Some(serve::bind(address)?),
        (None, None) => None,
    };
    if let Some(listener) = insecure_listener.filter(|_| allows_all) {
        parts.tasks.spawn(serve_on(listener, None, parts.server(true), shutdown.clone(), Ways::default()));
    }
    parts.ended(&shutdown).await;
    if let Some(embedded) = embedded {
        // What was answered is on the disk already; this ends who still reads.
        embedded.close().await;
    }
    Ok(())
}

/// The port is opened first: a server that cannot have it should say so before it does anything, and who comes while the
/// store opens waits, and does not come again. Those of this process know of it before it opens, or they would come by TCP.
fn open_port(
    options: &Options,
    listener: Option<TcpListener>,
    pipes: &Pipes,
) -> Result<(TcpListener, pipes::Listener), Error> {
    if let Some(listener) = listener {
        let piped = pipes.listen(listener.local_addr()?, options.advertise);
        return Ok((listener, piped));
    }
    let claim = serve::claim(options.secure)?;
    let piped = pipes.listen(claim.address()?, options.advertise);
    Ok((claim.listen()?, piped))
}

/// The end, with time before it in which balancers learn that this server is not ready while it still serves.
fn delayed(ending: Shutdown, delay: Duration) -> End {
    if delay.is_zero() {
        return ending.into();
    }
    let end = End { ending: ending.clone(), shutdown: Shutdown::new() };
    let shutdown = end.shutdown.clone();
    tokio::spawn(async move {
        let over = async {
            ending.cancelled().await;
            tracing::info!(?delay, "serving on before the end");
            tokio::time::sleep(delay).await;
        };
        let _ = shutdown.run_until(over).await;
        shutdown.trigger();
    });
    end
}

fn warn_of_open_doors(options: &Options) {
    if options.modes.contains(&Mode::AlwaysAllow) {
        tracing::warn!(
            "authorization is off (AlwaysAllow): everyone who is authenticated may do everything; --authorization-mode=Node,RBAC closes it"
        );
    }
    if options.advertise.is_loopback() {
        tracing::warn!(address = %options.advertise, "the advertised address is loopback: the kubernetes Service gets no endpoints from this server; --advertise-address names another");
    }
    if let Some(address) = options.insecure {
        tracing::warn!(%address, "INSECURE PORT: everyone who reaches it is the cluster's master, without TLS, without a name");
    }
}

/// The store; the embedded one a second time, for it wants to be closed.
async fn open_store(options: &Options, clock: &Clock) -> Result<(Arc<dyn Store>, Option<Arc<Embedded>>), Error> {
    match &options.store {
        StoreChoice::Embedded { folder } => {
            let disk = embedded::disk::Folder::open(folder)
                .map_err(|error| Error::Options(format!("--data-dir {}: {error}", folder.display())))?;
            let store = Arc::new(Embedded::start(Arc::new(disk), *clock, embedded::Options::default()).await?);
            Ok((store.clone(), Some(store)))
        }
        StoreChoice::Etcd(etcd) => Ok((Arc::new(Etcd::connect(etcd.clone()).await?), None)),
    }
}

async fn serve_on(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    server: Arc<Server>,
    shutdown: Shutdown,
    ways: Ways,
) {
    let service = tower::service_fn(move |request: Request<Incoming>| {
        let server = server.clone();
        let request = request.map(received);
        async move { Ok::<_, std::convert::Infallible>(handle(server, request).await) }
    });
    serve::accept_from(listener, tls, service, shutdown, ways).await;
}

/// A server without ports, over a store that the caller brings. Whoever has it is a master. Ends when dropped.
pub struct InProcess(Parts);

impl InProcess {
    /// Starts its tasks on the current runtime. The options' own store and ports are not used; of the seams, no listener.
    pub fn start(options: Options, store: Arc<dyn Store>, seams: Seams) -> Result<Self, Error> {
        let advertised = Advertised { address: options.advertise, port: options.secure.port() };
        let Seams { shutdown, clock, random, .. } = seams;
        Parts::start(options, store, advertised, clock, random, shutdown.into()).map(Self)
    }

    /// What answers requests, such as those of a `kube::Client`.
    pub fn service(&self) -> Local {
        Local(self.0.server(true))
    }
}

/// The service of an [`InProcess`] server. Cheap to clone.
#[derive(Clone)]
pub struct Local(Arc<Server>);

impl<B> tower::Service<Request<B>> for Local
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let answer = handle(self.0.clone(), request.map(received));
        Box::pin(async move { Ok(answer.await) })
    }
}
