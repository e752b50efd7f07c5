//! The plugin `bridge`: a veth pair from the container to a bridge on the host.
//!
//! `conf` reads and checks, `plan` decides (pure: steps as values), `run` does, `check` compares what is there with what
//! was answered. Addresses come from the IPAM plugin that the configuration names.

mod check;
mod conf;
mod plan;
mod run;
mod spoof;

use crate::cni::conf::Base;
use crate::cni::result::CniResult;
use crate::cni::{Command, Failure, Request};
use crate::exec;
use crate::netlink::{self, Links};
use crate::netns::Netns;
use crate::packet_filter::{masq, nft_masq};
use conf::BridgeConf;
use run::Kernel;

pub(crate) fn call(request: &Request) -> Result<Option<CniResult>, Failure> {
    let conf = BridgeConf::load(request)?;
    match request.command {
        Command::Add => netlink::block_on(add(request, &conf)).map(Some),
        Command::Del => netlink::block_on(del(request, &conf)).map(|()| None),
        Command::Check => netlink::block_on(check::check(request, &conf)).map(|()| None),
        Command::Status => delegate(request, &conf).map(|_| None),
        Command::Gc => gc(request, &conf).map(|()| None),
        Command::Version => Ok(None),
    }
}

fn delegate(request: &Request, conf: &BridgeConf) -> Result<Option<CniResult>, Failure> {
    match conf.ipam_type() {
        Some(plugin) => exec::ipam(plugin, request),
        None => Ok(None),
    }
}

/// Connects the container. When a step fails, what this call did is undone (and nothing that an earlier one did), and
/// the runtime gets the first error.
async fn add(request: &Request, conf: &BridgeConf) -> Result<CniResult, Failure> {
    conf.check_combinations()?;
    let netns = Netns::existing(&request.netns, request.netns_override)?;
    let mut kernel = Kernel::open(netns, request, conf)?;
    let linked = kernel.run(plan::link_steps(conf, request)).await.and_then(|()| ask_for_addresses(request, conf));
    let mut result = match linked {
        Ok(result) => result,
        Err(failure) => return Err(with_details(failure, [kernel.remove_veth().await])),
    };
    match connect(request, conf, &mut kernel, &mut result).await {
        Ok(()) => Ok(result),
        Err(failure) => {
            let veth = kernel.remove_veth().await;
            let undo = Request { command: Command::Del, ..request.clone() };
            let known: Vec<_> = result.ips.iter().map(|ip| ip.address).collect();
            let rules = remove_rules(&undo, conf, &known);
            Err(with_details(failure, [veth, rules, delegate(&undo, conf).map(|_| ())]))
        }
    }
}

/// What went wrong while undoing goes into the details of what went wrong first.
fn with_details<const N: usize>(failure: Failure, undone: [Result<(), Failure>; N]) -> Failure {
    let details: Vec<String> = undone.into_iter().filter_map(Result::err).map(|error| error.msg).collect();
    Failure { details: details.join("; "), ..failure }
}

fn ask_for_addresses(request: &Request, conf: &BridgeConf) -> Result<CniResult, Failure> {
    let Some(plugin) = conf.ipam_type() else { return Ok(CniResult::default()) };
    exec::ipam(plugin, request)?
        .filter(|result| !result.ips.is_empty())
        .ok_or_else(|| Failure::internal("IPAM plugin returned missing IP config"))
}

async fn connect(
    request: &Request,
    conf: &BridgeConf,
    kernel: &mut Kernel<'_>,
    result: &mut CniResult,
) -> Result<(), Failure> {
    plan::complete(conf, result);
    kernel.run(plan::network_steps(conf, request, result)).await?;
    result.interfaces = kernel.interfaces(conf).await?;
    if let Some(dns) = &conf.dns {
        result.dns = dns.clone();
    }
    Ok(())
}

