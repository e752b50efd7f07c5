//! What flags or the configuration file say, read once and checked.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use component::client::ClientConfig;
use component::flags::Values;
use ipnet::IpNet;

use crate::config::File;
use crate::mode::Mode;
use crate::run::Error;

/// The settings of kube-proxy.
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) action: Action,
    pub(crate) mode: Mode,
    pub(crate) client: ClientConfig,
    pub(crate) node_name: String,
    pub(crate) bind_address: IpAddr,
    pub(crate) bind_address_hard_fail: bool,
    pub(crate) healthz_bind_address: Option<SocketAddr>,
    pub(crate) metrics_bind_address: Option<SocketAddr>,
    pub(crate) detect_local: DetectLocal,
    /// Empty: everywhere.
    pub(crate) node_port_addresses: Vec<NodePortAddress>,
    pub(crate) masquerade_all: bool,
    pub(crate) masquerade_bit: u32,
    pub(crate) localhost_node_ports: bool,
    pub(crate) sync_period: Duration,
    pub(crate) min_sync_period: MinSyncPeriod,
    pub(crate) oom_score_adj: i64,
    pub(crate) conntrack: Conntrack,
    /// What `/configz` shows.
    pub(crate) file: File,
    /// What `/flagz` shows.
    pub(crate) flags: BTreeMap<&'static str, String>,
    /// Where it was read from.
    pub(crate) config_file: Option<PathBuf>,
    warnings: Vec<String>,
}

/// What to do beside running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Run,
    Cleanup,
    InitOnly,
    WriteConfig(PathBuf),
}

/// How pods' traffic is known; ranges are one a family at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DetectLocal {
    ClusterCidrs(Vec<IpNet>),
    /// The Node's `spec.podCIDRs`.
    NodeCidr,
    BridgeInterface(String),
    InterfaceNamePrefix(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NodePortAddress {
    Range(IpNet),
    /// The addresses in the Node's status.
    Primary,
}

/// The least time between two writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MinSyncPeriod {
    Given(Duration),
    /// Twice as long as a write took, so that writing takes a third of the time at most (see `run::pace`); never longer
    /// than upstream's default.
    Adaptive {
        max: Duration,
    },
}

/// Zero leaves the kernel's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Conntrack {
    pub(crate) max_per_core: u64,
    pub(crate) min: u64,
    pub(crate) tcp_established_timeout: Duration,
    pub(crate) tcp_close_wait_timeout: Duration,
    pub(crate) tcp_be_liberal: bool,
    pub(crate) udp_timeout: Duration,
    pub(crate) udp_stream_timeout: Duration,
}

const SYNC_PERIOD: Duration = Duration::from_secs(30);
const MIN_SYNC_PERIOD: Duration = Duration::from_secs(1);

impl Options {
    /// From the flags of [`crate::flags`], and the file that `--config` names: with it the other flags are ignored but
    /// `--hostname-override`, `--master` and those about logs.
    pub fn from_flags(values: &Values) -> Result<Options, Error> {
        let file = match values.opt_str("config") {
            Some(path) => File::load(path.as_ref())?,
            None => file_of_flags(values),
        };
        let mut options = Options::from_file(file, values.opt_str("hostname-override"))?;
        options.action = action(values);
        options.config_file = values.opt_str("config").map(PathBuf::from);
        options.flags = values.all();
        options.client.master = values.opt_str("master").map(str::to_owned);
        let is_adaptive = values.opt_str("config").is_none() && !values.is_given("iptables-min-sync-period");
        if is_adaptive {
            options.min_sync_period = MinSyncPeriod::Adaptive { max: MIN_SYNC_PERIOD };
        }
        if values.opt_str("config").is_none() {
            let is_off =
                |port, address| values.int(port) == 0 || (values.is_given(address) && values.str(address).is_empty());
            for (port, name, address) in [
                ("healthz-port", "healthz-bind-address", &mut options.healthz_bind_address),
                ("metrics-port", "metrics-bind-address", &mut options.metrics_bind_address),
            ] {
                if is_off(port, name) {
                    *address = None;
                } else if values.is_given(port)
                    && let Some(address) = address
                {
                    address.set_port(u16::try_from(values.int(port)).map_err(|_| invalid(port, "not a port"))?);
                }
            }
        }
        Ok(options)
    }

