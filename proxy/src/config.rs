//! KubeProxyConfiguration (`kubeproxy.config.k8s.io/v1alpha1`), as `--config` names it.
//!
//! A field that is left out, or has its type's zero value, means the default, as upstream's defaulting has it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The file's shape. Every field of upstream's is known; those without effect say so by [`File::warnings`].
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct File {
    pub(crate) feature_gates: BTreeMap<String, bool>,
    pub(crate) client_connection: ClientConnection,
    pub(crate) logging: serde_json::Map<String, serde_json::Value>,
    pub(crate) hostname_override: String,
    pub(crate) bind_address: String,
    pub(crate) healthz_bind_address: String,
    pub(crate) metrics_bind_address: String,
    pub(crate) bind_address_hard_fail: bool,
    pub(crate) enable_profiling: bool,
    pub(crate) show_hidden_metrics_for_version: String,
    pub(crate) mode: String,
    pub(crate) iptables: PacketFilter,
    pub(crate) ipvs: serde_json::Map<String, serde_json::Value>,
    pub(crate) nftables: PacketFilter,
    pub(crate) winkernel: serde_json::Map<String, serde_json::Value>,
    pub(crate) detect_local_mode: String,
    pub(crate) detect_local: DetectLocal,
    #[serde(rename = "clusterCIDR")]
    pub(crate) cluster_cidr: String,
    pub(crate) node_port_addresses: Option<Vec<String>>,
    #[serde(rename = "oomScoreAdj")]
    pub(crate) oom_score_adj: Option<i64>,
    pub(crate) conntrack: Conntrack,
    pub(crate) config_sync_period: Period,
    pub(crate) port_range: String,
    pub(crate) windows_run_as_service: bool,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ClientConnection {
    pub(crate) kubeconfig: String,
    pub(crate) accept_content_types: String,
    pub(crate) content_type: String,
    pub(crate) qps: f64,
    pub(crate) burst: i64,
}

/// The section of a mode.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PacketFilter {
    pub(crate) masquerade_bit: Option<i64>,
    pub(crate) masquerade_all: bool,
    /// Of mode iptables only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) localhost_node_ports: Option<bool>,
    pub(crate) sync_period: Period,
    pub(crate) min_sync_period: Period,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct DetectLocal {
    pub(crate) bridge_interface: String,
    pub(crate) interface_name_prefix: String,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Conntrack {
    pub(crate) max_per_core: Option<i64>,
    pub(crate) min: Option<i64>,
    pub(crate) tcp_established_timeout: Option<Period>,
    pub(crate) tcp_close_wait_timeout: Option<Period>,
    pub(crate) tcp_be_liberal: bool,
    pub(crate) udp_timeout: Period,
    pub(crate) udp_stream_timeout: Period,
}

/// A duration in Go's way of writing; zero is the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Period(pub(crate) Duration);

impl Period {
    pub(crate) fn or(self, default: Duration) -> Duration {
        if self.0.is_zero() { default } else { self.0 }
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(input)?.unwrap_or_default();
        if text.is_empty() {
            return Ok(Period::default());
        }
        component::flags::parse_duration(&text).map(Period).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        output.serialize_str(&format!("{}ms", self.0.as_millis()))
    }
}

/// Upstream's defaults, which its own program writes into files.
const CONTENT_TYPE: &str = "application/vnd.kubernetes.protobuf";
const CONFIG_SYNC_PERIOD: Duration = Duration::from_secs(15 * 60);

impl File {
    pub(crate) fn load(path: &Path) -> Result<File, component::config::Error> {
        component::config::load(path, "KubeProxyConfiguration", &["kubeproxy.config.k8s.io/v1alpha1"])
    }

    /// A file with every default written out, for `--write-config-to`.
    pub(crate) fn defaults() -> String {
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nbindAddress: 0.0.0.0\n\
         bindAddressHardFail: false\nclientConnection:\n  kubeconfig: \"\"\n  qps: 0\n  burst: 0\nclusterCIDR: \"\"\n\
         conntrack:\n  maxPerCore: 32768\n  min: 131072\n  tcpBeLiberal: false\n  tcpCloseWaitTimeout: 1h0m0s\n\
         \x20 tcpEstablishedTimeout: 24h0m0s\n  udpStreamTimeout: 0s\n  udpTimeout: 0s\ndetectLocal:\n\
         \x20 bridgeInterface: \"\"\n  interfaceNamePrefix: \"\"\ndetectLocalMode: ClusterCIDR\n\
         healthzBindAddress: 0.0.0.0:10256\nhostnameOverride: \"\"\niptables:\n  localhostNodePorts: true\n\
         \x20 masqueradeAll: false\n  masqueradeBit: 14\n  minSyncPeriod: 1s\n  syncPeriod: 30s\n\
         metricsBindAddress: 127.0.0.1:10249\nmode: iptables\nnodePortAddresses: []\noomScoreAdj: -999\n"
            .to_string()
    }

    /// Fields that are set and have no effect.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let set = [
            ("featureGates", !self.feature_gates.is_empty()),
            ("ipvs", self.ipvs.values().any(is_set)),
            ("winkernel", self.winkernel.values().any(is_set)),
            ("enableProfiling", self.enable_profiling),
            ("showHiddenMetricsForVersion", !self.show_hidden_metrics_for_version.is_empty()),
            ("portRange", !self.port_range.is_empty()),
            ("windowsRunAsService", self.windows_run_as_service),
            ("logging", !self.logging.is_empty()),
            ("clientConnection.acceptContentTypes", !self.client_connection.accept_content_types.is_empty()),
            ("clientConnection.contentType", !["", CONTENT_TYPE].contains(&&*self.client_connection.content_type)),
            ("configSyncPeriod", self.config_sync_period.or(CONFIG_SYNC_PERIOD) != CONFIG_SYNC_PERIOD),
        ];
        set.iter()
            .filter(|(_, is_set)| *is_set)
            .map(|(name, _)| format!("field {name} of the configuration file has no effect"))
            .collect()
    }
}

