//! The fields of the configuration. Names, defaults and meaning are upstream's (`kubelet/config/v1beta1/types.go`).

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::core::v1::Taint;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{GoDuration, configz, refused};

/// `authentication`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Authentication {
    pub x509: X509,
    pub webhook: WebhookAuthentication,
    pub anonymous: Anonymous,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct X509 {
    #[serde(rename = "clientCAFile")]
    pub client_ca_file: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WebhookAuthentication {
    pub enabled: Option<bool>,
    #[serde(rename = "cacheTTL")]
    pub cache_ttl: GoDuration,
}

impl Default for WebhookAuthentication {
    fn default() -> Self {
        Self { enabled: None, cache_ttl: GoDuration::seconds(120) }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Anonymous {
    pub enabled: Option<bool>,
}

/// `authorization`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Authorization {
    pub mode: Option<String>,
    pub webhook: WebhookAuthorization,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WebhookAuthorization {
    #[serde(rename = "cacheAuthorizedTTL")]
    pub cache_authorized_ttl: GoDuration,
    #[serde(rename = "cacheUnauthorizedTTL")]
    pub cache_unauthorized_ttl: GoDuration,
}

impl Default for WebhookAuthorization {
    fn default() -> Self {
        Self { cache_authorized_ttl: GoDuration::seconds(300), cache_unauthorized_ttl: GoDuration::seconds(30) }
    }
}

/// One of `shutdownGracePeriodByPodPriority`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PeriodByPriority {
    pub priority: i32,
    pub shutdown_grace_period_seconds: i64,
}

/// `crashLoopBackOff`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CrashLoopBackOff {
    pub max_container_restart_period: Option<GoDuration>,
}

/// Three tables in one struct: fields with an effect and their defaults; those that are only checked; and the names of
/// the others without an effect.
macro_rules! configuration {
    (
        with effect { $( $(#[$meta:meta])* $field:ident : $type:ty = $default:expr ; )* }
        only checked { $( $checked_name:literal $checked:ident : $checked_type:ty = $checked_default:expr ; )* }
        without effect { $( $name:literal $other:ident ; )* }
    ) => {
        /// See the module; the file's fields by their names in snake case.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct KubeletConfiguration {
            $( $(#[$meta])* pub $field: $type, )*
            $( #[serde(rename = $checked_name)] pub $checked: $checked_type, )*
            $( #[serde(rename = $name, skip_serializing_if = "Option::is_none")] pub(crate) $other: Option<Value>, )*
        }

        impl Default for KubeletConfiguration {
            fn default() -> Self {
                Self { $( $field: $default, )* $( $checked: $checked_default, )* $( $other: None, )* }
            }
        }

        impl KubeletConfiguration {
            /// The fields that were set though they have no effect; what is empty, zero or the default sets nothing.
            pub fn without_effect(&self) -> Vec<&'static str> {
                let mut names = Vec::new();
                $( if ![<$checked_type>::default(), $checked_default].contains(&self.$checked) { names.push($checked_name); } )*
                let sets = |name: &str, value: &Value| !refused::is_off(value, &["0s"]) && !configz::is_default(name, value);
                $( if self.$other.as_ref().is_some_and(|value| sets($name, value)) { names.push($name); } )*
                names
            }

            /// Sets a field without an effect, for a flag that asks for the same.
            pub(crate) fn set_other(&mut self, name: &str, value: Value) {
                match name {
                    $( $name => self.$other = Some(value), )*
                    _ => {}
                }
            }

            /// The value of a field without an effect, for what must be refused.
            pub(super) fn other(&self, name: &str) -> Option<&Value> {
                match name {
                    $( $name => self.$other.as_ref(), )*
                    _ => None,
                }
            }
        }
    };
}

configuration! {
    with effect {
    enable_server: bool = true;
    static_pod_path: String = String::new();
    #[serde(rename = "podCIDR")]
    pod_cidr: String = String::new();
    pod_logs_dir: String = "/var/log/pods".into();
    address: String = "0.0.0.0".into();
    port: u16 = 10250;
    read_only_port: u16 = 0;
    tls_cert_file: String = String::new();
    tls_private_key_file: String = String::new();
    tls_min_version: String = String::new();
    tls_cipher_suites: Vec<String> = Vec::new();
    tls_curve_preferences: Vec<u16> = Vec::new();
    rotate_certificates: bool = false;
    #[serde(rename = "serverTLSBootstrap")]
    server_tls_bootstrap: bool = false;
    authentication: Authentication = Authentication::default();
    authorization: Authorization = Authorization::default();
    enable_debugging_handlers: bool = true;
    enable_system_log_handler: bool = true;
    enable_system_log_query: bool = false;
    healthz_port: u16 = 10248;
    healthz_bind_address: String = "127.0.0.1".into();
    cluster_domain: String = String::new();
    #[serde(rename = "clusterDNS")]
    cluster_dns: Vec<String> = Vec::new();
    /// Of both frequencies zero is the default, which is the first's for the second where only the first is given.
    node_status_update_frequency: GoDuration = GoDuration::seconds(0);
    node_status_report_frequency: GoDuration = GoDuration::seconds(0);
    node_lease_duration_seconds: i32 = 40;
    cgroup_root: String = String::new();
    #[serde(rename = "cgroupsPerQOS")]
    cgroups_per_qos: bool = true;
    cgroup_driver: String = "cgroupfs".into();
    runtime_request_timeout: GoDuration = GoDuration::seconds(120);
    max_pods: i64 = 110;
    pods_per_core: i64 = 0;
    pod_pids_limit: i64 = -1;
    resolv_conf: Option<String> = None;
    #[serde(rename = "cpuCFSQuota")]
    cpu_cfs_quota: bool = true;
    #[serde(rename = "cpuCFSQuotaPeriod")]
    cpu_cfs_quota_period: GoDuration = GoDuration(Duration::from_millis(100));
    node_status_max_images: i64 = 50;
    #[serde(rename = "kubeAPIQPS")]
    kube_api_qps: Option<f64> = None;
    #[serde(rename = "kubeAPIBurst")]
    kube_api_burst: Option<u32> = None;
    /// None is no limit, unlike upstream's, which is 5.
    #[serde(rename = "registryPullQPS")]
    registry_pull_qps: Option<i64> = None;
    registry_burst: i64 = 10;
    /// None is no limit, unlike upstream's, which is 50.
    #[serde(rename = "eventRecordQPS")]
    event_record_qps: Option<i64> = None;
    event_burst: i64 = 100;
    serialize_image_pulls: bool = false;
    image_pull_credentials_verification_policy: String = String::new();
    preloaded_images_verification_allowlist: Vec<String> = Vec::new();
    max_parallel_image_pulls: Option<usize> = None;
    eviction_hard: BTreeMap<String, String> = BTreeMap::new();
    eviction_soft: BTreeMap<String, String> = BTreeMap::new();
    eviction_soft_grace_period: BTreeMap<String, String> = BTreeMap::new();
    eviction_minimum_reclaim: BTreeMap<String, String> = BTreeMap::new();
    eviction_pressure_transition_period: GoDuration = GoDuration::seconds(300);
    eviction_max_pod_grace_period: i64 = 0;
    merge_default_eviction_settings: bool = false;
    local_storage_capacity_isolation: bool = true;
    #[serde(rename = "imageMinimumGCAge")]
    image_minimum_gc_age: GoDuration = GoDuration::seconds(120);
    #[serde(rename = "imageMaximumGCAge")]
    image_maximum_gc_age: GoDuration = GoDuration::seconds(0);
    #[serde(rename = "imageGCHighThresholdPercent")]
    image_gc_high_threshold_percent: i64 = 85;
    #[serde(rename = "imageGCLowThresholdPercent")]
    image_gc_low_threshold_percent: i64 = 80;
    container_log_max_size: String = "10Mi".into();
    container_log_max_files: usize = 5;
    container_log_monitor_interval: GoDuration = GoDuration::seconds(10);
    shutdown_grace_period: GoDuration = GoDuration::seconds(0);
    shutdown_grace_period_critical_pods: GoDuration = GoDuration::seconds(0);
    shutdown_grace_period_by_pod_priority: Vec<PeriodByPriority> = Vec::new();
    crash_loop_back_off: CrashLoopBackOff = CrashLoopBackOff::default();
    fail_swap_on: bool = true;
    system_reserved: BTreeMap<String, String> = BTreeMap::new();
    kube_reserved: BTreeMap<String, String> = BTreeMap::new();
    enforce_node_allocatable: Vec<String> = vec!["pods".into()];
    system_reserved_cgroup: String = String::new();
    kube_reserved_cgroup: String = String::new();
    /// None leaves both as the process has them, for other parts may share it.
    oom_score_adj: Option<i64> = None;
    max_open_files: Option<i64> = None;
    protect_kernel_defaults: bool = false;
    feature_gates: BTreeMap<String, bool> = BTreeMap::new();
    #[serde(rename = "providerID")]
    provider_id: String = String::new();
    /// One process that runs out of memory dies alone; on cgroup v2 else its whole container does.
    #[serde(rename = "singleProcessOOMKill")]
    single_process_oom_kill: Option<bool> = None;
    seccomp_default: bool = false;
    allowed_unsafe_sysctls: Vec<String> = Vec::new();
    register_with_taints: Vec<Taint> = Vec::new();
    register_node: bool = true;
    container_runtime_endpoint: String = "unix:///run/containerd/containerd.sock".into();
    image_service_endpoint: String = String::new();
    #[serde(rename = "failCgroupV1")]
    fail_cgroup_v1: bool = false;
    }
    only checked {
    "containerLogMaxWorkers" container_log_max_workers: Option<u32> = Some(1);
    "hairpinMode" hairpin_mode: String = "promiscuous-bridge".into();
    "configMapAndSecretChangeDetectionStrategy" config_map_and_secret_change_detection_strategy: String = "Watch".into();
    }
    without effect {
    "syncFrequency" sync_frequency;
    "fileCheckFrequency" file_check_frequency;
    "httpCheckFrequency" http_check_frequency;
    "staticPodURL" static_pod_url;
    "staticPodURLHeader" static_pod_url_header;
    "enableContentionProfiling" enable_contention_profiling;
    "streamingConnectionIdleTimeout" streaming_connection_idle_timeout;
    "volumeStatsAggPeriod" volume_stats_agg_period;
    "kubeletCgroups" kubelet_cgroups;
    "systemCgroups" system_cgroups;
    "cpuManagerPolicy" cpu_manager_policy;
    "cpuManagerPolicyOptions" cpu_manager_policy_options;
    "cpuManagerReconcilePeriod" cpu_manager_reconcile_period;
    "memoryManagerPolicy" memory_manager_policy;
    "topologyManagerPolicy" topology_manager_policy;
    "topologyManagerScope" topology_manager_scope;
    "topologyManagerPolicyOptions" topology_manager_policy_options;
    "qosReserved" qos_reserved;
    "runOnce" run_once;
    "contentType" content_type;
    "enableControllerAttachDetach" enable_controller_attach_detach;
    "makeIPTablesUtilChains" make_iptables_util_chains;
    "iptablesMasqueradeBit" iptables_masquerade_bit;
    "iptablesDropBit" iptables_drop_bit;
    "memorySwap" memory_swap;
    "reservedSystemCPUs" reserved_system_cpus;
    "showHiddenMetricsForVersion" show_hidden_metrics_for_version;
    "volumePluginDir" volume_plugin_dir;
    "kernelMemcgNotification" kernel_memcg_notification;
    "logging" logging;
    "reservedMemory" reserved_memory;
    "enableProfilingHandler" enable_profiling_handler;
    "enableDebugFlagsHandler" enable_debug_flags_handler;
    "memoryThrottlingFactor" memory_throttling_factor;
    "memoryReservationPolicy" memory_reservation_policy;
    "tracing" tracing;
    "userNamespaces" user_namespaces;
    }
}
