//! The shell: watches nodes, policies, and pods once there is a policy; writes what they mean.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use component::clock::Clock;
use component::context::Context;
use component::informer::Informer;
use component::pipes::Pipes;
use component::random::Random;
use component::recorder::Source;
use component::serve::{Endpoints, Gate};
use component::shutdown::Shutdown;
use component::{client, serve};
use k8s_openapi::api::core::v1::{Namespace, Node};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt as _;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::cni;
use crate::forwarding;
use crate::metrics;
use crate::nft::{render, tool};
use crate::options::Options;
use crate::outside::{self, Way};
use crate::policy::{self, Cluster, Plan, Pod, Policy};
use crate::routes::{self, Backend, Keeper, NodeView};

/// Why skiff-router could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("--{flag} {problem}")]
    Flag { flag: &'static str, problem: String },
    #[error("read this machine's name: {0}")]
    HostName(std::io::Error),
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error("{0}")]
    Listen(std::io::Error),
    #[error("remove the rules: {0}")]
    Cleanup(String),
}

/// What skiff-router does not take from flags.
pub struct Seams {
    pub shutdown: Shutdown,
    pub clock: Clock,
    pub random: Random,
    /// The way to the API server; None: as the flags say.
    pub client: Option<kube::Client>,
    /// To an API server in this process, where the flags name it.
    pub pipes: Pipes,
    /// The port of health and metrics; None: the one that the flags name is opened.
    pub metrics_listener: Option<TcpListener>,
    /// `/proc/sys`.
    pub sysctl_root: std::path::PathBuf,
}

impl Seams {
    /// Real time and randomness, and the ports of the flags.
    pub fn system(shutdown: Shutdown) -> Self {
        Seams {
            shutdown,
            clock: Clock::system(),
            random: Random::from_os(),
            client: None,
            pipes: Pipes::default(),
            metrics_listener: None,
            sysctl_root: "/proc/sys".into(),
        }
    }
}

/// Runs until shutdown, or cleans up when the flags ask for it. The rules stay when it ends: what was denied stays so.
pub async fn run(options: Options, seams: Seams) -> Result<(), Error> {
    if options.is_cleanup {
        return clean_up().await;
    }
    let programs = outside::programs(std::env::var_os("PATH"));
    let mut way = Way::new(&options.cluster_ranges, seams.sysctl_root, programs);
    way.ensure().await;
    let client = match seams.client {
        Some(client) => client,
        None => client::connect(options.client.clone().through(seams.pipes))?,
    };
    let shutdown = seams.shutdown.clone();
    let context = Context::with(client, Source::new("skiff-router"), seams.clock, seams.random, shutdown.clone());
    let listener = match (seams.metrics_listener, options.metrics_bind_address) {
        (Some(listener), _) => Some(listener),
        (None, Some(address)) => Some(serve::bind(address).map_err(Error::Listen)?),
        (None, None) => None,
    };
    let policies: Informer<NetworkPolicy> = context.informers.of();
    if let Some(listener) = listener {
        tokio::spawn(serve::accept(listener, None, endpoints(&policies), shutdown));
    }
    Loop::new(options, context, policies, way).run().await;
    Ok(())
}

/// Tries everything, and tells all that failed.
async fn clean_up() -> Result<(), Error> {
    forwarding::forget();
    let rules = tool::apply(&(render::removal() + &outside::removal())).await.map_err(|error| error.to_string());
    let routes = routes::remove().await.map_err(|error| error.to_string());
    let failures: Vec<String> = [rules, routes].into_iter().filter_map(Result::err).collect();
    if failures.is_empty() { Ok(()) } else { Err(Error::Cleanup(failures.join("; "))) }
}

fn endpoints(policies: &Informer<NetworkPolicy>) -> Endpoints {
    let endpoints = Endpoints::new(Gate::Open);
    let policies = policies.clone();
    endpoints.readyz.add("policies", move || match policies.has_synced() {
        true => Ok(()),
        false => Err("the first list is not in".to_owned()),
    });
    endpoints
}

/// Tells of a first list, which may be empty and then is no event.
async fn first_list<K: component::informer::Object>(informer: Informer<K>, changed: Arc<Notify>) {
    informer.synced().await;
    changed.notify_one();
}

struct Loop {
    options: Options,
    context: Context,
    policies: Informer<NetworkPolicy>,
    /// `None` when routes and the CNI configuration are others' work.
    nodes: Option<Informer<Node>>,
    keeper: Keeper,
    way: Way,
    /// What policies select from; a cluster without policies is spared the watch of all its pods.
    peers: Option<(Informer<Pod>, Informer<Namespace>)>,
    changed: Arc<Notify>,
    /// What the kernel has; `None` when that is not known.
    written: Option<Written>,
}

/// A table's text as it was written, and as it was listed then.
struct Written {
    text: String,
    listing: Option<String>,
}

