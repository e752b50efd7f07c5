//! What the flags say, read once and checked.

use std::path::PathBuf;
use std::time::Duration;

use component::client::ClientConfig;
use component::flags::Values;

use crate::names::Selection;
use crate::{
    Error, certificates, endpointslicemirroring, nodeipam, nodelifecycle, podautoscaler, resourcequota,
    serviceaccounttoken, servicelb, volume,
};

/// The settings of the controller manager.
#[derive(Clone, Debug)]
pub struct Options {
    /// What was asked for and does nothing, each in a sentence.
    pub(crate) idle: Vec<String>,
    pub(crate) values: Values,
    pub(crate) client: ClientConfig,
    pub(crate) controllers: Selection,
    pub(crate) workers: Workers,
    pub(crate) max_endpoints_per_slice: usize,
    pub(crate) mirroring: endpointslicemirroring::Settings,
    pub(crate) endpoints_batch_period: Duration,
    pub(crate) slices_batch_period: Duration,
    pub(crate) root_ca_file: Option<PathBuf>,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) collect_garbage: bool,
    pub(crate) nodes: nodelifecycle::Settings,
    pub(crate) signing: Option<certificates::sign::Settings>,
    pub(crate) node_cidrs: Option<nodeipam::Settings>,
    pub(crate) terminated_pods: usize,
    pub(crate) quotas: resourcequota::Settings,
    pub(crate) autoscaling: podautoscaler::Settings,
    pub(crate) volumes: volume::binder::Settings,
    /// Whether a node that is not ready loses mounted volumes after some time.
    pub(crate) detaches_late_volumes: bool,
    pub(crate) legacy_token_period: Duration,
    pub(crate) token_secrets: Option<serviceaccounttoken::Settings>,
    pub(crate) load_balancer_pool: servicelb::Pool,
}

/// How many objects each controller works on at the same time.
#[derive(Clone, Debug)]
pub(crate) struct Workers {
    pub(crate) deployment: usize,
    pub(crate) replica_set: usize,
    pub(crate) daemon_set: usize,
    pub(crate) stateful_set: usize,
    pub(crate) replication: usize,
    pub(crate) job: usize,
    pub(crate) cron_job: usize,
    pub(crate) ttl_after_finished: usize,
    pub(crate) endpoints: usize,
    pub(crate) slices: usize,
    pub(crate) namespace: usize,
    pub(crate) garbage_collector: usize,
    pub(crate) ephemeral_volume: usize,
    pub(crate) resource_claim: usize,
    pub(crate) device_taint_eviction: usize,
}

