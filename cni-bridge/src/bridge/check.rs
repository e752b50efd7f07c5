//! CHECK: what is there against what ADD answered.

use std::net::IpAddr;

use super::conf::BridgeConf;
use crate::cni::conf::Base;
use crate::cni::result::{CniResult, Interface, is_ipv6};
use crate::cni::{Failure, Request};
use crate::exec;
use crate::netlink::{Link, Links};
use crate::netns::Netns;

pub(super) async fn check(request: &Request, conf: &BridgeConf) -> Result<(), Failure> {
    let netns = Netns::existing(&request.netns, request.netns_override)?;
    if let Some(plugin) = conf.ipam_type() {
        exec::ipam(plugin, request)?;
    }
    let previous =
        Base::parse(&request.stdin)?.prev_result()?.ok_or_else(|| Failure::config("Required prevResult missing"))?;
    let host = Links::connect()?;
    let container = netns.run(Links::connect)?;
    let bridge = check_bridge(&host, &previous, conf).await?;
    let ours = check_container_link(&container, &previous, request).await?;
    check_host_end(&host, &previous, &bridge, &ours).await?;
    check_addresses(&container, &ours, &previous).await?;
    check_routes(&container, &previous).await
}

async fn check_bridge(host: &Links, previous: &CniResult, conf: &BridgeConf) -> Result<Link, Failure> {
    let name = &conf.bridge;
    let told = previous.interfaces.iter().find(|interface| interface.name == *name && interface.sandbox.is_empty());
    let told = told.ok_or_else(|| wrong(format!("CNI created bridge {name} in host namespace was not found")))?;
    let link = host.get(name).await?.ok_or_else(|| wrong(format!("Interface name {name} not found")))?;
    if link.kind != "bridge" {
        return Err(wrong(format!("Interface {name} does not have link type of bridge")));
    }
    if !told.mac.is_empty() && told.mac != link.mac_text() {
        return Err(wrong(format!("Bridge interface {name} Mac doesn't match: {}", told.mac)));
    }
    if link.is_promiscuous != conf.promisc_mode {
        let is = link.is_promiscuous;
        let msg = format!("Bridge interface {name} configured Promisc Mode {} doesn't match: {is}", conf.promisc_mode);
        return Err(wrong(msg));
    }
    Ok(link)
}

async fn check_container_link(container: &Links, previous: &CniResult, request: &Request) -> Result<Link, Failure> {
    let is_ours = |interface: &&Interface| interface.name == request.ifname && interface.sandbox == request.netns;
    let told = previous
        .interfaces
        .iter()
        .find(is_ours)
        .ok_or_else(|| wrong(format!("Sandbox in prevResult doesn't match configured netns: {}", request.netns)))?;
    let name = &request.ifname;
    let link = container.get(name).await?.ok_or_else(|| wrong(format!("Interface name {name} not found")))?;
    if link.kind != "veth" {
        return Err(wrong(format!("Error: Container interface {name} not of type veth")));
    }
    if !told.mac.is_empty() && told.mac != link.mac_text() {
        let msg = format!("Interface {name} Mac {} doesn't match container Mac: {}", told.mac, link.mac_text());
        return Err(wrong(msg));
    }
    Ok(link)
}

/// One of the host's interfaces in the result must be the other end of `ours` and a port of `bridge`.
async fn check_host_end(host: &Links, previous: &CniResult, bridge: &Link, ours: &Link) -> Result<(), Failure> {
    for told in previous.interfaces.iter().filter(|interface| interface.sandbox.is_empty()) {
        let Some(link) = host.get(&told.name).await? else { continue };
        let is_peer = link.kind == "veth" && link.index == ours.peer && link.peer == ours.index;
        if is_peer && link.controller == bridge.index && (told.mac.is_empty() || told.mac == link.mac_text()) {
            return Ok(());
        }
    }
    Err(wrong(format!("CNI veth created for bridge {} was not found", bridge.name)))
}

async fn check_addresses(container: &Links, link: &Link, previous: &CniResult) -> Result<(), Failure> {
    let present = container.addresses(link.index, &link.name).await?;
    match previous.ips.iter().find(|ip| !present.contains(&ip.address)) {
        Some(ip) => Err(wrong(format!("Failed to match addr {} on interface {}", ip.address, link.name))),
        None => Ok(()),
    }
}

async fn check_routes(container: &Links, previous: &CniResult) -> Result<(), Failure> {
    for is_v6 in [false, true] {
        let wanted: Vec<_> = previous.routes.iter().filter(|route| is_ipv6(&route.dst) == is_v6).collect();
        if wanted.is_empty() {
            continue;
        }
        let present = container.routes(is_v6).await?;
        for route in wanted {
            let matches = |gw: Option<IpAddr>| route.gw.is_none() || route.gw == gw;
            if !present.iter().any(|entry| entry.dst == route.dst.trunc() && matches(entry.gateway)) {
                return Err(wrong(format!("Expected Route {} not found in routing table", route.dst)));
            }
        }
    }
    Ok(())
}

fn wrong(msg: String) -> Failure {
    Failure::internal(msg)
}
