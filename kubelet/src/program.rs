//! Starts everything, in the order that a kubelet can be trusted in: checks, runtime, node, pods, server.

use std::{path::PathBuf, sync::Arc, time::Duration};

use component::{
    client,
    clock::Clock,
    informer::{Informers, Selection},
    pipes::Pipes,
    random::Random,
    recorder::Type,
    shutdown::Shutdown,
    tls,
};
use futures::FutureExt as _;
use k8s_openapi::api::core::v1::{Pod, Service};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::{
    Options, certificates,
    cgroups::Hierarchy,
    config::KubeletConfiguration,
    connect::{self, Connected},
    dispatch::{Dispatcher, LateDispatcher},
    enforcement, facts, folders,
    images::{self, Puller, access, logins::Logins, providers::Providers, records::Records},
    keepers, metrics,
    node::{
        self, capacity,
        conditions::Health,
        machine::{Machine, Space},
        object::Identity,
        own::OwnNode,
    },
    node_shutdown::{self, NodeShutdown},
    pod::{
        configs::dns,
        node::{Index, Network, Node, Registry},
        turns::Turns,
        wishes::Wishes,
    },
    ports,
    probes::Prober,
    process,
    rate::Rate,
    reporting::Reporter,
    runtime::{SharedRuntime, events},
    server,
    sources::ObjectSources,
    static_pods, tidying,
    volumes::{VolumeManager, image::ImageMounts, tokens::Tokens},
    working_pods,
};

/// How often everything in the runtime is looked at, besides its events.
const LOOK_PERIOD: Duration = Duration::from_secs(10);