    fn from_file(file: File, hostname: Option<&str>) -> Result<Options, Error> {
        let bind_address = parse_or(&file.bind_address, "0.0.0.0", "bindAddress")?;
        let (health_host, metrics_host) =
            if IpAddr::is_ipv4(&bind_address) { ("0.0.0.0", "127.0.0.1") } else { ("[::]", "[::1]") };
        let mode = match file.mode.as_str() {
            "" | "iptables" => Mode::Iptables,
            "nftables" => Mode::Nftables,
            other => {
                let problem = format!("{other:?} is not supported: must be iptables, nftables or blank");
                return Err(invalid("mode", &problem));
            }
        };
        let filter = match mode {
            Mode::Iptables => &file.iptables,
            Mode::Nftables => &file.nftables,
        };
        let masquerade_bit = u32::try_from(filter.masquerade_bit.unwrap_or(14)).ok().filter(|bit| *bit <= 31);
        let oom_score_adj = file.oom_score_adj.unwrap_or(-999);
        if !(-1000..=1000).contains(&oom_score_adj) {
            return Err(invalid("oomScoreAdj", "must be within the range [-1000, 1000]"));
        }
        let sync_period = filter.sync_period.or(SYNC_PERIOD);
        let min_sync_period = filter.min_sync_period.or(MIN_SYNC_PERIOD);
        if min_sync_period > sync_period {
            return Err(invalid("syncPeriod", "must be greater than or equal to minSyncPeriod"));
        }
        Ok(Options {
            action: Action::Run,
            mode,
            client: client(&file),
            node_name: node_name(hostname.unwrap_or(&file.hostname_override))?,
            bind_address,
            bind_address_hard_fail: file.bind_address_hard_fail,
            healthz_bind_address: Some(bind(&file.healthz_bind_address, health_host, 10256, "healthzBindAddress")?),
            metrics_bind_address: Some(bind(&file.metrics_bind_address, metrics_host, 10249, "metricsBindAddress")?),
            detect_local: detect_local(&file)?,
            node_port_addresses: node_port_addresses(file.node_port_addresses.as_deref().unwrap_or_default(), mode)?,
            masquerade_all: filter.masquerade_all,
            masquerade_bit: masquerade_bit
                .ok_or_else(|| invalid("masqueradeBit", "must be within the range [0, 31]"))?,
            localhost_node_ports: mode == Mode::Iptables && file.iptables.localhost_node_ports.unwrap_or(true),
            sync_period,
            min_sync_period: MinSyncPeriod::Given(min_sync_period),
            oom_score_adj,
            conntrack: conntrack(&file)?,
            warnings: file.warnings(),
            file,
            flags: BTreeMap::new(),
            config_file: None,
        })
    }

    /// Says what is set and has no effect, once logging is up.
    pub(crate) fn warn(&self) {
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
        if self.node_port_addresses.is_empty() {
            tracing::info!("nodePortAddresses is unset; NodePort connections will be accepted on all local IPs");
        }
    }
}

/// The flags as if a file had said them; so both ways are checked by the same code.
fn file_of_flags(values: &Values) -> File {
    use crate::config::Period;
    let text = |name: &str| values.str(name).to_owned();
    let period = |name: &str| Period(values.duration(name));
    let mut file = File {
        bind_address: values.ip("bind-address").map(|ip| ip.to_string()).unwrap_or_default(),
        healthz_bind_address: if values.is_given("healthz-bind-address") {
            text("healthz-bind-address")
        } else {
            String::new()
        },
        metrics_bind_address: if values.is_given("metrics-bind-address") {
            text("metrics-bind-address")
        } else {
            String::new()
        },
        bind_address_hard_fail: values.bool("bind-address-hard-fail"),
        mode: text("proxy-mode"),
        detect_local_mode: text("detect-local-mode"),
        cluster_cidr: text("cluster-cidr"),
        node_port_addresses: Some(values.strings("nodeport-addresses")),
        oom_score_adj: Some(values.int("oom-score-adj")),
        ..File::default()
    };
    file.client_connection.kubeconfig = text("kubeconfig");
    file.client_connection.qps = values.float("kube-api-qps");
    file.client_connection.burst = values.int("kube-api-burst");
    file.detect_local.bridge_interface = text("pod-bridge-interface");
    file.detect_local.interface_name_prefix = text("pod-interface-name-prefix");
    file.iptables.masquerade_bit = Some(values.int("iptables-masquerade-bit"));
    file.iptables.masquerade_all = values.bool("masquerade-all");
    file.iptables.localhost_node_ports = Some(values.bool("iptables-localhost-nodeports"));
    file.iptables.sync_period = period("iptables-sync-period");
    file.iptables.min_sync_period = period("iptables-min-sync-period");
    file.nftables = file.iptables.clone();
    file.conntrack.max_per_core = Some(values.int("conntrack-max-per-core"));
    file.conntrack.min = Some(values.int("conntrack-min"));
    file.conntrack.tcp_established_timeout = Some(period("conntrack-tcp-timeout-established"));
    file.conntrack.tcp_close_wait_timeout = Some(period("conntrack-tcp-timeout-close-wait"));
    file.conntrack.tcp_be_liberal = values.bool("conntrack-tcp-be-liberal");
    file.conntrack.udp_timeout = period("conntrack-udp-timeout");
    file.conntrack.udp_stream_timeout = period("conntrack-udp-timeout-stream");
    file
}

fn action(values: &Values) -> Action {
    if let Some(path) = values.opt_str("write-config-to") {
        Action::WriteConfig(path.into())
    } else if values.bool("cleanup") {
        Action::Cleanup
    } else if values.bool("init-only") {
        Action::InitOnly
    } else {
        Action::Run
    }
}