/// kubeadm writes every field with its zero value.
fn is_set(value: &serde_json::Value) -> bool {
    use serde_json::Value::*;
    match value {
        Null | Bool(false) => false,
        String(text) => !text.is_empty() && !text.starts_with("0s"),
        Array(list) => !list.is_empty(),
        Number(number) => number.as_f64() != Some(0.0),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What kubeadm puts into its ConfigMap.
    const KUBEADM: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nbindAddress: 0.0.0.0\n\
        bindAddressHardFail: false\nclientConnection:\n  acceptContentTypes: \"\"\n  burst: 0\n  contentType: \"\"\n\
        \x20 kubeconfig: /var/lib/kube-proxy/kubeconfig.conf\n  qps: 0\nclusterCIDR: 10.244.0.0/16\nconfigSyncPeriod: 0s\n\
        conntrack:\n  maxPerCore: null\n  min: null\n  tcpBeLiberal: false\n  tcpCloseWaitTimeout: null\n\
        \x20 tcpEstablishedTimeout: null\n  udpStreamTimeout: 0s\n  udpTimeout: 0s\ndetectLocal:\n  bridgeInterface: \"\"\n\
        \x20 interfaceNamePrefix: \"\"\ndetectLocalMode: \"\"\nenableProfiling: false\nhealthzBindAddress: \"\"\n\
        hostnameOverride: \"\"\niptables:\n  localhostNodePorts: null\n  masqueradeAll: false\n  masqueradeBit: null\n\
        \x20 minSyncPeriod: 0s\n  syncPeriod: 0s\nipvs:\n  excludeCIDRs: null\n  minSyncPeriod: 0s\n  scheduler: \"\"\n\
        \x20 strictARP: false\n  syncPeriod: 0s\n  tcpFinTimeout: 0s\n  tcpTimeout: 0s\n  udpTimeout: 0s\n\
        metricsBindAddress: \"\"\nmode: \"\"\nnodePortAddresses: null\noomScoreAdj: null\nportRange: \"\"\n\
        showHiddenMetricsForVersion: \"\"\nwinkernel:\n  enableDSR: false\n  networkName: \"\"\n";

    fn parse(text: &str) -> Result<File, String> {
        component::config::parse(text, "KubeProxyConfiguration", &["kubeproxy.config.k8s.io/v1alpha1"])
    }

    #[test]
    fn kubeadms_file_is_read_without_a_warning() {
        let file = parse(KUBEADM).unwrap();
        assert_eq!(file.cluster_cidr, "10.244.0.0/16");
        assert_eq!(file.iptables.sync_period.or(Duration::from_secs(30)).as_secs(), 30);
        assert_eq!(file.warnings(), Vec::<String>::new());
    }

    #[test]
    fn the_written_defaults_can_be_read() {
        assert_eq!(parse(&File::defaults()).unwrap().iptables.masquerade_bit, Some(14));
    }

    #[test]
    fn unknown_fields_are_refused_and_idle_ones_named() {
        assert!(parse(&format!("{KUBEADM}cluserCIDR: x\n")).is_err());
        let file = parse(&KUBEADM.replace("strictARP: false", "strictARP: true")).unwrap();
        assert_eq!(file.warnings(), ["field ipvs of the configuration file has no effect"]);
        let idle = parse(&KUBEADM.replace("configSyncPeriod: 0s", "configSyncPeriod: 1m")).unwrap();
        assert_eq!(idle.warnings(), ["field configSyncPeriod of the configuration file has no effect"]);
        let default = parse(&KUBEADM.replace("contentType: \"\"", "contentType: application/vnd.kubernetes.protobuf"));
        assert_eq!(default.unwrap().warnings(), [""; 0]);
    }
}
