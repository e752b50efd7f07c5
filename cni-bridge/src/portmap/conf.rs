//! The configuration of `portmap`, with upstream's keys, defaults and checks.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

use crate::cni::conf::{Base, nullable, parse};
use crate::cni::result::CniResult;
use crate::cni::{Failure, Request};
use crate::packet_filter::Backend;

/// What the plugin goes by, checked.
#[derive(Clone, Debug)]
pub(super) struct PortmapConf {
    pub(super) name: String,
    pub(super) container_id: String,
    pub(super) backend: Backend,
    pub(super) snat: bool,
    pub(super) masq_all: bool,
    pub(super) mark_bit: u32,
    pub(super) external_set_mark_chain: Option<String>,
    pub(super) conditions_v4: Vec<String>,
    pub(super) conditions_v6: Vec<String>,
    pub(super) mappings: Vec<Mapping>,
    pub(super) previous: Option<CniResult>,
    ifname: String,
}

/// One port of the host. containerd 1.6 writes the names as they are in Go, and Go's reader takes letters of either case.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Mapping {
    #[serde(alias = "HostPort")]
    pub(super) host_port: i64,
    #[serde(alias = "ContainerPort")]
    pub(super) container_port: i64,
    #[serde(alias = "Protocol", default)]
    pub(super) protocol: String,
    #[serde(rename = "hostIP", alias = "HostIP", default)]
    host_ip: String,
    #[serde(skip)]
    pub(super) host_address: Option<IpAddr>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Raw {
    name: String,
    backend: Option<String>,
    snat: Option<bool>,
    #[serde(rename = "conditionsV4", deserialize_with = "nullable")]
    conditions_v4: Vec<String>,
    #[serde(rename = "conditionsV6", deserialize_with = "nullable")]
    conditions_v6: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    masq_all: bool,
    mark_masq_bit: Option<i64>,
    external_set_mark_chain: Option<String>,
    #[serde(deserialize_with = "nullable")]
    runtime_config: RuntimeConfig,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RuntimeConfig {
    #[serde(deserialize_with = "nullable")]
    port_mappings: Vec<Mapping>,
}

impl PortmapConf {
    pub(super) fn load(request: &Request) -> Result<PortmapConf, Failure> {
        let raw: Raw = parse(&request.stdin)?;
        if raw.mark_masq_bit.is_some() && raw.external_set_mark_chain.is_some() {
            return Err(Failure::config("Cannot specify externalSetMarkChain and markMasqBit"));
        }
        let mark_bit = u32::try_from(raw.mark_masq_bit.unwrap_or(13)).ok().filter(|bit| *bit <= 31);
        Ok(PortmapConf {
            backend: backend(&raw)?,
            name: raw.name,
            container_id: request.container_id.clone(),
            snat: raw.snat.unwrap_or(true),
            masq_all: raw.masq_all,
            mark_bit: mark_bit.ok_or_else(|| Failure::config("MasqMarkBit must be between 0 and 31"))?,
            external_set_mark_chain: raw.external_set_mark_chain,
            conditions_v4: raw.conditions_v4,
            conditions_v6: raw.conditions_v6,
            mappings: raw.runtime_config.port_mappings.into_iter().map(complete).collect::<Result<_, _>>()?,
            previous: Base::parse(&request.stdin)?.prev_result()?,
            ifname: request.ifname.clone(),
        })
    }

    /// The container's addresses that ports lead to: the first of each family on the container's interface.
    pub(super) fn addresses(&self) -> Vec<IpNet> {
        let Some(previous) = &self.previous else { return Vec::new() };
        let mut chosen: Vec<IpNet> = Vec::new();
        for ip in &previous.ips {
            let interface = ip.interface.and_then(|at| previous.interfaces.get(usize::try_from(at).ok()?));
            let is_elsewhere = interface.is_some_and(|link| link.name != self.ifname || link.sandbox.is_empty());
            let is_second = chosen.iter().any(|net| net.addr().is_ipv4() == ip.address.addr().is_ipv4());
            if !is_elsewhere && !is_second {
                chosen.push(ip.address);
            }
        }
        chosen
    }
}

fn complete(mut mapping: Mapping) -> Result<Mapping, Failure> {
    if !(1..=65535).contains(&mapping.container_port) {
        return Err(Failure::config(format!("Invalid container port number: {}", mapping.container_port)));
    }
    if !(1..=65535).contains(&mapping.host_port) {
        return Err(Failure::config(format!("Invalid host port number: {}", mapping.host_port)));
    }
    if !mapping.host_ip.is_empty() {
        let ip = mapping.host_ip.parse();
        mapping.host_address = Some(ip.map_err(|_| Failure::config(format!("Invalid host IP: {}", mapping.host_ip)))?);
    }
    mapping.protocol = mapping.protocol.to_lowercase();
    match mapping.protocol.as_str() {
        "tcp" | "udp" | "sctp" => Ok(mapping),
        other => Err(Failure::config(format!("Invalid protocol: {other:?}"))),
    }
}

/// Options that only one back end understands must be for the one that is used.
fn backend(raw: &Raw) -> Result<Backend, Failure> {
    let backend = match raw.backend.as_deref() {
        None => Backend::of_host(),
        Some(name) => Backend::parse(name).ok_or_else(|| Failure::config(format!("unrecognized backend {name:?}")))?,
    };
    // Every iptables condition begins with a hyphen or an exclamation mark, and no nftables condition does.
    let of_conditions = |conditions: &[String]| {
        let first = conditions.first().filter(|first| !first.is_empty())?;
        Some(if first.starts_with(['-', '!']) { Backend::Iptables } else { Backend::Nftables })
    };
    let uses = [
        ("externalSetMarkChain", raw.external_set_mark_chain.as_ref().map(|_| Backend::Iptables)),
        ("conditionsV4", of_conditions(&raw.conditions_v4)),
        ("conditionsV6", of_conditions(&raw.conditions_v6)),
    ];
    let wrong: Vec<&str> =
        uses.iter().filter(|(_, of)| of.is_some_and(|of| of != backend)).map(|(key, _)| *key).collect();
    if wrong.is_empty() {
        return Ok(backend);
    }
    Err(Failure::config(format!(
        "{} backend was requested but configuration contains {}-specific options {wrong:?}",
        backend.name(),
        backend.other().name()
    )))
}

#[cfg(test)]
pub(super) fn test_conf(json: &str) -> Result<PortmapConf, Failure> {
    PortmapConf::load(&Request {
        command: crate::cni::Command::Add,
        container_id: "abc".into(),
        netns: "/run/netns/x".into(),
        ifname: "eth0".into(),
        args: String::new(),
        path: String::new(),
        netns_override: false,
        stdin: json.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_be_as_containerd_writes_them() {
        let text = r#"{"name":"n","runtimeConfig":{"portMappings":[
            {"HostPort":8080,"ContainerPort":80,"Protocol":"tcp","HostIP":"127.0.0.1"}]}}"#;
        let mappings = test_conf(text).unwrap().mappings;
        assert_eq!((mappings[0].host_port, mappings[0].container_port), (8080, 80));
        assert_eq!((mappings[0].protocol.as_str(), mappings[0].host_ip.as_str()), ("tcp", "127.0.0.1"));
    }

    #[test]
    fn faults_have_upstreams_words() {
        for (conf, words) in [
            (
                r#"{"name":"n","markMasqBit":5,"externalSetMarkChain":"X"}"#,
                "Cannot specify externalSetMarkChain and markMasqBit",
            ),
            (r#"{"name":"n","markMasqBit":32}"#, "MasqMarkBit must be between 0 and 31"),
            (r#"{"name":"n","backend":"pf"}"#, "unrecognized backend \"pf\""),
            (
                r#"{"name":"n","conditionsV4":["ip saddr 1.1.1.1"]}"#,
                r#"iptables backend was requested but configuration contains nftables-specific options ["conditionsV4"]"#,
            ),
            (
                r#"{"name":"n","runtimeConfig":{"portMappings":[{"hostPort":0,"containerPort":80,"protocol":"tcp"}]}}"#,
                "Invalid host port number: 0",
            ),
        ] {
            assert_eq!(test_conf(conf).unwrap_err().msg, words);
        }
    }

    #[test]
    fn addresses_are_the_containers_first_of_each_family() {
        let conf = test_conf(
            r#"{"cniVersion":"1.0.0","name":"n","prevResult":{"cniVersion":"1.0.0",
                "interfaces":[{"name":"cni0"},{"name":"eth0","sandbox":"/run/netns/x"}],
                "ips":[{"interface":0,"address":"10.1.1.1/24"},{"interface":1,"address":"10.1.1.2/24"},
                       {"address":"fd00::2/64"},{"interface":1,"address":"10.1.1.3/24"}]}}"#,
        )
        .unwrap();
        let texts: Vec<String> = conf.addresses().iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.1.1.2/24", "fd00::2/64"]);
    }
}