impl Options {
    /// From the flags of [`crate::flags`].
    pub fn from_flags(values: &Values) -> Result<Self, Error> {
        let controllers = Selection::parse(&values.strings("controllers")).map_err(Error::Options)?;
        let workers = |name: &str| match usize::try_from(values.int(name)) {
            Ok(count @ 1..) => Ok(count),
            _ => Err(Error::Options(format!("{name} must be greater than 0"))),
        };
        let max_endpoints_per_slice = match values.int("max-endpoints-per-slice") {
            count @ 1..=1000 => count as usize,
            _ => return Err(Error::Options("max-endpoints-per-slice must be between 1 and 1000".into())),
        };
        let idle = component::gates::check(&values.map("feature-gates")).map_err(Error::Options)?;
        Ok(Options {
            idle,
            client: ClientConfig::from_flags("kube-controller-manager", values),
            controllers,
            workers: Workers {
                deployment: workers("concurrent-deployment-syncs")?,
                replica_set: workers("concurrent-replicaset-syncs")?,
                daemon_set: workers("concurrent-daemonset-syncs")?,
                stateful_set: workers("concurrent-statefulset-syncs")?,
                replication: workers("concurrent-rc-syncs")?,
                job: workers("concurrent-job-syncs")?,
                cron_job: workers("concurrent-cron-job-syncs")?,
                ttl_after_finished: workers("concurrent-ttl-after-finished-syncs")?,
                endpoints: workers("concurrent-endpoint-syncs")?,
                slices: workers("concurrent-service-endpoint-syncs")?,
                namespace: workers("concurrent-namespace-syncs")?,
                garbage_collector: workers("concurrent-gc-syncs")?,
                ephemeral_volume: workers("concurrent-ephemeralvolume-syncs")?,
                resource_claim: workers("concurrent-resourceclaim-syncs")?,
                device_taint_eviction: workers("concurrent-device-taint-eviction-syncs")?,
            },
            max_endpoints_per_slice,
            mirroring: endpointslicemirroring::Settings {
                workers: workers("mirroring-concurrent-service-endpoint-syncs")?,
                max_per_subset: workers("mirroring-max-endpoints-per-subset")?,
                batch_period: values.duration("mirroring-endpointslice-updates-batch-period"),
            },
            endpoints_batch_period: values.duration("endpoint-updates-batch-period"),
            slices_batch_period: values.duration("endpointslice-updates-batch-period"),
            root_ca_file: values.opt_str("root-ca-file").map(PathBuf::from),
            shutdown_timeout: values.duration("controller-shutdown-timeout"),
            nodes: nodes(values),
            signing: certificates::sign::Settings::from_flags(values).map_err(Error::Options)?,
            node_cidrs: nodeipam::Settings::from_flags(values).map_err(Error::Options)?,
            terminated_pods: usize::try_from(values.int("terminated-pod-gc-threshold")).unwrap_or(0),
            volumes: volumes(values),
            detaches_late_volumes: !values.bool("disable-force-detach-on-timeout"),
            autoscaling: podautoscaler::Settings {
                workers: workers("concurrent-horizontal-pod-autoscaler-syncs")?,
                sync_period: values.duration("horizontal-pod-autoscaler-sync-period"),
                downscale_stabilization: values.duration("horizontal-pod-autoscaler-downscale-stabilization"),
                tolerance: values.float("horizontal-pod-autoscaler-tolerance"),
                cpu_initialization_period: values.duration("horizontal-pod-autoscaler-cpu-initialization-period"),
                initial_readiness_delay: values.duration("horizontal-pod-autoscaler-initial-readiness-delay"),
            },
            quotas: resourcequota::Settings {
                workers: workers("concurrent-resource-quota-syncs")?,
                resync_period: values.duration("resource-quota-sync-period"),
            },
            token_secrets: token_secrets(values, workers("concurrent-serviceaccount-token-syncs")?),
            legacy_token_period: values.duration("legacy-service-account-token-clean-up-period"),
            load_balancer_pool: load_balancer_pool(values)?,
            collect_garbage: values.bool("enable-garbage-collector"),
            values: values.clone(),
        })
    }
}

/// `None` without a key to sign tokens with.
fn token_secrets(values: &Values, workers: usize) -> Option<serviceaccounttoken::Settings> {
    Some(serviceaccounttoken::Settings {
        private_key_file: values.opt_str("service-account-private-key-file")?.into(),
        root_ca_file: values.opt_str("root-ca-file").map(PathBuf::from),
        workers,
    })
}

fn load_balancer_pool(values: &Values) -> Result<servicelb::Pool, Error> {
    let pool = servicelb::Pool::parse(&values.strings("load-balancer-pool"));
    pool.map_err(|why| Error::Options(format!("load-balancer-pool: {why}")))
}

fn nodes(values: &Values) -> nodelifecycle::Settings {
    nodelifecycle::Settings {
        monitor_grace: values.duration("node-monitor-grace-period"),
        startup_grace: values.duration("node-startup-grace-period"),
        rates: nodelifecycle::Rates {
            eviction: values.float("node-eviction-rate"),
            secondary: values.float("secondary-node-eviction-rate"),
            large_cluster: usize::try_from(values.int("large-cluster-size-threshold")).unwrap_or(0),
            unhealthy_zone: values.float("unhealthy-zone-threshold"),
        },
    }
}

/// Where upstream makes host path volumes too.
const HOST_PATH_ROOT: &str = "/tmp/hostpath_pv";

fn volumes(values: &Values) -> volume::binder::Settings {
    let timeout = |minimum: &str, increment: &str| volume::binder::Timeout {
        minimum_seconds: values.int(minimum),
        increment_seconds: values.int(increment),
    };
    volume::binder::Settings {
        dynamic: values.bool("enable-dynamic-provisioning"),
        host_path_root: values.bool("enable-hostpath-provisioner").then(|| HOST_PATH_ROOT.into()),
        recycle_host_path: timeout("pv-recycler-minimum-timeout-hostpath", "pv-recycler-timeout-increment-hostpath"),
        recycle_nfs: timeout("pv-recycler-minimum-timeout-nfs", "pv-recycler-increment-timeout-nfs"),
    }
}
