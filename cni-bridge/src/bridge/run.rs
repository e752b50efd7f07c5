//! Doing the steps of `plan`: one netlink socket on the host, one in the container's namespace.

use std::time::Duration;

use ipnet::IpNet;

use super::conf::BridgeConf;
use super::plan::{AddressChange, Step, address_change};
use super::spoof;
use crate::cni::result::Interface;
use crate::cni::{Failure, Request};
use crate::netlink::{Follow, Follower, Link, Links, VethPair};
use crate::netns::Netns;
use crate::packet_filter::{Backend, masq, names, nft_masq};
use crate::sysctl;

/// How long a port may take to forward; upstream waits as long.
const OPERATIONAL_DEADLINE: Duration = Duration::from_millis(2550);
const SETTLE_DEADLINE: Duration = Duration::from_secs(5);

/// The host's and the container's networks during one ADD.
pub(super) struct Kernel<'a> {
    request: &'a Request,
    network: &'a str,
    netns: Netns,
    host: Links,
    container: Links,
    /// As it was found or made.
    bridge: Option<Link>,
    /// The veth pair, once it is there.
    veth: Option<Pair>,
    vlan_gateway: Option<Link>,
}

#[derive(Clone, Debug)]
struct Pair {
    host: Link,
    container: Link,
}