/// Disconnects. Everything is attempted whatever is gone already; the order keeps an address reserved until nothing
/// on this host uses it.
async fn del(request: &Request, conf: &BridgeConf) -> Result<(), Failure> {
    let mut failures = Vec::new();
    let mut found = find_link(request).await.unwrap_or_else(|failure| {
        failures.push(failure);
        None
    });
    let known = found.as_mut().map(|found| std::mem::take(&mut found.addresses)).filter(|known| !known.is_empty());
    let rules = start_removing_rules(request, conf, &known.unwrap_or_else(|| addresses_before(request)));
    if let Some(found) = found {
        failures.extend(found.links.remove(found.index, &request.ifname).await.err());
    }
    failures.extend(rules.and_then(|rules| finish_removing_rules(request, conf, rules)).err());
    failures.extend(delegate(request, conf).err());
    Failure::all(failures)
}

/// The container's link, with the addresses that it has.
struct Found {
    links: Links,
    index: u32,
    addresses: Vec<ipnet::IpNet>,
}

/// `None` when link or namespace are gone.
async fn find_link(request: &Request) -> Result<Option<Found>, Failure> {
    if request.netns.is_empty() {
        return Ok(None);
    }
    let Some(netns) = Netns::open(&request.netns, request.netns_override)? else { return Ok(None) };
    let links = netns.run(Links::connect)?;
    let Some(link) = links.get(&request.ifname).await? else { return Ok(None) };
    let mut addresses = links.addresses(link.index, &link.name).await?;
    addresses.retain(|net| is_global(net.addr()));
    Ok(Some(Found { links, index: link.index, addresses }))
}

fn is_global(ip: std::net::IpAddr) -> bool {
    match ip {
        std::net::IpAddr::V4(ip) => !ip.is_link_local(),
        std::net::IpAddr::V6(ip) => !ip.is_unicast_link_local(),
    }
}

/// From 0.4.0 on DEL is told what ADD answered. A broken prevResult must not keep a container from being deleted.
fn addresses_before(request: &Request) -> Vec<ipnet::IpNet> {
    let previous = Base::parse(&request.stdin).and_then(|base| base.prev_result()).unwrap_or_default();
    previous.map(|result| result.ips.iter().map(|ip| ip.address).collect()).unwrap_or_default()
}

/// Masquerading and spoof check rules of this attachment.
fn remove_rules(request: &Request, conf: &BridgeConf, known: &[ipnet::IpNet]) -> Result<(), Failure> {
    finish_removing_rules(request, conf, start_removing_rules(request, conf, known)?)
}

/// Begun before the link goes and finished after: the kernel waits for its readers in both, for many milliseconds.
fn start_removing_rules<'a>(
    request: &'a Request,
    conf: &'a BridgeConf,
    known: &[ipnet::IpNet],
) -> Result<Option<masq::Removal<'a>>, Failure> {
    if !conf.is_layer3() || !conf.ip_masq {
        return Ok(None);
    }
    masq::start_removal(owner(request, conf), known).map(Some)
}

/// Unless iptables had all rules, nftables is looked through, too: the configuration may have changed since ADD.
fn finish_removing_rules(
    request: &Request,
    conf: &BridgeConf,
    begun: Option<masq::Removal<'_>>,
) -> Result<(), Failure> {
    let mut failures = Vec::new();
    if let Some(begun) = begun {
        let was_whole = begun.finish().unwrap_or_else(|failure| {
            failures.push(failure);
            false
        });
        if !was_whole {
            failures.extend(nft_masq::remove(owner(request, conf), &request.ifname).err());
        }
    }
    if conf.macspoofchk {
        failures.extend(spoof::remove(request).err());
    }
    Failure::all(failures)
}

fn owner<'a>(request: &'a Request, conf: &'a BridgeConf) -> masq::Owner<'a> {
    masq::Owner { network: &conf.name, container_id: &request.container_id }
}

/// Everything of this network that belongs to no attachment in the list: rules here, addresses in the IPAM plugin.
fn gc(request: &Request, conf: &BridgeConf) -> Result<(), Failure> {
    let base = Base::parse(&request.stdin)?;
    let valid = base.valid_attachments()?;
    let mut failures = Vec::new();
    if conf.is_layer3() && conf.ip_masq {
        failures.extend(masq::retain(&conf.name, valid).err());
        failures.extend(nft_masq::retain(&conf.name, valid).err());
    }
    failures.extend(delegate(request, conf).err());
    Failure::all(failures)
}
