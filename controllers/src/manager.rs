//! Starts everything: the secure port, the election, and then the controllers that are asked for.

use std::sync::Arc;

use component::client::{self, ServiceAccountClients};
use component::context::{Context, Seams};
use component::leader::{self, Identity};
use component::recorder::{Recorder, Source};
use component::serve;
use component::shutdown::Shutdown;
use futures::future::{BoxFuture, FutureExt, join_all};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::ReplicationController;

use crate::names::CONTROLLERS;
use crate::options::Options;
use crate::{
    bootstrap, certificates, clusterroleaggregation, cronjob, daemonset, deployment, devicetainteviction, disruption,
    endpoints, endpointslice, endpointslicemirroring, garbagecollector, job, legacytokens, namespace, nodeipam,
    nodelifecycle, podautoscaler, podgc, replicaset, resourceclaim, resourcequota, rootca, serviceaccount,
    serviceaccounttoken, servicecidr, servicelb, statefulset, tainteviction, ttl, ttlafterfinished, volume,
};

const NAME: &str = "kube-controller-manager";

/// Why the controller manager could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Options(String),
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error(transparent)]
    Serving(#[from] serve::SecureError),
    #[error("failed to create listener: {0}")]
    Listen(#[from] std::io::Error),
    #[error(transparent)]
    Leader(#[from] leader::Error),
}

/// Runs until shutdown. An error after the election was won means that the process should end.
pub async fn run(mut options: Options, seams: Seams) -> Result<(), Error> {
    options.client.pipes = seams.pipes.clone();
    let client = seams.client.map_or_else(|| client::connect(options.client.clone()), Ok)?;
    let source = Source::new(NAME);
    let ctx = Context::with(client, source, seams.clock, seams.random, seams.shutdown.clone());
    let listener = serve::secure_listener(seams.listener, &options.values)?;
    let identity = Identity::of_program(NAME, listener.as_ref(), &ctx.random)?;
    let election = leader::Settings::from_flags(&options.values, NAME, identity)?;
    let endpoints =
        || serve::secure_endpoints(NAME, &options.values, &ctx.client, &ctx.informers, ctx.clock, seams.pipes);
    let serving = serve::serve_secure(NAME, listener, &options.values, endpoints, seams.shutdown.clone())?;
    options.idle.iter().for_each(|what| tracing::warn!("{what}"));
    for name in options.controllers.missing() {
        tracing::warn!(controller = name, "is not built yet and will not run");
    }
    let leading = leader::run(election, &ctx, |leading| lead(&ctx, &options, leading));
    // The port serves until the end of leading; what ends leading early ends the process.
    let serving = tokio::spawn(serving);
    let result = leading.await;
    ctx.shutdown.trigger();
    if serving.await.is_err() {
        tracing::error!("the secure port's task panicked");
    }
    result?.unwrap_or(Ok(()))
}

/// The ServiceAccount that upstream's bootstrap policy gives a controller its rights by.
fn account(controller: &str) -> &str {
    match controller {
        "endpoints-controller" => "endpoint-controller",
        "endpointslice-mirroring-controller" => "endpointslicemirroring-controller",
        "serviceaccount-controller" => "service-account-controller",
        "root-ca-certificate-publisher-controller" => "root-ca-cert-publisher",
        "garbage-collector-controller" => "generic-garbage-collector",
        "node-lifecycle-controller" | "taint-eviction-controller" | "node-ipam-controller" => "node-controller",
        "pod-garbage-collector-controller" => "pod-garbage-collector",
        "daemonset-controller" => "daemon-set-controller",
        "bootstrap-signer-controller" => "bootstrap-signer",
        "token-cleaner-controller" => "token-cleaner",
        "legacy-serviceaccount-token-cleaner-controller" => "legacy-service-account-token-cleaner",
        "service-lb-controller" => "service-controller",
        "persistentvolume-binder-controller" => "persistent-volume-binder",
        "persistentvolume-attach-detach-controller" => "attachdetach-controller",
        "persistentvolume-expander-controller" => "expand-controller",
        "persistentvolumeclaim-protection-controller" => "pvc-protection-controller",
        "persistentvolume-protection-controller" => "pv-protection-controller",
        "replicationcontroller-controller" => "replication-controller",
        "resourceclaim-controller" => "resource-claim-controller",
        "service-cidr-controller" => "service-cidrs-controller",
        "horizontal-pod-autoscaler-controller" => "horizontal-pod-autoscaler",
        name if name.starts_with("certificatesigningrequest-") => "certificate-controller",
        name => name,
    }
}

/// The context for one controller, until leading ends: with `--use-service-account-credentials` it writes and tells its
/// events under its own identity. The caches are shared, and stay the manager's.
fn context(
    name: &str,
    ctx: &Context,
    leading: &Shutdown,
    accounts: Option<&ServiceAccountClients>,
) -> Result<Context, client::Error> {
    let ctx = ctx.clone();
    // Upstream's is started before there are accounts to be, and stays the manager.
    let accounts = accounts.filter(|_| name != "serviceaccount-token-controller");
    let client = accounts.map(|accounts| accounts.client("kube-system", account(name))).transpose()?;
    let shutdown = leading.clone();
    let Some(client) = client else { return Ok(Context { shutdown, ..ctx }) };
    // What controllers tell while they end is still written: events end with the manager.
    let recorder =
        Recorder::start(client.clone(), Source::new(NAME), ctx.clock, ctx.random.clone(), ctx.shutdown.clone());
    Ok(Context { client, recorder, shutdown, ..ctx })
}

/// Runs the controllers until leading ends; then they have a moment to finish what they are at.
async fn lead(ctx: &Context, options: &Options, leading: Shutdown) -> Result<(), Error> {
    let options = Arc::new(options.clone());
    let accounts = match options.values.bool("use-service-account-credentials") {
        true => Some(ServiceAccountClients::new(&options.client, ctx.client.clone())?),
        false => None,
    };
    let mut tasks = Vec::new();
    for (name, _) in CONTROLLERS.iter().filter(|(name, _)| options.controllers.wants(name)) {
        tasks.extend(start(name, &context(name, ctx, &leading, accounts.as_ref())?, &options).map(tokio::spawn));
    }
    tracing::info!(controllers = tasks.len(), "started");
    let all = join_all(tasks);
    tokio::pin!(all);
    tokio::select! {
        biased;
        _ = &mut all => {}
        () = leading.cancelled() => {
            let _ = tokio::time::timeout(options.shutdown_timeout, all).await;
        }
    }
    Ok(())
}

/// The controller of that name, which tells its events under its own name. None for one that the flags leave nothing
/// to do.
fn start(name: &'static str, ctx: &Context, options: &Arc<Options>) -> Option<BoxFuture<'static, ()>> {
    let voice = |component: &str| speaking_as(component, ctx);
    let workers = &options.workers;
    Some(match name {
        "deployment-controller" => deployment::run(voice(name), workers.deployment).boxed(),
        "replicaset-controller" => replicaset::run::<ReplicaSet>(voice(name), workers.replica_set).boxed(),
        "daemonset-controller" => daemonset::run(voice(name), workers.daemon_set).boxed(),
        "statefulset-controller" => statefulset::run(voice(name), workers.stateful_set).boxed(),
        "replicationcontroller-controller" => {
            replicaset::run::<ReplicationController>(voice("replication-controller"), workers.replication).boxed()
        }
        "job-controller" => job::run(voice(name), workers.job).boxed(),
        "cronjob-controller" => cronjob::run(voice(name), workers.cron_job).boxed(),
        "ttl-after-finished-controller" => ttlafterfinished::run(voice(name), workers.ttl_after_finished).boxed(),
        "disruption-controller" => disruption::run(voice("controllermanager")).boxed(),
        "resourcequota-controller" => resourcequota::run(voice(name), options.quotas).boxed(),
        "horizontal-pod-autoscaler-controller" => {
            podautoscaler::run(voice("horizontal-pod-autoscaler"), options.autoscaling).boxed()
        }
        "endpoints-controller" => {
            endpoints::run(voice("endpoint-controller"), workers.endpoints, options.endpoints_batch_period).boxed()
        }
        "endpointslice-controller" => {
            let settings = endpointslice::Settings {
                workers: workers.slices,
                max_endpoints_per_slice: options.max_endpoints_per_slice,
                batch_period: options.slices_batch_period,
            };
            endpointslice::run(voice("endpoint-slice-controller"), settings).boxed()
        }
        "endpointslice-mirroring-controller" => {
            endpointslicemirroring::run(voice(name), options.mirroring.clone()).boxed()
        }
        "namespace-controller" => namespace::run(voice(name), workers.namespace).boxed(),
        "serviceaccount-controller" => serviceaccount::run(voice(name), 1).boxed(),
        "serviceaccount-token-controller" => {
            serviceaccounttoken::run(voice(name), options.token_secrets.clone()?, options.client.clone()).boxed()
        }
        "root-ca-certificate-publisher-controller" => {
            rootca::run(voice(name), options.root_ca_file.clone(), options.client.clone()).boxed()
        }
        "garbage-collector-controller" if options.collect_garbage => {
            garbagecollector::run(voice(name), workers.garbage_collector).boxed()
        }
        "node-lifecycle-controller" => nodelifecycle::run(voice("node-controller"), options.nodes).boxed(),
        "taint-eviction-controller" => tainteviction::run(voice(name)).boxed(),
        "pod-garbage-collector-controller" => podgc::run(voice(name), options.terminated_pods).boxed(),
        "node-ipam-controller" => nodeipam::run(voice("cidrAllocator"), options.node_cidrs.clone()?).boxed(),
        "ttl-controller" => ttl::run(voice(name)).boxed(),
        "service-cidr-controller" => servicecidr::run(voice(name)).boxed(),
        "clusterrole-aggregation-controller" => clusterroleaggregation::run(voice(name)).boxed(),
        "certificatesigningrequest-approving-controller" => certificates::approve::run(voice(name)).boxed(),
        "certificatesigningrequest-signing-controller" => {
            certificates::sign::run(voice(name), options.signing.clone()?).boxed()
        }
        "certificatesigningrequest-cleaner-controller" => certificates::clean::run(voice(name)).boxed(),
        "bootstrap-signer-controller" => bootstrap::signer::run(voice(name)).boxed(),
        "token-cleaner-controller" => bootstrap::cleaner::run(voice(name)).boxed(),
        "legacy-serviceaccount-token-cleaner-controller" => {
            legacytokens::run(voice(name), options.legacy_token_period).boxed()
        }
        "service-lb-controller" if !options.load_balancer_pool.is_empty() => {
            servicelb::run(voice("service-controller"), options.load_balancer_pool.clone()).boxed()
        }
        _ => return start_storage(name, ctx, options),
    })
}

/// The same, of the controllers of volumes and devices.
fn start_storage(name: &'static str, ctx: &Context, options: &Options) -> Option<BoxFuture<'static, ()>> {
    let voice = |component: &str| speaking_as(component, ctx);
    Some(match name {
        "persistentvolume-binder-controller" => {
            volume::binder::run(voice("persistentvolume-controller"), options.volumes.clone()).boxed()
        }
        "resourceclaim-controller" => {
            resourceclaim::run(voice("resource_claim"), options.workers.resource_claim).boxed()
        }
        "device-taint-eviction-controller" => {
            devicetainteviction::run(voice(name), options.workers.device_taint_eviction).boxed()
        }
        "persistentvolume-attach-detach-controller" => {
            volume::attach::run(voice("attachdetach-controller"), options.detaches_late_volumes).boxed()
        }
        "persistentvolume-expander-controller" => volume::expand::run(voice("volume_expand")).boxed(),
        "persistentvolumeclaim-protection-controller" => volume::protection::run_claims(voice(name)).boxed(),
        "persistentvolume-protection-controller" => volume::protection::run_volumes(voice(name)).boxed(),
        "volumeattributesclass-protection-controller" => volume::classes::run(voice(name)).boxed(),
        "ephemeral-volume-controller" => {
            volume::ephemeral::run(voice("ephemeral_volume"), options.workers.ephemeral_volume).boxed()
        }
        _ => return None,
    })
}

fn speaking_as(component: &str, ctx: &Context) -> Context {
    Context { recorder: ctx.recorder.with_source(Source::new(component)), ..ctx.clone() }
}

#[cfg(test)]
mod tests {
    use component::clock::Clock;
    use component::random::Random;
    use component::testing::FakeApi;

    use super::*;

    /// Of upstream's v1.36, whatever controllers are on.
    const QUEUES: [&str; 50] = [
        "ClusterRoleAggregator",
        "bootstrap_signer_queue",
        "certificate",
        "cidrallocator_node",
        "claims",
        "cronjob",
        "daemonset",
        "daemonset-node-updates",
        "deployment",
        "disruption",
        "disruption_recheck",
        "endpoint",
        "endpoint_slice",
        "endpoint_slice_mirroring",
        "ephemeral_volume",
        "garbage_collector_attempt_to_delete",
        "garbage_collector_attempt_to_orphan",
        "garbage_collector_graph_changes",
        "horizontalpodautoscaler",
        "ipaddresses",
        "job",
        "job_orphan_pod",
        "namespace",
        "node_lifecycle_controller",
        "node_lifecycle_controller_pods",
        "noexec_taint_node",
        "noexec_taint_pod",
        "orphaned_pods_nodes",
        "pvcprotection",
        "pvcs",
        "pvprotection",
        "replicaset",
        "replicationmanager",
        "resource_claim",
        "resource_quota_controller_resource_changes",
        "resourcequota_primary",
        "resourcequota_priority",
        "root_ca_cert_publisher",
        "service",
        "serviceaccount",
        "serviceaccount_tokens_service",
        "stale_pod_disruption",
        "statefulset",
        "csrcleaner",
        "token_cleaner",
        "ttl_jobs_to_delete",
        "ttlcontroller",
        "vacprotection",
        "volume_expand",
        "volumes",
    ];
    /// Where upstream has no queue.
    const OWN_QUEUES: [&str; 2] = ["device-taint-eviction-controller", "legacy_service_account_token_cleaner"];

    #[tokio::test]
    async fn queues_have_upstreams_names() {
        let (fake, source) = (FakeApi::new(), Source::new("test"));
        let ctx = Context::with(fake.client(), source, Clock::system(), Random::seeded(1), Shutdown::new());
        let options = Arc::new(Options::from_flags(&crate::flags().parse(Vec::<String>::new()).unwrap()).unwrap());
        let started = CONTROLLERS.iter().filter_map(|(name, _)| start(name, &ctx, &options));
        // The queues are made before anything is waited for.
        let started: Vec<_> = started.map(|mut controller| (&mut controller).now_or_never()).collect();
        assert!(started.len() > 30, "{}", started.len());
        ctx.shutdown.trigger();
        let text = String::from_utf8(component::metrics::text()).unwrap();
        let names =
            text.lines().filter_map(|line| line.strip_prefix("workqueue_adds_total{name=\"")?.split('"').next());
        let names: Vec<&str> = names.collect();
        let known = QUEUES.iter().chain(&OWN_QUEUES);
        let known: Vec<&str> = known.copied().collect();
        let strange: Vec<_> = names.iter().filter(|name| !known.contains(*name)).collect();
        assert!(strange.is_empty(), "not upstream's: {strange:?}");
        for name in ["certificate", "vacprotection", "pvcs", "claims", "replicationmanager", "noexec_taint_pod"] {
            assert!(names.contains(&name), "{name} is missing among {names:?}");
        }
    }
}
