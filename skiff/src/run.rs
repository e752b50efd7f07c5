//! `skiff up --foreground`: makes what the parts need and runs them all in this process until a signal comes. On a machine
//! that joined another's cluster, [`join::start`] says which parts those are.

use anyhow::{Context as _, Result, bail};
use component::logging;
use component::pipes::Pipes;
use component::shutdown::Shutdown;
use kube::Client;
use tokio::task::JoinSet;

use crate::layout::Layout;
use crate::notify::Notifier;
use crate::part::Part;
use crate::settings::Settings;
use crate::{addons, api, cni, daemon, files, flags, join, kubeconfig, node, parts, pki, runtime};

pub(crate) fn foreground(layout: Layout, settings: Settings) -> Result<()> {
    let Some(_lock) = daemon::lock(&layout)? else { bail!("the cluster in {} runs already", layout.root().display()) };
    logging::start(logging::Settings::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("start the asynchronous runtime")?.block_on(run(layout, settings))
}

async fn run(layout: Layout, settings: Settings) -> Result<()> {
    let notifier = Notifier::from_environment();
    let shutdown = Shutdown::from_signals().context("listen for signals")?;
    let mut tasks = JoinSet::new();
    let started = match settings.joined {
        Some(_) => join::start(&layout, &settings, &notifier, &shutdown, &mut tasks).await,
        None => start_cluster(&layout, &settings, &notifier, &shutdown, &mut tasks).await,
    };
    notifier.stopping();
    shutdown.trigger();
    while tasks.join_next().await.is_some() {}
    started
}

/// Starts a cluster of this machine's own and keeps the CNI configuration as its Node is. Returns at shutdown.
async fn start_cluster(
    layout: &Layout,
    settings: &Settings,
    notifier: &Notifier,
    shutdown: &Shutdown,
    tasks: &mut JoinSet<()>,
) -> Result<()> {
    notifier.status("making certificates and configurations");
    prepare(layout, settings)?;
    let pipes = Pipes::default();
    let client = node::client_through(pipes.clone(), layout.admin_kubeconfig())?;
    let start = |tasks: &mut JoinSet<()>, part: Part| match settings.runs(part) {
        true => parts::spawn(tasks, part, flags::of(part, layout, settings)?, shutdown, &pipes),
        false => Ok(()),
    };
    notifier.status("starting the API server and containerd");
    start(tasks, Part::KubeApiserver)?;
    // The kubelet refuses to start without a runtime, and needs the pause image for its first pod. The others would
    // back off for a second or more from an API server that does not listen yet, or has no RBAC policy yet.
    let api = async {
        match settings.runs(Part::KubeApiserver) {
            true => api::wait_until_ready(&client).await,
            false => Ok(()),
        }
    };
    tokio::try_join!(runtime::ensure(layout, settings), api)?;
    runtime::keep(tasks, layout, settings, shutdown);
    notifier.status("starting the controllers, the scheduler, the kubelet and the proxy");
    for part in [Part::Kubelet, Part::KubeControllerManager, Part::KubeScheduler, Part::KubeProxy] {
        start(tasks, part)?;
    }
    tasks.spawn(own_parts(layout.clone(), settings.clone(), client.clone(), pipes.clone(), shutdown.clone()));
    if !settings.without.is_empty() {
        // Whether the node gets Ready is in other hands too.
        notifier.ready();
    }
    notifier.status("waiting for the node to be Ready");
    node::keep_configured(layout, settings, client, shutdown, || notifier.ready()).await
}

/// The parts that upstream's bootstrap policy knows nothing of: they are started once they may read what they need.
async fn own_parts(layout: Layout, settings: Settings, client: Client, pipes: Pipes, shutdown: Shutdown) {
    addons::keep_trying(&client, &settings, &shutdown).await;
    let mut tasks = JoinSet::new();
    for part in [Part::SkiffDns, Part::SkiffRouter].into_iter().filter(|part| settings.runs(*part)) {
        let started = flags::of(part, &layout, &settings)
            .and_then(|arguments| parts::spawn(&mut tasks, part, arguments, &shutdown, &pipes));
        if let Err(error) = started {
            tracing::error!(part = part.name(), "not started: {error:#}");
        }
    }
    addons::keep_joinable(&client, &layout, &settings, &shutdown).await;
    if settings.runs(Part::SkiffDns) {
        addons::keep_slice(&client, &settings, &shutdown).await;
    }
    while tasks.join_next().await.is_some() {}
}

/// Everything on disk that the parts read. Repeating it changes nothing that is right.
fn prepare(layout: &Layout, settings: &Settings) -> Result<()> {
    let names = pki::Names {
        node: &settings.node_name,
        node_address: settings.node_address,
        service_address: settings.service_address()?,
    };
    for made in pki::ensure(layout, &names, jiff::Timestamp::now())? {
        tracing::info!(certificate = made, "certificate made");
    }
    kubeconfig::write_all(layout)?;
    std::fs::create_dir_all(layout.path("store")).context("make the folder of the store")?;
    prepare_node(layout, settings)?;
    if !layout.path("cni/net.d/10-skiff.conflist").exists() {
        cni::write_configuration(layout, settings, settings.first_node_cidr()?)?;
    }
    Ok(())
}

/// What every node's parts read.
pub(crate) fn prepare_node(layout: &Layout, settings: &Settings) -> Result<()> {
    flags::write_all(layout, settings)?;
    let executable = std::env::current_exe().context("find this program's own file")?;
    cni::install_plugins(layout, &cni::program_beside(&executable))?;
    for folder in ["manifests", "cni/net.d", "logs/pods"] {
        std::fs::create_dir_all(layout.path(folder)).with_context(|| format!("make {}", layout.text(folder)))?;
    }
    set_sysctls()
}

/// Without these a node routes no pod traffic, or bridged packets pass the packet filter unseen.
fn set_sysctls() -> Result<()> {
    for name in ["net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables"] {
        let path = std::path::Path::new("/proc/sys").join(name);
        if files::read_if_present(&path)?.is_some_and(|value| value.trim() != "1") {
            std::fs::write(&path, "1").with_context(|| format!("set {}", path.display()))?;
        }
    }
    Ok(())
}