impl<'a> Kernel<'a> {
    pub(super) fn open(netns: Netns, request: &'a Request, conf: &'a BridgeConf) -> Result<Kernel<'a>, Failure> {
        let host = Links::connect()?;
        let container = netns.run(Links::connect)?;
        Ok(Kernel {
            request,
            network: &conf.name,
            netns,
            host,
            container,
            bridge: None,
            veth: None,
            vlan_gateway: None,
        })
    }

    pub(super) async fn run(&mut self, steps: Vec<Step>) -> Result<(), Failure> {
        for step in steps {
            self.step(step).await?;
        }
        Ok(())
    }

    async fn step(&mut self, step: Step) -> Result<(), Failure> {
        match step {
            Step::EnsureBridge { name, mtu, promiscuous, vlan_filtering } => {
                self.ensure_bridge(&name, mtu, promiscuous, vlan_filtering).await
            }
            Step::AddVeth { bridge, container, mtu, mac, hairpin, isolated } => {
                let controller = self.link(&bridge).await?.index;
                let fd = self.netns.raw_fd();
                let pair = VethPair {
                    host_name: "",
                    container_name: &container,
                    container_netns_fd: fd,
                    controller,
                    mtu,
                    mac: mac.as_deref(),
                };
                self.add_veth(pair, hairpin, isolated).await
            }
            Step::SetPortVlans { access, trunk, keep_default } => {
                let port = self.pair()?.host.clone();
                set_port_vlans(&self.host, &port, access, &trunk, keep_default).await
            }
            Step::SpoofCheck => {
                let pair = self.pair()?;
                spoof::ensure(self.request, &pair.host.name, &pair.container.mac_text())
            }
            Step::EnsureVlanGateway { bridge, name, vlan } => self.ensure_vlan_gateway(&bridge, &name, vlan).await,
            Step::ContainerSysctl { key, value, required } => {
                let done = self.netns.run(|| {
                    // A kernel without IPv6 has none of these switches, and needs none.
                    if sysctl::exists(&key) { sysctl::ensure(&key, value) } else { Ok(()) }
                });
                if required { done } else { Ok(()) }
            }
            Step::ContainerAddress { link, address } => {
                self.container.ensure_address(self.pair()?.container.index, &link, address).await
            }
            Step::ContainerUp { link } => self.container.set_up(self.pair()?.container.index, &link).await,
            Step::ContainerSettle { link } => {
                let index = self.pair()?.container.index;
                let mut follower = self.netns.run(|| Follower::open(Follow::Addresses))?;
                self.container.wait_settled(&mut follower, index, &link, SETTLE_DEADLINE).await
            }
            Step::ContainerRoute { link, route } => {
                self.container.add_route(self.pair()?.container.index, &link, &route).await
            }
            Step::HostAddress { link, address, force } => self.host_address(&link, address, force).await,
            Step::HostSysctl { key, value } => sysctl::ensure(&key, value),
            Step::Masquerade { addresses, backend } => {
                let owner = masq::Owner { network: self.network, container_id: &self.request.container_id };
                match backend.unwrap_or_else(Backend::of_host) {
                    Backend::Iptables => masq::ensure(owner, &addresses),
                    Backend::Nftables => nft_masq::ensure(owner, &self.request.ifname, &addresses),
                }
            }
            Step::WaitOperational => {
                let name = self.pair()?.host.name.clone();
                self.host.wait_operational(&name, OPERATIONAL_DEADLINE).await.map(|_| ())
            }
        }
    }

    fn pair(&self) -> Result<&Pair, Failure> {
        self.veth.as_ref().ok_or_else(|| Failure::internal("the veth pair is not made yet"))
    }

    /// A link of the host; the bridge is looked up once.
    async fn link(&self, name: &str) -> Result<Link, Failure> {
        match &self.bridge {
            Some(bridge) if bridge.name == name => Ok(bridge.clone()),
            _ => self.host.existing(name).await,
        }
    }

    /// Several ADDs may race to make the bridge: one wins, the others find it.
    ///
    /// The winner gives the bridge the address that it has already: an address that was set stays, while one that was
    /// not becomes that of the lowest port and changes with every container, and the containers' neighbour tables with
    /// it.
    async fn ensure_bridge(&mut self, name: &str, mtu: u32, promiscuous: bool, filtering: bool) -> Result<(), Failure> {
        let present = self.host.get(name).await?;
        let is_new = present.is_none() && self.host.add_bridge(name, mtu, filtering).await?;
        let bridge = match present {
            Some(bridge) => bridge,
            None => self.host.existing(name).await?,
        };
        if bridge.kind != "bridge" {
            return Err(Failure::internal(format!("{name:?} already exists but is not a bridge")));
        }
        if is_new {
            self.host.set_mac(bridge.index, name, &bridge.mac).await?;
        }
        if promiscuous && !bridge.is_promiscuous {
            self.host.set_promiscuous(bridge.index, name).await?;
        }
        ignore_router_advertisements(name);
        if !bridge.is_up {
            self.host.set_up(bridge.index, name).await?;
        }
        self.bridge = Some(bridge);
        Ok(())
    }

    /// The host end's name is derived from the attachment; another one is tried when it is taken.
    async fn add_veth(&mut self, pair: VethPair<'_>, hairpin: bool, isolated: bool) -> Result<(), Failure> {
        let container = pair.container_name;
        for attempt in 0..10 {
            let name = names::veth(self.network, &self.request.container_id, container, attempt);
            if !self.host.add_veth(&VethPair { host_name: &name, ..pair.clone() }).await? {
                if self.container.get(container).await?.is_some() {
                    let msg = format!("container veth name ({container:?}) peer provided ({name:?}) already exists");
                    return Err(Failure::internal(msg));
                }
                continue;
            }
            ignore_router_advertisements(&name);
            let host = self.host.existing(&name).await?;
            self.host.set_port(host.index, &name, hairpin, isolated).await?;
            let container = self.container.existing(container).await?;
            self.veth = Some(Pair { host, container });
            return Ok(());
        }
        Err(Failure::internal("failed to find a unique veth name"))
    }

    async fn host_address(&self, name: &str, address: IpNet, force: bool) -> Result<(), Failure> {
        let link = self.link(name).await?;
        match address_change(&self.host.addresses(link.index, name).await?, address, force) {
            AddressChange::Keep => return Ok(()),
            AddressChange::Refuse(_) => {
                let msg = format!("{name:?} already has an IP address different from {address}");
                return Err(Failure::internal(format!("failed to set bridge addr: {msg}")));
            }
            AddressChange::Add { remove } => {
                for old in remove {
                    self.host.remove_address(link.index, name, old).await?;
                }
            }
        }
        self.host.ensure_address(link.index, name, address).await?;
        self.host.set_mac(link.index, name, &link.mac).await
    }

    async fn ensure_vlan_gateway(&mut self, bridge: &str, name: &str, vlan: u16) -> Result<(), Failure> {
        if self.host.get(name).await?.is_none() {
            let controller = self.host.existing(bridge).await?;
            let port = names::veth(self.network, "vlan-gateway", name, 0);
            let own = std::fs::File::open("/proc/thread-self/ns/net")
                .map_err(|error| Failure::netns(format!("failed to find host namespace: {error}")))?;
            let pair = VethPair {
                host_name: &port,
                container_name: name,
                container_netns_fd: std::os::fd::AsRawFd::as_raw_fd(&own),
                controller: controller.index,
                mtu: controller.mtu,
                mac: None,
            };
            // Taken names mean that another ADD is making it, or that one was killed before it set the VLAN.
            self.host.add_veth(&pair).await?;
            let port = self.host.existing(&port).await?;
            set_port_vlans(&self.host, &port, Some(vlan), &[], false).await?;
        }
        let gateway = self.host.existing(name).await?;
        self.host.set_up(gateway.index, name).await?;
        self.vlan_gateway = Some(gateway);
        Ok(())
    }

    /// Bridge, host end and container's end as the result lists them, with the hardware addresses they have now.
    pub(super) async fn interfaces(&self, conf: &BridgeConf) -> Result<Vec<Interface>, Failure> {
        let bridge = self.host.existing(&conf.bridge).await?;
        let pair = self.pair()?;
        let interface = |link: &Link, sandbox: &str| Interface {
            name: link.name.clone(),
            mac: link.mac_text(),
            sandbox: sandbox.to_string(),
            ..Interface::default()
        };
        let mut list =
            vec![interface(&bridge, ""), interface(&pair.host, ""), interface(&pair.container, &self.request.netns)];
        list.extend(self.vlan_gateway.iter().map(|link| interface(link, "")));
        Ok(list)
    }

    /// Takes back the pair that this ADD made.
    pub(super) async fn remove_veth(&self) -> Result<(), Failure> {
        match &self.veth {
            Some(pair) => self.host.remove(pair.host.index, &pair.host.name).await,
            None => Ok(()),
        }
    }
}

/// Routes on these links are the plugin's business alone.
fn ignore_router_advertisements(name: &str) {
    let key = format!("net/ipv6/conf/{name}/accept_ra");
    if sysctl::exists(&key) {
        let _ = sysctl::ensure(&key, "0");
    }
}

async fn set_port_vlans(
    host: &Links,
    port: &Link,
    access: Option<u16>,
    trunk: &[u16],
    keep_default: bool,
) -> Result<(), Failure> {
    if !keep_default {
        for id in host.vlans(port.index, &port.name).await? {
            host.remove_vlan(port.index, &port.name, id).await?;
        }
    }
    if let Some(id) = access {
        host.add_vlan(port.index, &port.name, id, true).await?;
    }
    for id in trunk {
        host.add_vlan(port.index, &port.name, *id, false).await?;
    }
    Ok(())
}
