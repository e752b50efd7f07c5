//! What the flags say, read once and checked.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use component::client::ClientConfig;
use component::flags::Values;
use ipnet::IpNet;

use crate::routes::Backend;
use crate::run::Error;

/// The settings of skiff-router.
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) client: ClientConfig,
    pub(crate) node_name: String,
    pub(crate) backend: Backend,
    /// Empty: nothing is done about what leaves the node.
    pub(crate) cluster_ranges: Vec<IpNet>,
    pub(crate) cni_conf_dir: Option<PathBuf>,
    pub(crate) bridge: String,
    pub(crate) name_servers: BTreeSet<IpAddr>,
    pub(crate) sync_period: Duration,
    pub(crate) metrics_bind_address: Option<SocketAddr>,
    pub(crate) is_cleanup: bool,
}

impl Options {
    pub fn from_flags(values: &Values) -> Result<Options, Error> {
        let servers = values.strings("cluster-dns");
        let servers = servers.iter().map(|text| text.parse().map_err(|_| invalid("cluster-dns", text)));
        let ranges = values.strings("cluster-cidr");
        let ranges = ranges.iter().map(|text| text.parse().map_err(|_| invalid("cluster-cidr", text)));
        let backend = values.str("backend");
        let metrics = values.opt_str("metrics-bind-address");
        let metrics = metrics.map(|text| text.parse().map_err(|_| invalid("metrics-bind-address", text)));
        Ok(Options {
            client: ClientConfig::from_flags("skiff-router", values),
            node_name: node_name(values.str("hostname-override"))?,
            backend: backend.parse().map_err(|()| invalid("backend", backend))?,
            cluster_ranges: ranges.collect::<Result<_, _>>()?,
            cni_conf_dir: values.opt_str("cni-conf-dir").map(PathBuf::from),
            bridge: values.str("bridge").to_owned(),
            name_servers: servers.collect::<Result<_, _>>()?,
            sync_period: values.duration("sync-period"),
            metrics_bind_address: metrics.transpose()?,
            is_cleanup: values.bool("cleanup"),
        })
    }
}

fn node_name(given: &str) -> Result<String, Error> {
    if !given.is_empty() {
        return Ok(given.trim().to_lowercase());
    }
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").map_err(Error::HostName)?;
    Ok(name.trim().to_lowercase())
}

fn invalid(flag: &'static str, text: &str) -> Error {
    Error::Flag { flag, problem: format!("{text:?} cannot be read") }
}
