//! The shell: watches started, sockets opened, tasks run until shutdown.

use std::sync::Arc;

use component::clock::Clock;
use component::context::Context;
use component::pipes::Pipes;
use component::random::Random;
use component::recorder::Source;
use component::serve::{Endpoints, Gate};
use component::shutdown::Shutdown;
use component::{client, serve as http};
use tokio::net::{TcpListener, UdpSocket};

use crate::clients::Clients;
use crate::feed::{self, Shared};
use crate::forward::Forward;
use crate::options::Options;
use crate::serve::{Server, tcp, udp};
use crate::zone::Zone;

/// Why skiff-dns could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("--{flag} {problem}")]
    Flag { flag: &'static str, problem: String },
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error("listen on {address}: {source}")]
    Listen { address: std::net::SocketAddr, source: std::io::Error },
    #[error("{0}")]
    ListenHttp(std::io::Error),
}

/// What skiff-dns does not take from flags.
pub struct Seams {
    pub shutdown: Shutdown,
    pub clock: Clock,
    pub random: Random,
    /// The way to the API server; None: as the flags say.
    pub client: Option<kube::Client>,
    /// To an API server in this process, where the flags name it.
    pub pipes: Pipes,
    /// Sockets to answer on; None: those that the flags name are opened.
    pub sockets: Option<(UdpSocket, TcpListener)>,
    /// The port of health and metrics; None: the one that the flags name is opened.
    pub metrics_listener: Option<TcpListener>,
}

impl Seams {
    /// Real time and randomness, and the ports of the flags.
    pub fn system(shutdown: Shutdown) -> Self {
        let (clock, random, pipes) = (Clock::system(), Random::from_os(), Pipes::default());
        Seams { shutdown, clock, random, client: None, pipes, sockets: None, metrics_listener: None }
    }
}

/// Answers until shutdown. From the first moment: names of the cluster fail until the watches have told them all.
pub async fn run(options: Options, seams: Seams) -> Result<(), Error> {
    let client = match seams.client {
        Some(client) => client,
        None => client::connect(options.client.clone().through(seams.pipes))?,
    };
    let shutdown = seams.shutdown.clone();
    let context = Context::with(client, Source::new("skiff-dns"), seams.clock, seams.random.clone(), shutdown.clone());
    let zone = Shared::new(Zone::new(options.origin.clone(), options.service_addresses.clone()));
    let clients = Shared::new(Clients::new(options.client_ranges.clone()));
    let forward =
        Forward::new(options.forward.clone(), options.service_addresses.clone(), seams.random, shutdown.clone());
    let server = Server::new(zone.clone(), options.rules, clients.clone(), forward.clone());

    let sockets = match seams.sockets {
        Some(sockets) => vec![sockets],
        None => open(&options).await?,
    };
    for (datagrams, listener) in sockets {
        answer(datagrams, listener, &server, &shutdown);
    }
    feed::start(&context, &zone);
    if !options.client_ranges.is_empty() {
        feed::start_nodes(&context, &clients);
    }
    serve_health(seams.metrics_listener, &options, &context, &shutdown)?;
    forward.conf();
    if shutdown.run_until(context.informers.synced()).await.is_some() {
        zone.write().is_complete = true;
        tracing::info!(domain = %options.origin, "all names of the cluster are known");
    }
    shutdown.cancelled().await;
    Ok(())
}

async fn open(options: &Options) -> Result<Vec<(UdpSocket, TcpListener)>, Error> {
    let mut sockets = Vec::new();
    for address in options.listen.iter().copied() {
        let failed = |source| Error::Listen { address, source };
        let datagrams = UdpSocket::bind(address).await.map_err(failed)?;
        sockets.push((datagrams, http::bind(address).map_err(failed)?));
    }
    Ok(sockets)
}

fn answer(datagrams: UdpSocket, listener: TcpListener, server: &Server, shutdown: &Shutdown) {
    let datagrams = Arc::new(datagrams);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for _ in 0..cores {
        tokio::spawn(udp::serve(datagrams.clone(), server.clone(), shutdown.clone()));
    }
    tokio::spawn(tcp::serve(listener, server.clone(), shutdown.clone()));
}

fn serve_health(
    given: Option<TcpListener>,
    options: &Options,
    context: &Context,
    shutdown: &Shutdown,
) -> Result<(), Error> {
    let listener = match (given, options.metrics_bind_address) {
        (Some(listener), _) => listener,
        (None, Some(address)) => http::bind(address).map_err(Error::ListenHttp)?,
        (None, None) => return Ok(()),
    };
    let endpoints = Endpoints::new(Gate::Open);
    let informers = context.informers.clone();
    endpoints.readyz.add("names", move || match informers.has_synced() {
        true => Ok(()),
        false => Err("the first lists are not in".to_owned()),
    });
    tokio::spawn(http::accept(listener, None, endpoints, shutdown.clone()));
    Ok(())
}
