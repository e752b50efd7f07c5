//! The shell: starts informers and ports, and turns changes into transactions.

mod pace;
mod sync;
mod tally;

use std::path::Path;

use component::clock::Clock;
use component::context::Context;
use component::file_watch::FileWatch;
use component::informer::{Event, Informer, Selection};
use component::pipes::Pipes;
use component::random::Random;
use component::recorder::Source;
use component::serve::zpages::ZPages;
use component::shutdown::Shutdown;
use component::{client, serve};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use tokio::net::TcpListener;

use crate::config::File;
use crate::health::Health;
use crate::mode::Mode;
use crate::model::Family;
use crate::objects::{EndpointSlice, Service};
use crate::options::{Action, Options};
use crate::pending::Pending;
use crate::serving::Server;
use crate::sysctl::Sysctl;
use sync::Loop;

/// Why kube-proxy could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Options(String),
    #[error(transparent)]
    Config(#[from] component::config::Error),
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error("failed to create listener: {0}")]
    Listen(std::io::Error),
    #[error("{mode} is not available on this host: {problem}")]
    NotUsable { mode: &'static str, problem: String },
    #[error("encountered an error while tearing down rules: {0}")]
    Cleanup(String),
    #[error("failed to write {path}: {source}")]
    WriteConfig { path: std::path::PathBuf, source: std::io::Error },
    #[error("content of the proxy server's configuration file was updated")]
    ConfigChanged,
    #[error("kernel switch: {0}")]
    Sysctl(#[from] std::io::Error),
}

/// What kube-proxy does not take from flags.
pub struct Seams {
    pub shutdown: Shutdown,
    pub clock: Clock,
    pub random: Random,
    /// The way to the API server; None: as the flags say.
    pub client: Option<kube::Client>,
    /// To an API server in this process, where the flags name it.
    pub pipes: Pipes,
    /// The health port; None: the one that the flags name is opened.
    pub health_listener: Option<TcpListener>,
    /// The metrics port; None: the one that the flags name is opened.
    pub metrics_listener: Option<TcpListener>,
    /// `/proc/sys`.
    pub sysctl_root: std::path::PathBuf,
}

impl Seams {
    /// Real time and randomness, this kernel's switches, and the ports of the flags.
    pub fn system(shutdown: Shutdown) -> Self {
        Seams {
            shutdown,
            clock: Clock::system(),
            random: Random::from_os(),
            client: None,
            pipes: Pipes::default(),
            health_listener: None,
            metrics_listener: None,
            sysctl_root: "/proc/sys".into(),
        }
    }
}

/// Runs until shutdown, or does the one thing that the flags ask for. The rules stay when it ends: connections go on.
pub async fn run(options: Options, seams: Seams) -> Result<(), Error> {
    match &options.action {
        Action::WriteConfig(path) => return write_config(path),
        Action::Cleanup => return clean_up().await,
        Action::Run | Action::InitOnly => options.warn(),
    }
    let families = usable_families(options.mode).await?;
    let sysctl = Sysctl(seams.sysctl_root.clone());
    set_kernel_switches(&options, &sysctl)?;
    if options.action == Action::InitOnly {
        return Ok(());
    }
    for family in Family::ALL {
        if let Err(error) = options.mode.clean_up_other(family).await {
            tracing::warn!(%error, family = family.name(), "rules of the other mode may be left");
        }
    }
    let client = match seams.client {
        Some(client) => client,
        None => client::connect(options.client.clone().through(seams.pipes))?,
    };
    let source = Source::new("kube-proxy").on_host(&options.node_name);
    let context = Context::with(client, source, seams.clock, seams.random, seams.shutdown.clone());
    let health = Health::new(seams.clock, 2 * options.sync_period);
    let health_listener = listener(seams.health_listener, options.healthz_bind_address, &options)?;
    let metrics_listener = listener(seams.metrics_listener, options.metrics_bind_address, &options)?;
    serve_port(health_listener, Server::Health(health.clone()), &seams.shutdown);
    let zpages = ZPages { component: "kube-proxy", flags: options.flags.clone(), clock: seams.clock };
    serve_port(metrics_listener, Server::metrics(&options.file, options.mode, zpages), &seams.shutdown);
    let sources = Sources::start(&context, &options);
    let config_file = options.config_file.clone();
    let work = Loop::new(options, families, sources, health, sysctl, context).await;
    tokio::select! {
        () = work.run() => Ok(()),
        error = written_anew(config_file.as_deref()) => Err(error),
    }
}

/// Ends when somebody writes the configuration file: whoever runs the program starts it again, as with upstream's.
async fn written_anew(config_file: Option<&Path>) -> Error {
    let Some(path) = config_file else { return std::future::pending().await };
    let written = async {
        let watch = FileWatch::new()?;
        watch.add_file(path)?;
        watch.changed().await
    };
    if let Err(error) = written.await {
        tracing::warn!(%error, file = %path.display(), "the configuration file is not watched");
        std::future::pending::<()>().await;
    }
    Error::ConfigChanged
}

/// Where changes come from.
pub(crate) struct Sources {
    pub(crate) services: Informer<Service>,
    pub(crate) slices: Informer<EndpointSlice>,
    pub(crate) node: Informer<Node>,
    pub(crate) pending: Pending,
}

/// The index of slices by their Service.
pub(crate) const BY_SERVICE: &str = "service";

impl Sources {
    /// Starts the watches. Services that another proxy serves (by label) and slices of headless Services are not even
    /// sent by the server.
    fn start(context: &Context, options: &Options) -> Sources {
        let selection = |labels: &str| Selection::labels(labels);
        let services: Informer<Service> =
            context.informers.selected(selection("!service.kubernetes.io/service-proxy-name"));
        let slices: Informer<EndpointSlice> = context.informers.selected(selection("!service.kubernetes.io/headless"));
        let node: Informer<Node> =
            context.informers.selected(Selection::fields(format!("metadata.name={}", options.node_name)));
        slices.index(BY_SERVICE, |slice| service_of(slice).into_iter().collect());
        let pending = Pending::default();
        let queue = pending.clone();
        services.on_event(move |event| each(event, |service| queue.add_service(key_of(service))));
        let (queue, start) = (pending.clone(), context.clock.now());
        slices.on_event(move |event| {
            let trigger = trigger(event).filter(|(_, at)| *at > start);
            each(event, |slice| service_of(slice).into_iter().for_each(|key| queue.add_endpoints(key, trigger)));
        });
        let queue = pending.clone();
        node.on_event(move |_| queue.add_node());
        Sources { services, slices, node, pending }
    }

    /// Before the first list of both is there, rules would take Services away that only were not heard of yet.
    pub(crate) async fn synced(&self) {
        tokio::join!(self.services.synced(), self.slices.synced(), self.node.synced());
    }
}

fn each<K>(event: &Event<K>, mut touch: impl FnMut(&K)) {
    match event {
        Event::Added(object) | Event::Deleted(object) => touch(object),
        Event::Updated { old, new } => {
            touch(old);
            touch(new);
        }
    }
}

/// Of what is there now: a deleted slice only knows of the change before.
fn trigger(event: &Event<EndpointSlice>) -> Option<(Family, Timestamp)> {
    let (Event::Added(slice) | Event::Updated { new: slice, .. }) = event else { return None };
    let family = Family::ALL.into_iter().find(|family| family.name() == &*slice.address_type)?;
    Some((family, slice.trigger?))
}

fn key_of(service: &Service) -> String {
    let metadata = &service.metadata;
    format!("{}/{}", metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}

/// The Service that a slice says it is of.
fn service_of(slice: &EndpointSlice) -> Option<String> {
    let name = slice.service_name.as_ref()?;
    Some(format!("{}/{name}", slice.metadata.namespace.as_deref().unwrap_or_default()))
}

/// The families whose tables can be used; one is enough.
async fn usable_families(mode: Mode) -> Result<Vec<Family>, Error> {
    let mut usable = Vec::new();
    let mut errors = Vec::new();
    for family in Family::ALL {
        match mode.is_usable(family).await {
            Ok(()) => usable.push(family),
            Err(error) => {
                tracing::info!(%error, family = family.name(), "no support for the family");
                errors.push(error.to_string());
            }
        }
    }
    if usable.is_empty() { Err(Error::NotUsable { mode: mode.name(), problem: errors.join("; ") }) } else { Ok(usable) }
}

fn set_kernel_switches(options: &Options, sysctl: &Sysctl) -> Result<(), Error> {
    sysctl.call_iptables_for_bridges();
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    sysctl.conntrack(&options.conntrack, cores);
    if options.localhost_node_ports {
        sysctl.route_localnet()?;
    }
    // Only a process of its own may be protected from the out-of-memory killer: in the all-in-one the others would be, too.
    if std::env::args().next().is_some_and(|name| name.ends_with("kube-proxy"))
        && let Err(error) = std::fs::write("/proc/self/oom_score_adj", options.oom_score_adj.to_string())
    {
        tracing::info!(%error, "oom_score_adj stays as it is");
    }
    Ok(())
}

fn listener(
    given: Option<TcpListener>,
    address: Option<std::net::SocketAddr>,
    options: &Options,
) -> Result<Option<TcpListener>, Error> {
    let Some(address) = address.filter(|_| given.is_none()) else { return Ok(given) };
    match serve::bind(address) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if options.bind_address_hard_fail => Err(Error::Listen(error)),
        Err(error) => {
            tracing::error!(%error, "this port is not served");
            Ok(None)
        }
    }
}

fn serve_port(listener: Option<TcpListener>, server: Server, shutdown: &Shutdown) {
    if let Some(listener) = listener {
        tokio::spawn(serve::accept(listener, None, server, shutdown.clone()));
    }
}

async fn clean_up() -> Result<(), Error> {
    let mut errors = Vec::new();
    for mode in [Mode::Iptables, Mode::Nftables] {
        for family in Family::ALL {
            errors.extend(mode.clean_up_other(family).await.err().map(|error| error.to_string()));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Error::Cleanup(errors.join("; "))) }
}

fn write_config(path: &Path) -> Result<(), Error> {
    std::fs::write(path, File::defaults()).map_err(|source| Error::WriteConfig { path: path.to_owned(), source })
}
