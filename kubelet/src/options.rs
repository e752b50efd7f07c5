//! What the command line and the configuration file come to.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use component::{client::ClientConfig, flags::Values};
use k8s_openapi::api::core::v1::Taint;
use serde_json::Value;

use crate::{
    Error,
    config::{self, KubeletConfiguration},
};

/// The kubelet's settings. A flag that was given wins over the file.
#[derive(Debug, Clone)]
pub struct Options {
    pub configuration: KubeletConfiguration,
    pub client: ClientConfig,
    /// The configuration of credential providers, and the folder of their programs.
    pub credential_providers: Option<PathBuf>,
    pub credential_provider_programs: PathBuf,
    /// May ask for the first client certificate.
    pub bootstrap_kubeconfig: Option<PathBuf>,
    pub hostname_override: Option<String>,
    pub node_ips: Vec<String>,
    pub node_labels: BTreeMap<String, String>,
    pub cloud_provider: String,
    pub root_dir: PathBuf,
    pub cert_dir: PathBuf,
    pub runtime_cgroup: Option<String>,
    /// What the command line said, as `/flagz` shows it.
    pub flags: BTreeMap<&'static str, String>,
}

type Read = fn(&Values, &str) -> Value;

/// Flags for what is not built, with the fields by which it is refused and the form of their values.
const NOT_BUILT: [(&str, &str, Read); 17] = [
    ("cpu-manager-policy", "cpuManagerPolicy", as_text),
    ("cpu-manager-policy-options", "cpuManagerPolicyOptions", as_pairs),
    ("reserved-cpus", "reservedSystemCPUs", as_text),
    ("reserved-memory", "reservedMemory", as_list),
    ("memory-manager-policy", "memoryManagerPolicy", as_text),
    ("topology-manager-policy", "topologyManagerPolicy", as_text),
    ("topology-manager-policy-options", "topologyManagerPolicyOptions", as_pairs),
    ("topology-manager-scope", "topologyManagerScope", as_text),
    ("qos-reserved", "qosReserved", as_pairs),
    ("kubelet-cgroups", "kubeletCgroups", as_text),
    ("system-cgroups", "systemCgroups", as_text),
    ("manifest-url", "staticPodURL", as_text),
    ("volume-plugin-dir", "volumePluginDir", as_text),
    ("runonce", "runOnce", as_truth),
    ("enable-controller-attach-detach", "enableControllerAttachDetach", as_truth),
    ("kernel-memcg-notification", "kernelMemcgNotification", as_truth),
    ("contention-profiling", "enableContentionProfiling", as_truth),
];

fn as_text(values: &Values, name: &str) -> Value {
    values.str(name).into()
}

fn as_list(values: &Values, name: &str) -> Value {
    values.strings(name).into()
}

fn as_pairs(values: &Values, name: &str) -> Value {
    serde_json::json!(values.map(name))
}

fn as_truth(values: &Values, name: &str) -> Value {
    values.bool(name).into()
}

