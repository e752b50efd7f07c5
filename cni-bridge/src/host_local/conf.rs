//! The configuration of `host-local`: upstream's keys, and the three ways to ask for an address.

use std::net::IpAddr;

use serde::Deserialize;

use super::range::{RangeConf, RangeSet};
use crate::cni::conf::{nullable, parse};
use crate::cni::result::Route;
use crate::cni::{Failure, Request, Version};

const DATA_DIR: &str = "/var/lib/cni/networks";

/// What the plugin goes by, checked.
#[derive(Clone, Debug)]
pub(super) struct IpamConf {
    pub(super) network: String,
    pub(super) data_dir: String,
    pub(super) resolv_conf: Option<String>,
    pub(super) routes: Vec<Route>,
    pub(super) ranges: Vec<RangeSet>,
    /// Addresses asked for by CNI_ARGS, `args` or `runtimeConfig`.
    pub(super) requested: Vec<IpAddr>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Net {
    name: String,
    #[serde(rename = "cniVersion", deserialize_with = "nullable")]
    cni_version: String,
    ipam: Option<Ipam>,
    #[serde(rename = "runtimeConfig", deserialize_with = "nullable")]
    runtime_config: RuntimeConfig,
    #[serde(deserialize_with = "nullable")]
    args: Args,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Ipam {
    /// The old style: one range, written without a list around it.
    #[serde(flatten)]
    range: RangeConf,
    #[serde(deserialize_with = "nullable")]
    routes: Vec<Route>,
    #[serde(rename = "dataDir", deserialize_with = "nullable")]
    data_dir: String,
    #[serde(rename = "resolvConf", deserialize_with = "nullable")]
    resolv_conf: String,
    #[serde(deserialize_with = "nullable")]
    ranges: Vec<Vec<RangeConf>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RuntimeConfig {
    #[serde(rename = "ipRanges", deserialize_with = "nullable")]
    ip_ranges: Vec<Vec<RangeConf>>,
    #[serde(deserialize_with = "nullable")]
    ips: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Args {
    #[serde(deserialize_with = "nullable")]
    cni: CniArgs,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CniArgs {
    #[serde(deserialize_with = "nullable")]
    ips: Vec<String>,
}

impl IpamConf {
    pub(super) fn load(request: &Request) -> Result<IpamConf, Failure> {
        let net: Net = parse(&request.stdin)?;
        let ipam = net.ipam.ok_or_else(|| Failure::config("IPAM config missing 'ipam' key"))?;
        let from_env = request.arg("IP")?;
        let texts = from_env.iter().chain(&net.args.cni.ips).chain(&net.runtime_config.ips);
        let requested = texts.map(|text| address(text)).collect::<Result<Vec<_>, _>>()?;
        let old_style = ipam.range.subnet.is_some().then(|| vec![ipam.range.clone()]);
        let confs: Vec<Vec<RangeConf>> =
            net.runtime_config.ip_ranges.into_iter().chain(old_style).chain(ipam.ranges).collect();
        Ok(IpamConf {
            network: net.name,
            data_dir: if ipam.data_dir.is_empty() { DATA_DIR.to_string() } else { ipam.data_dir },
            resolv_conf: Some(ipam.resolv_conf).filter(|path| !path.is_empty()),
            routes: ipam.routes,
            ranges: ranges(&confs, &net.cni_version)?,
            requested,
        })
    }
}

fn ranges(confs: &[Vec<RangeConf>], cni_version: &str) -> Result<Vec<RangeSet>, Failure> {
    if confs.is_empty() {
        return Err(Failure::config("no IP ranges specified"));
    }
    let mut sets: Vec<RangeSet> = Vec::new();
    for (at, confs) in confs.iter().enumerate() {
        let set = RangeSet::complete(confs).map_err(|msg| Failure::config(format!("invalid range set {at}: {msg}")))?;
        if let Some(other) = sets.iter().position(|other| other.overlaps(&set)) {
            return Err(Failure::config(format!("range set {other} overlaps with {at}")));
        }
        sets.push(set);
    }
    let v4 = sets.iter().filter(|set| set.is_ipv4()).count();
    let one_each = v4 <= 1 && sets.len() - v4 <= 1;
    if !one_each && Version::supported(cni_version)? < Version::V0_3_0 {
        let msg = format!("CNI version {cni_version} does not support more than 1 address per family");
        return Err(Failure::config(msg));
    }
    Ok(sets)
}

/// `10.0.0.5` or `10.0.0.5/24`: the prefix is for plugins that need it, the range has its own.
fn address(text: &str) -> Result<IpAddr, Failure> {
    let ip = text.split('/').next().unwrap_or(text);
    ip.parse().map_err(|_| Failure::config(format!("cannot understand ip: {text:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cni::Command;

    fn load(conf: &str, args: &str) -> Result<IpamConf, Failure> {
        IpamConf::load(&Request {
            command: Command::Add,
            container_id: "c".into(),
            netns: String::new(),
            ifname: "eth0".into(),
            args: args.into(),
            path: String::new(),
            netns_override: false,
            stdin: conf.into(),
        })
    }

    #[test]
    fn ranges_come_from_the_runtime_then_old_style_then_the_list() {
        let conf = load(
            r#"{"cniVersion":"1.0.0","name":"n","ipam":{"type":"host-local","subnet":"10.1.0.0/24",
                "ranges":[[{"subnet":"10.2.0.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]},
                "runtimeConfig":{"ipRanges":[[{"subnet":"fd00::/64"}]],"ips":["10.2.0.9/24"]}}"#,
            "IP=10.1.0.7;IgnoreUnknown=1;K8S_POD_NAME=x",
        )
        .unwrap();
        let sets: Vec<String> = conf.ranges.iter().map(ToString::to_string).collect();
        assert_eq!(sets[1..], ["10.1.0.1-10.1.0.254", "10.2.0.1-10.2.0.254"]);
        assert_eq!(conf.requested, ["10.1.0.7".parse::<IpAddr>().unwrap(), "10.2.0.9".parse().unwrap()]);
        assert_eq!(conf.data_dir, DATA_DIR);
    }

    #[test]
    fn faults_have_upstreams_words() {
        for (conf, words) in [
            (r#"{"name":"n"}"#, "IPAM config missing 'ipam' key"),
            (r#"{"name":"n","ipam":{}}"#, "no IP ranges specified"),
            (
                r#"{"name":"n","ipam":{"ranges":[[{"subnet":"10.1.0.0/24"}],[{"subnet":"10.1.0.0/16"}]]}}"#,
                "range set 0 overlaps with 1",
            ),
            (
                r#"{"name":"n","cniVersion":"0.2.0","ipam":{"ranges":[[{"subnet":"10.1.0.0/24"}],[{"subnet":"10.2.0.0/16"}]]}}"#,
                "CNI version 0.2.0 does not support more than 1 address per family",
            ),
        ] {
            assert_eq!(load(conf, "").unwrap_err().msg, words);
        }
    }
}