fn client(file: &File) -> ClientConfig {
    let connection = &file.client_connection;
    ClientConfig {
        component: "kube-proxy".to_owned(),
        kubeconfig: Some(&connection.kubeconfig).filter(|path| !path.is_empty()).map(PathBuf::from),
        qps: Some(connection.qps).filter(|qps| *qps > 0.0),
        burst: u32::try_from(connection.burst).ok().filter(|burst| *burst > 0),
        ..ClientConfig::default()
    }
}

fn node_name(given: &str) -> Result<String, Error> {
    let name = match given.trim() {
        "" if !given.is_empty() => return Err(invalid("hostname-override", "empty hostname-override is invalid")),
        "" => std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default(),
        name => name.to_owned(),
    };
    Ok(name.trim().to_lowercase())
}

fn detect_local(file: &File) -> Result<DetectLocal, Error> {
    match file.detect_local_mode.as_str() {
        "" | "ClusterCIDR" => {
            let texts = file.cluster_cidr.split(',').map(str::trim).filter(|text| !text.is_empty());
            let cidrs: Vec<IpNet> = texts
                .map(|text| text.parse().map_err(|_| invalid("clusterCIDR", &format!("{text:?} is not a CIDR block"))))
                .collect::<Result<_, _>>()?;
            let v4 = cidrs.iter().filter(|net| net.addr().is_ipv4()).count();
            if v4 > 1 || cidrs.len() - v4 > 1 {
                return Err(invalid("clusterCIDR", "must be one CIDR block, or a dual-stack pair"));
            }
            Ok(DetectLocal::ClusterCidrs(cidrs.iter().map(IpNet::trunc).collect()))
        }
        "NodeCIDR" => Ok(DetectLocal::NodeCidr),
        "BridgeInterface" => {
            interface(&file.detect_local.bridge_interface, "bridgeInterface").map(DetectLocal::BridgeInterface)
        }
        "InterfaceNamePrefix" => interface(&file.detect_local.interface_name_prefix, "interfaceNamePrefix")
            .map(DetectLocal::InterfaceNamePrefix),
        other => Err(invalid(
            "detectLocalMode",
            &format!("must be ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix or blank, not {other:?}"),
        )),
    }
}

fn interface(name: &str, field: &str) -> Result<String, Error> {
    match name.len() {
        0 => Err(invalid(field, "must not be empty in this detectLocalMode")),
        1..=15 => Ok(name.to_owned()),
        _ => Err(invalid(field, "may not be more than 15 characters")),
    }
}

/// Mode nftables serves NodePorts on the node's own addresses unless told otherwise, mode iptables on all.
fn node_port_addresses(texts: &[String], mode: Mode) -> Result<Vec<NodePortAddress>, Error> {
    if texts.is_empty() && mode == Mode::Nftables {
        return Ok(vec![NodePortAddress::Primary]);
    }
    let one = |text: &String| match text.as_str() {
        "primary" if texts.len() > 1 => Err(invalid("nodePortAddresses", "can't use both 'primary' and CIDRs")),
        "primary" => Ok(NodePortAddress::Primary),
        text => text
            .parse::<IpNet>()
            .map(|net| NodePortAddress::Range(net.trunc()))
            .map_err(|_| invalid("nodePortAddresses", &format!("{text:?} is neither a CIDR block nor \"primary\""))),
    };
    texts.iter().map(one).collect()
}

fn conntrack(file: &File) -> Result<Conntrack, Error> {
    let count = |value: Option<i64>, default: i64, field: &str| {
        u64::try_from(value.unwrap_or(default)).map_err(|_| invalid(field, "must be greater than or equal to 0"))
    };
    let conntrack = &file.conntrack;
    let hours = |hours: u64| Duration::from_secs(3600 * hours);
    Ok(Conntrack {
        max_per_core: count(conntrack.max_per_core, 32768, "maxPerCore")?,
        min: count(conntrack.min, 131_072, "min")?,
        tcp_established_timeout: conntrack.tcp_established_timeout.map_or(hours(24), |period| period.0),
        tcp_close_wait_timeout: conntrack.tcp_close_wait_timeout.map_or(hours(1), |period| period.0),
        tcp_be_liberal: conntrack.tcp_be_liberal,
        udp_timeout: conntrack.udp_timeout.0,
        udp_stream_timeout: conntrack.udp_stream_timeout.0,
    })
}

/// An address with or without a port.
fn bind(text: &str, host: &str, port: u16, field: &str) -> Result<SocketAddr, Error> {
    let text = if text.is_empty() { host } else { text };
    let with_port = text.parse().or_else(|_| match text.parse::<IpAddr>() {
        Ok(ip) => Ok(SocketAddr::new(ip, port)),
        Err(_) => format!("{text}:{port}").parse(),
    });
    with_port.map_err(|_| invalid(field, &format!("{text:?} is not IP:port")))
}

fn parse_or(text: &str, default: &str, field: &str) -> Result<IpAddr, Error> {
    let text = if text.is_empty() { default } else { text };
    text.parse().map_err(|_| invalid(field, "not a valid textual representation of an IP address"))
}

fn invalid(field: &str, detail: &str) -> Error {
    Error::Options(format!("KubeProxyConfiguration.{field}: Invalid value: {detail}"))
}

#[cfg(test)]
mod tests;
