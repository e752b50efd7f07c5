//! The plugin `portmap`: ports of the host that lead to ports of the container. Chained behind another plugin.
//!
//! `conf` reads and checks, `rules` decides (pure: iptables lines), `nft_rules` the same for nftables, this module does.

mod conf;
mod nft_rules;
mod rules;

use std::process::{Command as Process, Stdio};

use crate::cni::conf::Base;
use crate::cni::result::CniResult;
use crate::cni::{Command, Failure, Request};
use crate::netlink::{self, Links};
use crate::packet_filter::{Backend, Family, Iptables, nft};
use crate::sysctl;
use conf::PortmapConf;
use rules::Target;

pub(crate) fn call(request: &Request) -> Result<Option<CniResult>, Failure> {
    let conf = PortmapConf::load(request)?;
    match request.command {
        Command::Add => add(&conf).map(Some),
        Command::Del => del(&conf).map(|()| None),
        Command::Check => check(&conf).map(|()| None),
        Command::Gc => gc(&conf, &Base::parse(&request.stdin)?).map(|()| None),
        Command::Status | Command::Version => Ok(None),
    }
}

fn add(conf: &PortmapConf) -> Result<CniResult, Failure> {
    let previous = conf.previous.clone().ok_or_else(|| Failure::config("must be called as chained plugin"))?;
    if conf.mappings.is_empty() {
        return Ok(previous);
    }
    for address in conf.addresses() {
        let target = Target { conf, address };
        match conf.backend {
            Backend::Iptables => forward(&target)?,
            Backend::Nftables => {
                nft::apply(&nft_rules::script(&target, nft_rules::stale(&target)))?.map_err(|error| {
                    Failure::internal(format!("unable to set up nftables rules for port mappings: {error}"))
                })?
            }
        }
        forget_udp_flows(conf, Family::of(address.addr()));
        if conf.snat && address.addr().is_ipv4() {
            netlink::block_on(route_localnet(address.addr()))?;
        }
    }
    Ok(previous)
}

/// The container's chain new and all else as it is: one transaction in the common case. When something is there
/// already (the shared chains usually are), what is missing is looked up.
fn forward(target: &Target) -> Result<(), Failure> {
    let iptables = Iptables(Family::of(target.address.addr()));
    let listed = list(iptables, target.conf)?;
    iptables
        .restore("nat", &rules::missing(target, &listed))?
        .map_err(|error| Failure::internal(format!("unable to setup DNAT: {error}")))
}

fn list(iptables: Iptables, conf: &PortmapConf) -> Result<Vec<String>, Failure> {
    let chains = rules::chains(conf);
    iptables.list_chains("nat", &chains.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A flow that conntrack knows keeps the way it went before there was a rule. Failing only leaves such flows.
fn forget_udp_flows(conf: &PortmapConf, family: Family) {
    let family = if family == Family::V4 { "ipv4" } else { "ipv6" };
    for mapping in conf.mappings.iter().filter(|mapping| mapping.protocol == "udp") {
        let port = mapping.host_port.to_string();
        let _ = Process::new("conntrack")
            .args(["-D", "-p", "udp", "--dport", &port, "-f", family])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// Lets packets from 127.0.0.1, turned towards the container, leave by its link (the kernel drops them as martians
/// otherwise). As upstream's plugin has it, and with its hazard: containers on that link may then send to 127.0.0.0/8, where
/// no other rule stops them (kube-proxy's do in mode iptables only).
async fn route_localnet(address: std::net::IpAddr) -> Result<(), Failure> {
    let links = Links::connect()?;
    match links.link_towards(address).await? {
        Some(name) => sysctl::ensure(&format!("net/ipv4/conf/{name}/route_localnet"), "1"),
        None => Ok(()),
    }
}

/// Both families and both back ends: what ADD used may have changed since.
fn del(conf: &PortmapConf) -> Result<(), Failure> {
    if conf.mappings.is_empty() {
        return Ok(());
    }
    let mut failures = Vec::new();
    for iptables in Family::ALL.map(Iptables).into_iter().filter(|iptables| iptables.is_there()) {
        match list(iptables, conf) {
            Ok(listed) => failures.extend(remove(iptables, rules::removal(conf, &listed)).err()),
            Err(failure) => failures.push(failure),
        }
    }
    let script = nft_rules::removal(&conf.container_id);
    if !script.is_empty() {
        match nft::apply(&script) {
            Ok(done) => failures
                .extend(done.err().map(|error| Failure::internal(format!("error deleting nftables rules: {error}")))),
            Err(failure) => failures.push(failure),
        }
    }
    Failure::all(failures)
}

fn remove(iptables: Iptables, lines: Vec<String>) -> Result<(), Failure> {
    if lines.is_empty() {
        return Ok(());
    }
    iptables.restore("nat", &lines)?.map_err(|error| Failure::internal(format!("could not teardown dnat: {error}")))
}

fn check(conf: &PortmapConf) -> Result<(), Failure> {
    if conf.previous.is_none() {
        return Err(Failure::config("Required prevResult missing"));
    }
    if conf.mappings.is_empty() {
        return Ok(());
    }
    for address in conf.addresses() {
        let target = Target { conf, address };
        let is_whole = match conf.backend {
            Backend::Iptables => {
                let listed = list(Iptables(Family::of(address.addr())), conf)?;
                rules::missing(&target, &listed).is_empty()
            }
            Backend::Nftables => nft_rules::is_whole(&target),
        };
        if !is_whole {
            return Err(Failure::internal(format!("rules for the ports of {} are missing", address.addr())));
        }
    }
    Ok(())
}

fn gc(conf: &PortmapConf, base: &Base) -> Result<(), Failure> {
    let valid = base.valid_attachments()?;
    let mut failures = Vec::new();
    for iptables in Family::ALL.map(Iptables).into_iter().filter(|iptables| iptables.is_there()) {
        let listed = iptables.list("nat")?;
        failures.extend(remove(iptables, rules::stale(&conf.name, valid, &listed)).err());
    }
    Failure::all(failures)
}
