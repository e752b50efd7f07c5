//! What keeps the node in order beside its pods: evictions, images, logs, certificates. Starts them, no more.

use std::sync::Arc;

use machinery::quantity::Quantity;
use tokio::{sync::watch, task::JoinSet};

use crate::{
    Options, Seams,
    certificates::{self, Purpose},
    config::KubeletConfiguration,
    dispatch::Dispatcher,
    eviction,
    images::{
        collect::{Collector, Policy},
        records::Records,
    },
    log_rotation,
    node::{self, conditions::Health, object::Identity},
    oom,
    pod::node::Node,
};

/// Each a task until shutdown; `health` is told the pressures.
pub(crate) fn spawn(
    tasks: &mut JoinSet<()>,
    c: &KubeletConfiguration,
    seams: &Seams,
    node: &Arc<Node>,
    dispatch: &Dispatcher,
    (records, health): (Arc<Records>, watch::Sender<Health>),
) {
    let policy = Policy {
        age_min: c.image_minimum_gc_age.0,
        age_max: Some(c.image_maximum_gc_age.0).filter(|age| !age.is_zero()),
        high_percent: c.image_gc_high_threshold_percent,
        low_percent: c.image_gc_low_threshold_percent,
    };
    let collector = Collector::new(node.runtime.clone(), seams.clock, policy, node.reporter.clone(), records);
    let collector = Arc::new(collector);
    tasks.spawn(collector.clone().run(node.clone(), seams.shutdown.clone()));
    for warning in c.evictions().warnings() {
        tracing::warn!("{warning}");
    }
    let settings = eviction::Settings {
        thresholds: eviction::signal::thresholds(&c.evictions()).unwrap_or_default(),
        transition: c.eviction_pressure_transition_period.0,
        grace_period_seconds_max: c.eviction_max_pod_grace_period,
        storage_limits: c.local_storage_capacity_isolation,
        root: seams.root.clone(),
    };
    let shutdown = seams.shutdown.clone();
    tasks.spawn(eviction::run(settings, node.clone(), dispatch.clone(), collector, health, shutdown));
    let size = Quantity::parse(&c.container_log_max_size).map_or(0, |size| size.value());
    let settings = log_rotation::Settings {
        size_bytes_max: u64::try_from(size).unwrap_or(u64::MAX),
        files_max: c.container_log_max_files,
        period: c.container_log_monitor_interval.0,
    };
    tasks.spawn(log_rotation::run(settings, node.clone(), seams.shutdown.clone()));
    let (root, reporter, shutdown) = (seams.root.clone(), node.reporter.clone(), seams.shutdown.clone());
    tasks.spawn(async move { oom::watch(&root, reporter, shutdown).await });
}

fn certificate_settings(options: &Options, names: Vec<String>) -> certificates::Settings {
    let node_name = node::address::node_name(options.hostname_override.as_deref());
    certificates::Settings { cert_dir: options.cert_dir.clone(), node_name, names }
}

/// Without a kubeconfig, but with one to ask for a certificate, the first is made by the second.
pub(crate) async fn bootstrap(options: &Options, seams: &Seams) -> Result<(), certificates::Error> {
    let (Some(bootstrap), Some(kubeconfig)) = (&options.bootstrap_kubeconfig, &options.client.kubeconfig) else {
        return Ok(());
    };
    let settings = certificate_settings(options, Vec::new());
    certificates::ensure_kubeconfig(kubeconfig, bootstrap, &settings, seams.clock, &seams.shutdown).await?;
    Ok(())
}

/// Keeps the kubelet's own certificates new, where that is asked for.
pub(crate) fn renew_certificates(
    tasks: &mut JoinSet<()>,
    options: &Options,
    seams: &Seams,
    identity: &Identity,
    client: &kube::Client,
) {
    let c = &options.configuration;
    let names = [identity.addresses.as_slice(), std::slice::from_ref(&identity.name)].concat();
    let settings = certificate_settings(options, names);
    let kubeconfig = options.client.kubeconfig.as_ref();
    let is_own = kubeconfig.is_some_and(|path| certificates::names_store(path, &settings));
    let wanted = [
        (c.rotate_certificates && is_own, Purpose::Client),
        (c.server_tls_bootstrap && c.tls_cert_file.is_empty(), Purpose::Serving),
    ];
    for (_, purpose) in wanted.into_iter().filter(|(is, _)| *is) {
        let time = (seams.clock, seams.random.clone());
        tasks.spawn(certificates::keep(purpose, settings.clone(), client.clone(), time, seams.shutdown.clone()));
    }
}