/// Why the kubelet could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Options(String),
    #[error(transparent)]
    Configuration(#[from] component::config::Error),
    #[error(
        "failed to run Kubelet: running with swap on is not supported, please disable swap or set --fail-swap-on flag to false"
    )]
    Swap,
    #[error(
        "failed to run Kubelet: kubelet is configured to not run on a host using cgroup v1; \
         use a host with cgroup v2, or set failCgroupV1 to false"
    )]
    CgroupV1,
    #[error(
        "failed to run Kubelet: validate CRI v1 runtime API for endpoint {endpoint:?}: {problem}. A container runtime \
         must be running there: install one (Debian: apt install containerd) and start it, or name its socket with \
         --container-runtime-endpoint"
    )]
    Runtime { endpoint: String, problem: String },
    #[error(transparent)]
    Address(#[from] node::address::Error),
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error(transparent)]
    Tls(#[from] tls::Error),
    #[error(transparent)]
    Credentials(#[from] images::providers::Error),
    #[error(transparent)]
    Certificates(#[from] certificates::Error),
    #[error(transparent)]
    Certificate(#[from] server::certificate::Error),
    #[error(transparent)]
    Cgroup(#[from] crate::cgroups::Error),
    #[error("{operation} {path}: {source}")]
    File { operation: &'static str, path: PathBuf, source: std::io::Error },
    #[error("failed to start ContainerManager: {0}")]
    Kernel(String),
    #[error("failed to create listener: {0}")]
    Listen(#[from] std::io::Error),
}

/// What the kubelet does not take from flags.
pub struct Seams {
    pub shutdown: Shutdown,
    pub clock: Clock,
    pub random: Random,
    /// The HTTPS port; `None`: the one that the configuration names is opened.
    pub listener: Option<TcpListener>,
    /// To an API server in this process, where the flags name it.
    pub pipes: Pipes,
    /// Where /proc, /sys and /etc are read: `/` but in tests.
    pub root: PathBuf,
    /// Where cgroups are mounted: `/sys/fs/cgroup` but in tests.
    pub cgroup_mount: PathBuf,
    /// The runtime's CNI configuration folder, watched so that a new file is noticed at once.
    pub cni_folder: PathBuf,
}

impl Seams {
    /// Real time, randomness and files, and the port of the configuration.
    pub fn system(shutdown: Shutdown) -> Self {
        Self {
            shutdown,
            clock: Clock::system(),
            random: Random::from_os(),
            listener: None,
            pipes: Pipes::default(),
            root: "/".into(),
            cgroup_mount: "/sys/fs/cgroup".into(),
            cni_folder: "/etc/cni/net.d".into(),
        }
    }
}

/// Runs until shutdown. Containers go on running after it.
///
/// # Errors
/// What keeps the kubelet from starting; once it runs, it retries.
pub async fn run(mut options: Options, mut seams: Seams) -> Result<(), Error> {
    options.client.pipes = seams.pipes.clone();
    let machine = Machine::read(&seams.root);
    let hierarchy = Hierarchy::detect(&seams.cgroup_mount);
    check(&options.configuration, &machine, &hierarchy)?;
    process::prepare(&options.configuration, &seams.root)?;
    options.root_dir = folders::own(&options.root_dir)?;
    let connected = connect::to_runtime(&options.configuration).await?;
    let (runtime, channel) = (connected.runtime.clone(), connected.channel.clone());
    connect::settle_cgroup_driver(runtime.as_ref(), &mut options.configuration).await?;
    keepers::bootstrap(&options, &seams).await?;
    // From here on the kubelet's parts outlive the word to stop: the pods may have to be ended first.
    let asked_to_stop = std::mem::take(&mut seams.shutdown);
    let client = connect::to_api(&options.client)?;
    let identity = identity(&options, machine, &connected)?;
    let mut tasks = JoinSet::new();
    let made = make_node(&options, &seams, &identity, hierarchy, &connected, client.clone()).await?;
    let Made { node, records, health, health_sender, network_sender, informers, dispatch } = made;
    let network = node::watch_network(
        runtime.clone(),
        seams.cni_folder.clone(),
        health_sender.clone(),
        network_sender,
        seams.shutdown.clone(),
    );
    tasks.spawn(network);
    let (range, name) = (options.configuration.pod_cidr.clone(), identity.name.clone());
    tasks.spawn(node::tell_pod_range(runtime.clone(), range, informers.clone(), name, seams.shutdown.clone()));
    if let Some(client) = client {
        keepers::renew_certificates(&mut tasks, &options, &seams, &identity, &client);
        let settings = node::Settings {
            identity: identity.clone(),
            register: options.configuration.register_node,
            update_period: options.configuration.node_status_update_frequency.0,
            report_period: options.configuration.node_status_report_frequency.0,
            lease_duration_seconds: options.configuration.node_lease_duration_seconds,
            is_cordoned: is_cordoned(&node),
        };
        let time = (seams.clock, seams.random.clone());
        let reporter = node.reporter.clone();
        tasks.spawn(node::run(settings, client, runtime, reporter, time, health, seams.shutdown.clone()));
    } else {
        tracing::warn!("standalone mode, no API client: only static pods run");
    }
    ports::open(&options, &mut seams, &node, &mut tasks)?;
    let follow = dispatch.clone();
    tasks.spawn(events::follow(channel, move |wake| follow.wake(wake), seams.shutdown.clone()));
    keepers::spawn(&mut tasks, &options.configuration, &seams, &node, &dispatch, (records, health_sender.clone()));
    let periods = node_shutdown::periods(&options.configuration);
    let graceful = NodeShutdown::new(periods, (node.clone(), dispatch.clone()), health_sender);
    if let Some(graceful) = graceful.clone() {
        tasks.spawn(graceful.follow_logind(seams.root.clone(), seams.shutdown.clone()));
    }
    tasks.spawn(pods(options, node.clone(), informers, dispatch.clone(), seams.shutdown.clone()));
    tracing::info!(node = identity.name, runtime = identity.runtime_version, "the kubelet has started");
    asked_to_stop.cancelled().await;
    if let Some(graceful) = graceful {
        graceful.end_pods().await;
    }
    seams.shutdown.trigger();
    while tasks.join_next().await.is_some() {}
    Ok(())
}

fn check(configuration: &KubeletConfiguration, machine: &Machine, hierarchy: &Hierarchy) -> Result<(), Error> {
    if configuration.fail_swap_on && machine.has_swap {
        return Err(Error::Swap);
    }
    if configuration.fail_cgroup_v1 && !hierarchy.is_v2() {
        return Err(Error::CgroupV1);
    }
    Ok(())
}

fn identity(options: &Options, machine: Machine, connected: &Connected) -> Result<Identity, Error> {
    let version = &connected.version;
    let c = &options.configuration;
    let space = c.local_storage_capacity_isolation.then(|| Space::of(&options.root_dir));
    let capacity = capacity::capacity(&machine, space.as_ref(), c.max_pods, c.pods_per_core);
    let hard = c.evictions().all_hard();
    let allocatable = capacity::allocatable(&capacity, [&c.kube_reserved, &c.system_reserved], &hard);
    Ok(Identity {
        name: node::address::node_name(options.hostname_override.as_deref()),
        addresses: node::address::of_node(&options.node_ips)?,
        labels: options.node_labels.clone(),
        taints: c.register_with_taints.clone(),
        provider_id: c.provider_id.clone(),
        external_cloud: options.cloud_provider == "external",
        port: c.port,
        machine,
        runtime_version: format!("{}://{}", version.runtime_name, version.runtime_version),
        capacity,
        allocatable,
        images_max: c.node_status_max_images,
        runtime_handlers: connected.status.runtime_handlers.clone(),
        runtime_features: connected.status.features,
    })
}

/// The shared state of the node, with the ends that feed it.
struct Made {
    node: Arc<Node>,
    records: Arc<Records>,
    health: watch::Receiver<Health>,
    health_sender: watch::Sender<Health>,
    network_sender: watch::Sender<Network>,
    informers: Option<Informers>,
    dispatch: Dispatcher,
}

async fn make_node(
    options: &Options,
    seams: &Seams,
    identity: &Identity,
    hierarchy: Hierarchy,
    connected: &Connected,
    client: Option<kube::Client>,
) -> Result<Made, Error> {
    let c = &options.configuration;
    let Connected { runtime, channel, version, status } = connected;
    let abilities = facts::abilities(status);
    let facts = Arc::new(facts::of_node(options, seams, identity, &hierarchy, abilities));
    folders::make(&facts.paths.pods(), folders::OWN)?;
    folders::make(&facts.paths.pod_logs, folders::OWN)?;
    if let Err(error) = folders::make(&facts.paths.container_logs, folders::OF_ALL) {
        tracing::warn!(%error, "there are no links to containers' logs");
    }
    let clock = seams.clock;
    let recorder = connect::recorder(options, client.as_ref(), identity, seams)?;
    let reporter = Reporter::new(recorder, &identity.name);
    let resolv_conf = c.resolv_conf.as_deref().unwrap_or(facts::RESOLV_CONF);
    if let Some(problem) = dns::host_problem(&facts.host_dns, resolv_conf, &c.cluster_domain) {
        reporter.node(Type::Warning, "CheckLimitsForResolvConf", problem);
    }
    let cgroups = enforcement::cgroups(c, (&seams.root, hierarchy), &facts, identity, &reporter).await?;
    let late = LateDispatcher::default();
    let sources = Arc::new(ObjectSources::new(client.clone(), late.wake()));
    let tokens = Tokens::new(client.clone(), clock);
    let mounts = ImageMounts::new(channel.clone(), version);
    let volumes =
        VolumeManager::new(facts.paths.clone(), sources.clone(), tokens.clone(), clock, client.clone(), mounts);
    let records = connect::pull_records(options, runtime, clock).await;
    let puller = puller(options, runtime, &sources, &reporter, (clock, tokens), &records)?;
    let informers = client.clone().map(|client| Informers::new(client, seams.random.clone(), seams.shutdown.clone()));
    let own = OwnNode::new(identity, informers.as_ref(), client.clone());
    let (network_sender, network) = watch::channel(Network::default());
    let (health_sender, health) = watch::channel(Health {
        runtime_problem: Some("container runtime status check may not have completed yet".into()),
        ..Health::default()
    });
    let node = Arc::new(Node {
        runtime: runtime.clone(),
        runtime_name: version.runtime_name.clone(),
        turns: Turns::of_machine(),
        facts,
        volumes,
        cgroups,
        pod_pids_limit: (c.pod_pids_limit > 0).then_some(c.pod_pids_limit),
        puller,
        sources,
        services: informers.as_ref().map(Informers::of::<Service>),
        client,
        reporter,
        prober: Prober::new(clock, seams.random.clone()),
        clock,
        random: seams.random.clone(),
        network,
        health: health.clone(),
        index: Index::default(),
        running: Registry::default(),
        wishes: Wishes::default(),
        own,
        evict: late.evict(),
    });
    metrics::follow(&node);
    let dispatch = Dispatcher::new(node.clone(), seams.shutdown.clone());
    late.put(dispatch.clone());
    working_pods::follow(&dispatch);
    Ok(Made { node, records, health, health_sender, network_sender, informers, dispatch })
}

/// What pulls images, as the configuration has it.
fn puller(
    options: &Options,
    runtime: &SharedRuntime,
    sources: &Arc<ObjectSources>,
    reporter: &Reporter,
    (clock, tokens): (Clock, Tokens),
    records: &Arc<Records>,
) -> Result<Puller, Error> {
    let c = &options.configuration;
    let (policy, allowed) = (&c.image_pull_credentials_verification_policy, &c.preloaded_images_verification_allowlist);
    let pulls = images::Settings {
        serialize: c.serialize_image_pulls,
        parallel_max: c.max_parallel_image_pulls,
        rate: c.registry_pull_qps.filter(|qps| *qps > 0).map(|qps| Rate { qps, burst: c.registry_burst }),
        access: access::Policy::parse(policy, allowed).map_err(Error::Options)?,
    };
    let (configuration, programs) = (options.credential_providers.as_deref(), &options.credential_provider_programs);
    let providers = Providers::load(configuration, programs, Logins::of_process(&options.root_dir), tokens, clock)?;
    Ok(Puller::new(runtime.clone(), sources.clone(), reporter.clone(), clock, pulls, providers, records.clone()))
}

/// Whether nothing new is to be scheduled to the node, as the API has it.
fn is_cordoned(node: &Arc<Node>) -> Arc<dyn Fn() -> bool + Send + Sync> {
    let node = node.clone();
    Arc::new(move || node.own.now().spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true)))
}

/// Follows the sources of pods, and looks at everything from time to time.
async fn pods(
    options: Options,
    node: Arc<Node>,
    informers: Option<Informers>,
    dispatch: Dispatcher,
    shutdown: Shutdown,
) {
    let path = PathBuf::from(&options.configuration.static_pod_path);
    let has_static = !options.configuration.static_pod_path.is_empty();
    if has_static {
        // Before the first look at everything: it must not take them for pods that nobody has.
        static_pods::read(&path, &node.facts.node_name).into_iter().for_each(|pod| dispatch.put(pod));
    }
    let mut has_all = informers.is_none();
    let selection = Selection::fields(format!("spec.nodeName={}", node.facts.node_name));
    let pods = informers.map(|informers| informers.selected::<Pod>(selection));
    let statics = tokio::spawn(match has_static {
        true => static_pods::follow(path, node.clone(), pods.clone(), dispatch.clone(), shutdown.clone()).left_future(),
        false => std::future::ready(()).right_future(),
    });
    if let Some(pods) = pods {
        // Pods are judged by the labels and taints of their node.
        let _ = shutdown.run_until(node.own.synced()).await;
        let handler = dispatch.clone();
        pods.on_event(move |event| handler.event(event));
        has_all |= shutdown.run_until(pods.synced()).await.is_some();
    }
    let (looked, looks) = watch::channel(false);
    let known = dispatch.clone();
    let tidying = tidying::run(looks, node, move |uid| known.has(uid), shutdown.clone());
    let beside = [statics, tokio::spawn(tidying)];
    while !shutdown.is_triggered() {
        let look = dispatch.look_at_all(has_all).await;
        if let Err(error) = &look {
            tracing::warn!(%error, "the runtime cannot be looked at");
        }
        // Before a look has given them a worker, pods that run here would be cleared away.
        looked.send_replace(has_all && look.is_ok());
        tokio::select! {
            () = tokio::time::sleep(LOOK_PERIOD) => {}
            () = dispatch.look_wanted() => {}
            () = shutdown.cancelled() => {}
        }
    }
    for task in beside {
        if let Err(error) = task.await {
            tracing::error!(%error, "the task of static pods, or the one that tidies up, failed");
        }
    }
}