impl Options {
    /// Reads the configuration file and its drop-ins, if the flags name them, and puts the given flags over them.
    ///
    /// # Errors
    /// Files that cannot be read, and every setting that is wrong.
    pub fn from_flags(values: &Values) -> Result<Self, Error> {
        let node_labels = values.map("node-labels");
        if let Some(problem) = crate::node_labels::problem(&node_labels) {
            return Err(Error::Options(format!("failed to validate kubelet flags: {problem}")));
        }
        let mut configuration = match values.opt_str("config") {
            Some(path) => config::load(Path::new(path))?,
            None => KubeletConfiguration::default(),
        };
        if let Some(folder) = values.opt_str("config-dir") {
            configuration = config::drop_ins(configuration, Path::new(folder)).map_err(Error::Options)?;
        }
        configuration.complete();
        apply(values, &mut configuration)?;
        for name in configuration.without_effect() {
            tracing::warn!(field = name, "a field of the configuration file has no effect in this kubelet");
        }
        let problems = config::validate(&configuration);
        if !problems.is_empty() {
            return Err(Error::Options(problems.join("; ")));
        }
        let mut client = ClientConfig::from_flags("kubelet", values);
        client.qps = configuration.kube_api_qps.filter(|qps| *qps > 0.0);
        client.burst = configuration.kube_api_burst.filter(|burst| *burst > 0);
        Ok(Self {
            client,
            credential_providers: values.opt_str("image-credential-provider-config").map(PathBuf::from),
            credential_provider_programs: values.str("image-credential-provider-bin-dir").into(),
            bootstrap_kubeconfig: values.opt_str("bootstrap-kubeconfig").map(PathBuf::from),
            hostname_override: values.opt_str("hostname-override").map(str::to_owned),
            node_ips: values.strings("node-ip"),
            node_labels,
            cloud_provider: values.str("cloud-provider").to_owned(),
            root_dir: values.str("root-dir").into(),
            cert_dir: values.str("cert-dir").into(),
            runtime_cgroup: values.opt_str("runtime-cgroups").filter(|name| !name.is_empty()).map(str::to_owned),
            flags: values.all(),
            configuration,
        })
    }
}

/// Puts the flags that were given over the configuration.
fn apply(values: &Values, c: &mut KubeletConfiguration) -> Result<(), Error> {
    let text = |name: &str, field: &mut String| {
        if values.is_given(name) {
            *field = values.str(name).to_owned();
        }
    };
    let truth = |name: &str, field: &mut bool| {
        if values.is_given(name) {
            *field = values.bool(name);
        }
    };
    let number = |name: &str, field: &mut i64| {
        if values.is_given(name) {
            *field = values.int(name);
        }
    };
    text("pod-manifest-path", &mut c.static_pod_path);
    text("address", &mut c.address);
    text("pod-cidr", &mut c.pod_cidr);
    text("tls-cert-file", &mut c.tls_cert_file);
    text("tls-private-key-file", &mut c.tls_private_key_file);
    text("tls-min-version", &mut c.tls_min_version);
    text("healthz-bind-address", &mut c.healthz_bind_address);
    text("cluster-domain", &mut c.cluster_domain);
    text("cgroup-root", &mut c.cgroup_root);
    text("cgroup-driver", &mut c.cgroup_driver);
    text("provider-id", &mut c.provider_id);
    text("container-runtime-endpoint", &mut c.container_runtime_endpoint);
    text("image-service-endpoint", &mut c.image_service_endpoint);
    text("system-reserved-cgroup", &mut c.system_reserved_cgroup);
    text("kube-reserved-cgroup", &mut c.kube_reserved_cgroup);
    text("container-log-max-size", &mut c.container_log_max_size);
    truth("enable-server", &mut c.enable_server);
    truth("enable-debugging-handlers", &mut c.enable_debugging_handlers);
    truth("cgroups-per-qos", &mut c.cgroups_per_qos);
    truth("cpu-cfs-quota", &mut c.cpu_cfs_quota);
    truth("serialize-image-pulls", &mut c.serialize_image_pulls);
    truth("fail-swap-on", &mut c.fail_swap_on);
    truth("fail-cgroupv1", &mut c.fail_cgroup_v1);
    truth("seccomp-default", &mut c.seccomp_default);
    truth("register-node", &mut c.register_node);
    truth("protect-kernel-defaults", &mut c.protect_kernel_defaults);
    truth("rotate-certificates", &mut c.rotate_certificates);
    truth("rotate-server-certificates", &mut c.server_tls_bootstrap);
    truth("local-storage-capacity-isolation", &mut c.local_storage_capacity_isolation);
    number("max-pods", &mut c.max_pods);
    number("pods-per-core", &mut c.pods_per_core);
    number("pod-max-pids", &mut c.pod_pids_limit);
    number("node-status-max-images", &mut c.node_status_max_images);
    for (flag, field, read) in NOT_BUILT {
        let given = read(values, flag);
        if values.is_given(flag) {
            c.set_other(field, given);
        }
    }
    apply_numbers(values, c)?;
    apply_lists(values, c)?;
    apply_authentication(values, c);
    Ok(())
}

