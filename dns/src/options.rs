//! What the flags say, read once and checked.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use component::client::ClientConfig;
use component::flags::Values;
use hickory_proto::rr::Name;
use ipnet::IpNet;

use crate::answer::Rules;
use crate::run::Error;

/// The settings of skiff-dns.
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) client: ClientConfig,
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) origin: Name,
    pub(crate) service_addresses: Vec<IpAddr>,
    /// Empty: everybody.
    pub(crate) client_ranges: Vec<IpNet>,
    pub(crate) rules: Rules,
    pub(crate) forward: ForwardOptions,
    pub(crate) metrics_bind_address: Option<SocketAddr>,
}

#[derive(Clone, Debug)]
pub(crate) struct ForwardOptions {
    pub(crate) resolv_conf: PathBuf,
    /// 53, but for tests.
    pub(crate) resolver_port: u16,
    pub(crate) timeout: Duration,
    pub(crate) cache_ttl: Duration,
    pub(crate) cache_size: usize,
}

impl Options {
    pub fn from_flags(values: &Values) -> Result<Options, Error> {
        let port = u16::try_from(values.int("port")).map_err(|_| invalid("port", "is no port"))?;
        let listen: Vec<IpAddr> = parsed(values, "bind-address")?;
        let origin = Name::from_ascii(values.str("cluster-domain")).map(|mut name| {
            name.set_fqdn(true);
            name
        });
        let rules = Rules {
            ttl_seconds: u32::try_from(values.duration("ttl").as_secs()).map_err(|_| invalid("ttl", "is too long"))?,
            has_pod_names: values.bool("pod-records"),
            walks_search_path: values.bool("walk-search-path"),
        };
        let forward = ForwardOptions {
            resolv_conf: values.str("resolv-conf").into(),
            resolver_port: 53,
            timeout: values.duration("forward-timeout"),
            cache_ttl: values.duration("cache-ttl"),
            cache_size: usize::try_from(values.int("cache-size")).map_err(|_| invalid("cache-size", "is negative"))?,
        };
        let metrics = values.opt_str("metrics-bind-address").map(str::parse).transpose();
        Ok(Options {
            client: ClientConfig::from_flags("skiff-dns", values),
            listen: listen.into_iter().map(|address| SocketAddr::new(address, port)).collect(),
            origin: origin.map_err(|error| invalid("cluster-domain", &error.to_string()))?,
            service_addresses: parsed(values, "cluster-dns")?,
            client_ranges: parsed(values, "client-cidrs")?,
            rules,
            forward,
            metrics_bind_address: metrics.map_err(|_| invalid("metrics-bind-address", "is no address with a port"))?,
        })
    }
}

fn parsed<T: std::str::FromStr>(values: &Values, name: &'static str) -> Result<Vec<T>, Error> {
    let texts = values.strings(name);
    let wrong = |text: &str| invalid(name, &format!("{text:?} cannot be read"));
    texts.iter().map(|text| text.trim().parse().map_err(|_| wrong(text))).collect()
}

fn invalid(flag: &'static str, problem: &str) -> Error {
    Error::Flag { flag, problem: problem.to_owned() }
}