impl Loop {
    fn new(options: Options, context: Context, policies: Informer<NetworkPolicy>, way: Way) -> Loop {
        let changed = Arc::new(Notify::new());
        let notify = changed.clone();
        policies.on_event(move |_| notify.notify_one());
        tokio::spawn(first_list(policies.clone(), changed.clone()));
        let watches_nodes = options.backend != Backend::None || options.cni_conf_dir.is_some();
        let nodes = watches_nodes.then(|| context.informers.of::<Node>());
        if let Some(nodes) = &nodes {
            tokio::spawn(first_list(nodes.clone(), changed.clone()));
            let notify = changed.clone();
            // A node tells every few seconds that it is alive; only its place in the network matters here.
            nodes.on_event(move |event| {
                if event.old().is_none_or(|old| NodeView::from(&**old) != NodeView::from(&**event.object())) {
                    notify.notify_one();
                }
            });
        }
        let keeper = Keeper::new(options.backend, &options.node_name);
        Loop { options, context, policies, nodes, keeper, way, peers: None, changed, written: None }
    }

    /// Until shutdown. Writes at most a third of the time.
    async fn run(mut self) {
        let shutdown = self.context.shutdown.clone();
        let mut next_check = Instant::now() + self.options.sync_period;
        let mut earliest = Instant::now();
        loop {
            if shutdown.run_until(sleep_until(earliest)).await.is_none() {
                return;
            }
            let start = Instant::now();
            // Each for itself: an API server that does not know the one kind may know the other.
            let work = async {
                if self.nodes.as_ref().is_some_and(Informer::has_synced) {
                    self.sync_nodes().await;
                }
                if self.policies.has_synced() {
                    self.sync(start).await;
                }
            };
            if shutdown.run_until(work).await.is_none() {
                return;
            }
            earliest = Instant::now() + (2 * start.elapsed()).min(Duration::from_secs(1));
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.changed.notified() => {}
                () = sleep_until(next_check) => {
                    next_check = Instant::now() + self.options.sync_period;
                    self.check().await;
                }
            }
        }
    }

    /// Forgets what was written when it is not there any more.
    async fn check(&mut self) {
        self.keeper.forget();
        self.way.ensure().await;
        let Some(written) = self.written.as_ref().filter(|written| written.text != render::removal()) else { return };
        match tool::listing(render::TABLE).await {
            Ok(listing) if listing == written.listing => {}
            Ok(_) => {
                tracing::info!("somebody changed the rules; writing them again");
                self.written = None;
            }
            Err(error) => tracing::warn!(%error, "the rules cannot be looked at"),
        }
    }

    /// Routes to other nodes, and the configuration of this one's pods.
    async fn sync_nodes(&mut self) {
        let Some(nodes) = &self.nodes else { return };
        let nodes: Vec<NodeView> = nodes.list().iter().map(|node| NodeView::from(&**node)).collect();
        if let Err(error) = self.keeper.sync(&nodes).await {
            tracing::warn!(%error, "not every route could be written; trying again");
        }
        let me = nodes.iter().find(|node| node.name == self.options.node_name);
        if let (Some(folder), Some(me)) = (&self.options.cni_conf_dir, me.filter(|me| !me.pod_ranges.is_empty())) {
            let configuration = cni::configuration(&me.pod_ranges, &self.options.bridge);
            if let Err(error) = cni::write(folder, &configuration) {
                tracing::warn!(%error, "the CNI configuration is not written");
            }
        }
    }

    async fn sync(&mut self, start: Instant) {
        let plan = self.plan().await;
        let text = render::transaction(&plan);
        if self.written.as_ref().is_some_and(|written| written.text == text) {
            return;
        }
        match tool::apply(&text).await {
            Ok(()) => {
                metrics::synced(start.elapsed(), plan.ingress.len(), plan.egress.len());
                tracing::debug!(ingress = plan.ingress.len(), egress = plan.egress.len(), elapsed = ?start.elapsed(), "rules are written");
                let is_empty = plan.is_empty();
                let listing = if is_empty { Ok(None) } else { tool::listing(render::TABLE).await };
                self.written = listing.ok().map(|listing| Written { text, listing });
            }
            Err(error) => {
                metrics::failed();
                self.written = None;
                tracing::error!(%error, "writing rules failed; trying again");
            }
        }
    }

    async fn plan(&mut self) -> Plan {
        let policies: Vec<Policy> = self.policies.list().iter().map(|policy| Policy::from(&**policy)).collect();
        if policies.is_empty() {
            return Plan::default();
        }
        let (pods, namespaces) = self.peers().await;
        let namespaces: BTreeMap<String, policy::Namespace> =
            namespaces.list().iter().map(|one| (one.name_any(), policy::Namespace::from(&**one))).collect();
        let cluster = Cluster { pods: pods.list(), namespaces };
        policy::plan(&cluster, &policies, &self.options.node_name, &self.options.name_servers)
    }

    /// The watches of pods and namespaces, started when first asked for, and with their first lists.
    async fn peers(&mut self) -> (Informer<Pod>, Informer<Namespace>) {
        let (pods, namespaces) = match &self.peers {
            Some(peers) => peers.clone(),
            None => {
                let peers = (self.context.informers.of::<Pod>(), self.context.informers.of::<Namespace>());
                let (on_pod, on_namespace) = (self.changed.clone(), self.changed.clone());
                // Most of what becomes of a pod is nothing to policies.
                peers.0.on_event(move |event| {
                    if event.old().is_none_or(|old| !old.looks_like(event.object())) {
                        on_pod.notify_one();
                    }
                });
                peers.1.on_event(move |_| on_namespace.notify_one());
                self.peers = Some(peers.clone());
                peers
            }
        };
        tokio::join!(pods.synced(), namespaces.synced());
        (pods, namespaces)
    }
}