fn apply_numbers(values: &Values, c: &mut KubeletConfiguration) -> Result<(), Error> {
    for (name, field) in [("registry-burst", &mut c.registry_burst), ("event-burst", &mut c.event_burst)] {
        if values.is_given(name) {
            *field = values.int(name);
        }
    }
    for (name, field) in [
        ("registry-qps", &mut c.registry_pull_qps),
        ("event-qps", &mut c.event_record_qps),
        ("oom-score-adj", &mut c.oom_score_adj),
        ("max-open-files", &mut c.max_open_files),
    ] {
        if values.is_given(name) {
            *field = Some(values.int(name));
        }
    }
    for (name, field) in
        [("port", &mut c.port), ("read-only-port", &mut c.read_only_port), ("healthz-port", &mut c.healthz_port)]
    {
        if values.is_given(name) {
            let given = values.int(name);
            *field = u16::try_from(given).map_err(|_| Error::Options(format!("invalid --{name} {given}")))?;
        }
    }
    if values.is_given("container-log-max-files") {
        c.container_log_max_files = usize::try_from(values.int("container-log-max-files")).unwrap_or(0);
    }
    if values.is_given("kube-api-qps") {
        c.kube_api_qps = Some(values.float("kube-api-qps"));
    }
    if values.is_given("kube-api-burst") {
        c.kube_api_burst = u32::try_from(values.int("kube-api-burst")).ok();
    }
    if values.is_given("runtime-request-timeout") {
        c.runtime_request_timeout.0 = values.duration("runtime-request-timeout");
    }
    if values.is_given("node-status-update-frequency") {
        c.node_status_update_frequency.0 = values.duration("node-status-update-frequency");
    }
    if values.is_given("cpu-cfs-quota-period") {
        c.cpu_cfs_quota_period.0 = values.duration("cpu-cfs-quota-period");
    }
    Ok(())
}

fn apply_lists(values: &Values, c: &mut KubeletConfiguration) -> Result<(), Error> {
    if values.is_given("cluster-dns") {
        c.cluster_dns = values.strings("cluster-dns");
    }
    if values.is_given("resolv-conf") {
        c.resolv_conf = Some(values.str("resolv-conf").to_owned());
    }
    if values.is_given("kube-reserved") {
        c.kube_reserved = values.map("kube-reserved");
    }
    if values.is_given("system-reserved") {
        c.system_reserved = values.map("system-reserved");
    }
    if values.is_given("allowed-unsafe-sysctls") {
        c.allowed_unsafe_sysctls = values.strings("allowed-unsafe-sysctls");
    }
    if values.is_given("enforce-node-allocatable") {
        c.enforce_node_allocatable = values.strings("enforce-node-allocatable");
    }
    if values.is_given("tls-cipher-suites") {
        c.tls_cipher_suites = values.strings("tls-cipher-suites");
    }
    c.feature_gates.extend(component::gates::parse(&values.map("feature-gates")).map_err(Error::Options)?);
    apply_eviction(values, c)?;
    if values.is_given("register-with-taints") {
        c.register_with_taints =
            values.strings("register-with-taints").iter().map(|text| taint(text)).collect::<Result<_, _>>()?;
    }
    Ok(())
}

