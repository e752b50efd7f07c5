//! The plugin `loopback`: brings `lo` up. The configured interface name is ignored, as upstream ignores it.

use std::net::IpAddr;

use crate::cni::conf::Base;
use crate::cni::result::{CniResult, Interface, IpConfig};
use crate::cni::{Command, Failure, Request};
use crate::netlink::{self, Links};
use crate::netns::Netns;

pub(crate) fn call(request: &Request) -> Result<Option<CniResult>, Failure> {
    match request.command {
        Command::Add => netlink::block_on(add(request)).map(Some),
        Command::Check => netlink::block_on(check(request)).map(|()| None),
        Command::Del => netlink::block_on(del(request)).map(|()| None),
        Command::Status | Command::Gc | Command::Version => Ok(None),
    }
}

async fn add(request: &Request) -> Result<CniResult, Failure> {
    let netns = Netns::existing(&request.netns, request.netns_override)?;
    let links = netns.run(Links::connect)?;
    let lo = links.existing("lo").await?;
    links.set_up(lo.index, "lo").await?;
    if let Some(previous) = Base::parse(&request.stdin)?.prev_result()? {
        return Ok(previous);
    }
    let mut result = CniResult {
        interfaces: vec![Interface {
            name: "lo".into(),
            mac: "00:00:00:00:00:00".into(),
            sandbox: request.netns.clone(),
            ..Interface::default()
        }],
        ..CniResult::default()
    };
    let addresses = links.addresses(lo.index, "lo").await?;
    if let Some(foreign) = addresses.iter().find(|net| !net.addr().is_loopback()) {
        return Err(Failure::internal(format!(
            "loopback interface found with non-loopback address {:?}",
            foreign.addr()
        )));
    }
    for is_wanted in [IpAddr::is_ipv4 as fn(&IpAddr) -> bool, IpAddr::is_ipv6] {
        if let Some(net) = addresses.iter().find(|net| is_wanted(&net.addr())) {
            result.ips.push(IpConfig { interface: Some(0), address: *net, gateway: None });
        }
    }
    Ok(result)
}

async fn check(request: &Request) -> Result<(), Failure> {
    let netns = Netns::existing(&request.netns, request.netns_override)?;
    let links = netns.run(Links::connect)?;
    if links.existing("lo").await?.is_up {
        return Ok(());
    }
    Err(Failure::internal("loopback interface is down"))
}

async fn del(request: &Request) -> Result<(), Failure> {
    if request.netns.is_empty() {
        return Ok(());
    }
    let Some(netns) = Netns::open(&request.netns, request.netns_override)? else { return Ok(()) };
    let links = netns.run(Links::connect)?;
    match links.get("lo").await? {
        Some(lo) => links.set_down(lo.index, "lo").await,
        None => Ok(()),
    }
}