/// Thresholds are written `signal<value`, graces and minima `signal=value`.
fn apply_eviction(values: &Values, c: &mut KubeletConfiguration) -> Result<(), Error> {
    for (name, field) in [("eviction-hard", &mut c.eviction_hard), ("eviction-soft", &mut c.eviction_soft)] {
        if values.is_given(name) {
            *field = pairs(&values.strings(name), '<')?;
        }
    }
    for (name, field) in [
        ("eviction-soft-grace-period", &mut c.eviction_soft_grace_period),
        ("eviction-minimum-reclaim", &mut c.eviction_minimum_reclaim),
    ] {
        if values.is_given(name) {
            *field = pairs(&values.strings(name), '=')?;
        }
    }
    for (name, field) in [
        ("eviction-pressure-transition-period", &mut c.eviction_pressure_transition_period),
        ("minimum-image-ttl-duration", &mut c.image_minimum_gc_age),
    ] {
        if values.is_given(name) {
            field.0 = values.duration(name);
        }
    }
    for (name, field) in [
        ("eviction-max-pod-grace-period", &mut c.eviction_max_pod_grace_period),
        ("image-gc-high-threshold", &mut c.image_gc_high_threshold_percent),
        ("image-gc-low-threshold", &mut c.image_gc_low_threshold_percent),
    ] {
        if values.is_given(name) {
            *field = values.int(name);
        }
    }
    Ok(())
}

fn apply_authentication(values: &Values, c: &mut KubeletConfiguration) {
    let authentication = &mut c.authentication;
    if values.is_given("anonymous-auth") {
        authentication.anonymous.enabled = Some(values.bool("anonymous-auth"));
    }
    if values.is_given("authentication-token-webhook") {
        authentication.webhook.enabled = Some(values.bool("authentication-token-webhook"));
    }
    if values.is_given("authentication-token-webhook-cache-ttl") {
        authentication.webhook.cache_ttl.0 = values.duration("authentication-token-webhook-cache-ttl");
    }
    if values.is_given("client-ca-file") {
        authentication.x509.client_ca_file = values.opt_str("client-ca-file").map(str::to_owned);
    }
    let authorization = &mut c.authorization;
    if values.is_given("authorization-mode") {
        authorization.mode = Some(values.str("authorization-mode").to_owned());
    }
    if values.is_given("authorization-webhook-cache-authorized-ttl") {
        authorization.webhook.cache_authorized_ttl.0 = values.duration("authorization-webhook-cache-authorized-ttl");
    }
    if values.is_given("authorization-webhook-cache-unauthorized-ttl") {
        authorization.webhook.cache_unauthorized_ttl.0 =
            values.duration("authorization-webhook-cache-unauthorized-ttl");
    }
    // The file's defaults are the closed ones, the bare flags' the open ones, as upstream has it.
    let from_file = values.opt_str("config").is_some();
    authentication.anonymous.enabled.get_or_insert(!from_file);
    authentication.webhook.enabled.get_or_insert(from_file);
    let mode = authorization.mode.take().filter(|mode| !mode.is_empty());
    authorization.mode = Some(mode.unwrap_or_else(|| if from_file { "Webhook" } else { "AlwaysAllow" }.into()));
}

/// `key=value:effect`, `key:effect` or `key=:effect`.
fn taint(text: &str) -> Result<Taint, Error> {
    let invalid = || Error::Options(format!("invalid taint spec: {text}"));
    let (pair, effect) = text.rsplit_once(':').ok_or_else(invalid)?;
    if !matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
        return Err(Error::Options(format!("invalid taint effect: {effect}, unsupported taint effect")));
    }
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    if key.is_empty() {
        return Err(invalid());
    }
    Ok(Taint {
        key: key.to_owned(),
        value: Some(value.to_owned()).filter(|value| !value.is_empty()),
        effect: effect.to_owned(),
        time_added: None,
    })
}

/// Signals with their values, parted by `operator`.
fn pairs(list: &[String], operator: char) -> Result<BTreeMap<String, String>, Error> {
    let pair = |text: &String| {
        let (signal, value) = text.split_once(operator).ok_or_else(|| {
            Error::Options(format!("invalid eviction threshold syntax {text}, expected <signal>{operator}<value>"))
        })?;
        Ok((signal.to_owned(), value.to_owned()))
    };
    list.iter().map(pair).collect()
}
