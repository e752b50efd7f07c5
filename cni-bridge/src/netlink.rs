//! Links, addresses and routes over rtnetlink, in words that say what was tried on what.
//!
//! A [`Links`] is one netlink socket: it works for ever in the namespace that its thread was in at
//! [`Links::connect`]. Knows nothing of CNI configurations.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use futures::channel::mpsc::UnboundedReceiver;
use futures::{StreamExt, TryStreamExt};
use ipnet::IpNet;
use nix::errno::Errno;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use rtnetlink::packet_route::link::{
    AfSpecBridge, BridgeVlanInfoFlags, InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkExtentMask,
    LinkFlags, LinkInfo, LinkMessage, State,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteScope};
use rtnetlink::sys::SocketAddr;
use rtnetlink::{
    AddressMessageBuilder, Handle, LinkBridge, LinkBridgePort, LinkBridgeVlan, LinkMessageBuilder, LinkUnspec,
    LinkVeth, MulticastGroup, RouteMessageBuilder,
};

use crate::cni::Failure;
use crate::cni::result::Route;

/// Runs a plugin on this thread alone; see `netns` for why there must not be a second one.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::internal(format!("cannot start: {error}")))?
        .block_on(work)
}

/// A link as the kernel describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mac: Vec<u8>,
    pub(crate) mtu: u32,
    /// `bridge`, `veth`, …; empty for a physical device.
    pub(crate) kind: String,
    /// Index of the bridge that it is a port of; 0 for none.
    pub(crate) controller: u32,
    /// A veth's other end, as an index in the other end's namespace.
    pub(crate) peer: u32,
    pub(crate) is_up: bool,
    /// Ready to carry traffic (RFC 2863 operational state).
    pub(crate) is_operational: bool,
    pub(crate) is_promiscuous: bool,
}

impl Link {
    pub(crate) fn mac_text(&self) -> String {
        mac_text(&self.mac)
    }
}

pub(crate) fn mac_text(mac: &[u8]) -> String {
    mac.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// A new veth pair: the host's end, already a port of a bridge, and the container's in another namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VethPair<'a> {
    pub(crate) host_name: &'a str,
    pub(crate) container_name: &'a str,
    pub(crate) container_netns_fd: i32,
    pub(crate) controller: u32,
    /// 0: the kernel's default.
    pub(crate) mtu: u32,
    /// The container's end; `None`: the kernel's choice.
    pub(crate) mac: Option<&'a [u8]>,
}

/// A route of the kernel's; `link` is the index of the link it leaves by, 0 for none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RouteEntry {
    pub(crate) dst: IpNet,
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) link: u32,
}

/// What a socket is told of without asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Follow {
    Nothing,
    Links,
    Addresses,
}

/// A netlink socket; see the module's header.
pub(crate) struct Links {
    handle: Handle,
    events: UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>,
}

impl Links {
    /// Opens a socket in the thread's present namespace; the task that serves it ends with the runtime.
    ///
    /// `follow`: be told of changes, for [`Links::wait_operational`] and [`Links::wait_settled`].
    pub(crate) fn connect(follow: Follow) -> Result<Links, Failure> {
        let groups = match follow {
            Follow::Nothing => &[][..],
            Follow::Links => &[MulticastGroup::Link],
            Follow::Addresses => &[MulticastGroup::Ipv6Ifaddr],
        };
        let (connection, handle, events) = rtnetlink::new_multicast_connection(groups)
            .map_err(|error| Failure::internal(format!("failed to open a netlink socket: {error}")))?;
        tokio::spawn(connection);
        Ok(Links { handle, events })
    }

    pub(crate) async fn get(&self, name: &str) -> Result<Option<Link>, Failure> {
        let request = self.handle.link().get().match_name(name);
        match request.execute().try_next().await {
            Ok(message) => Ok(message.map(|message| link_of(&message))),
            Err(error) if is(&error, &[Errno::ENODEV, Errno::ENOENT]) => Ok(None),
            Err(error) => Err(failure("look up link", name, &error)),
        }
    }

    pub(crate) async fn existing(&self, name: &str) -> Result<Link, Failure> {
        self.get(name).await?.ok_or_else(|| Failure::internal(format!("failed to look up link {name:?}: not found")))
    }

    /// `false` when a link of that name is there already.
    pub(crate) async fn add_bridge(&self, name: &str, mtu: u32, vlan_filtering: bool) -> Result<bool, Failure> {
        let mut builder = LinkBridge::new(name);
        if mtu > 0 {
            builder = builder.mtu(mtu);
        }
        if vlan_filtering {
            builder = builder.set_info_data(InfoData::Bridge(vec![InfoBridge::VlanFiltering(true)]));
        }
        match self.handle.link().add(builder.build()).execute().await {
            Ok(()) => Ok(true),
            Err(error) if is(&error, &[Errno::EEXIST]) => Ok(false),
            Err(error) => Err(failure("add bridge", name, &error)),
        }
    }

    /// Makes both ends in one message, so that a kill leaves either nothing or a pair that dies with the container's
    /// namespace. `false` when one of the names is taken.
    pub(crate) async fn add_veth(&self, pair: &VethPair<'_>) -> Result<bool, Failure> {
        let mut peer = LinkMessageBuilder::<LinkUnspec>::new()
            .name(pair.container_name)
            .append_extra_attribute(LinkAttribute::NetNsFd(pair.container_netns_fd));
        if pair.mtu > 0 {
            peer = peer.mtu(pair.mtu);
        }
        if let Some(mac) = pair.mac {
            peer = peer.address(mac.to_vec());
        }
        let mut host = LinkVeth::new(pair.host_name, pair.container_name)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer.build())))
            .controller(pair.controller)
            .up();
        if pair.mtu > 0 {
            host = host.mtu(pair.mtu);
        }
        match self.handle.link().add(host.build()).execute().await {
            Ok(()) => Ok(true),
            Err(error) if is(&error, &[Errno::EEXIST]) => Ok(false),
            Err(error) => Err(failure("make veth pair", pair.host_name, &error)),
        }
    }

    pub(crate) async fn set_port(&self, index: u32, name: &str, hairpin: bool, isolated: bool) -> Result<(), Failure> {
        let message = LinkBridgePort::new(index).append_info_data_pair(hairpin, isolated).build();
        self.handle
            .link()
            .set_port(message)
            .execute()
            .await
            .map_err(|error| failure("set bridge port of", name, &error))
    }

    pub(crate) async fn set_up(&self, index: u32, name: &str) -> Result<(), Failure> {
        self.set(LinkUnspec::new_with_index(index).up().build(), "set up", name).await
    }

    pub(crate) async fn set_down(&self, index: u32, name: &str) -> Result<(), Failure> {
        self.set(LinkUnspec::new_with_index(index).down().build(), "set down", name).await
    }

    pub(crate) async fn set_promiscuous(&self, index: u32, name: &str) -> Result<(), Failure> {
        self.set(LinkUnspec::new_with_index(index).promiscuous(true).build(), "set promiscuous mode on", name).await
    }

    pub(crate) async fn set_mac(&self, index: u32, name: &str, mac: &[u8]) -> Result<(), Failure> {
        self.set(LinkUnspec::new_with_index(index).address(mac.to_vec()).build(), "set mac of", name).await
    }

    async fn set(&self, message: LinkMessage, operation: &str, name: &str) -> Result<(), Failure> {
        self.handle.link().set(message).execute().await.map_err(|error| failure(operation, name, &error))
    }

    /// Succeeds when the link is gone already.
    pub(crate) async fn remove(&self, index: u32, name: &str) -> Result<(), Failure> {
        match self.handle.link().del(index).execute().await {
            Err(error) if !is(&error, &[Errno::ENODEV]) => Err(failure("delete link", name, &error)),
            _ => Ok(()),
        }
    }

    /// The VLAN ids on a bridge port.
    pub(crate) async fn vlans(&self, index: u32, name: &str) -> Result<Vec<u16>, Failure> {
        let filter = vec![LinkExtentMask::Brvlan];
        let request = self.handle.link().get().set_filter_mask(AddressFamily::Bridge, filter);
        let messages: Vec<LinkMessage> =
            request.execute().try_collect().await.map_err(|error| failure("list vlans of", name, &error))?;
        let ours = messages.into_iter().filter(|message| message.header.index == index);
        Ok(ours.flat_map(|message| message.attributes).flat_map(vlan_ids).collect())
    }

    pub(crate) async fn add_vlan(&self, index: u32, name: &str, id: u16, untagged_pvid: bool) -> Result<(), Failure> {
        let flags = if untagged_pvid {
            BridgeVlanInfoFlags::Pvid | BridgeVlanInfoFlags::Untagged
        } else {
            BridgeVlanInfoFlags::empty()
        };
        self.set(LinkBridgeVlan::new(index).vlan(id, flags).build(), "add vlan tag to", name).await
    }

    pub(crate) async fn remove_vlan(&self, index: u32, name: &str, id: u16) -> Result<(), Failure> {
        let message = LinkBridgeVlan::new(index).vlan(id, BridgeVlanInfoFlags::empty()).build();
        self.handle
            .link()
            .del_with_message(message)
            .execute()
            .await
            .map_err(|error| failure("remove default vlan of", name, &error))
    }

    pub(crate) async fn addresses(&self, index: u32, name: &str) -> Result<Vec<IpNet>, Failure> {
        Ok(self.address_messages(index, name).await?.iter().filter_map(address_of).collect())
    }

    async fn address_messages(&self, index: u32, name: &str) -> Result<Vec<AddressMessage>, Failure> {
        let request = self.handle.address().get().set_link_index_filter(index);
        request.execute().try_collect().await.map_err(|error| failure("list addresses of", name, &error))
    }

    /// Succeeds when it is there already.
    pub(crate) async fn ensure_address(&self, index: u32, name: &str, net: IpNet) -> Result<(), Failure> {
        match self.handle.address().add(index, net.addr(), net.prefix_len()).execute().await {
            Err(error) if !is(&error, &[Errno::EEXIST]) => {
                Err(failure(&format!("add IP address {net} to"), name, &error))
            }
            _ => Ok(()),
        }
    }

    pub(crate) async fn remove_address(&self, index: u32, name: &str, net: IpNet) -> Result<(), Failure> {
        let message = match net {
            IpNet::V4(net) => {
                AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(net.addr(), net.prefix_len()).build()
            }
            IpNet::V6(net) => {
                AddressMessageBuilder::<Ipv6Addr>::new().index(index).address(net.addr(), net.prefix_len()).build()
            }
        };
        match self.handle.address().del(message).execute().await {
            Err(error) if !is(&error, &[Errno::EADDRNOTAVAIL]) => {
                Err(failure(&format!("remove IP address {net} from"), name, &error))
            }
            _ => Ok(()),
        }
    }

    pub(crate) async fn add_route(&self, index: u32, name: &str, route: &Route) -> Result<(), Failure> {
        let refuse = |error: &dyn std::fmt::Display| {
            let gw = route.gw.map_or("none".to_string(), |gw| gw.to_string());
            Failure::internal(format!("failed to add route '{} via {gw} dev {name}': {error}", route.dst))
        };
        let mut builder = RouteMessageBuilder::<IpAddr>::new()
            .output_interface(index)
            .destination_prefix(route.dst.network(), route.dst.prefix_len())
            .map_err(|error| refuse(&error))?;
        if let Some(gw) = route.gw {
            builder = builder.gateway(gw).map_err(|error| refuse(&error))?;
        }
        if let Some(priority) = route.priority {
            builder = builder.priority(priority);
        }
        if let Some(table) = route.table {
            builder = builder.table_id(table);
        }
        if let Some(scope) = route.scope {
            builder = builder.scope(RouteScope::from(scope));
        }
        let mut message = builder.build();
        let metrics: Vec<RouteMetric> =
            [route.mtu.map(RouteMetric::Mtu), route.advmss.map(RouteMetric::Advmss)].into_iter().flatten().collect();
        if !metrics.is_empty() {
            message.attributes.push(RouteAttribute::Metrics(metrics));
        }
        self.handle.route().add(message).execute().await.map_err(|error| refuse(&error))
    }

    /// Every route of a family; the default route's destination has prefix length 0.
    pub(crate) async fn routes(&self, is_v6: bool) -> Result<Vec<RouteEntry>, Failure> {
        let message = if is_v6 {
            RouteMessageBuilder::<Ipv6Addr>::new().build()
        } else {
            RouteMessageBuilder::<Ipv4Addr>::new().build()
        };
        let messages: Vec<RouteMessage> = self
            .handle
            .route()
            .get(message)
            .execute()
            .try_collect()
            .await
            .map_err(|error| failure("list", "routes", &error))?;
        Ok(messages.iter().filter_map(|message| route_of(message, is_v6)).collect())
    }

    /// The name of the link that traffic to `address` leaves by.
    pub(crate) async fn link_towards(&self, address: IpAddr) -> Result<Option<String>, Failure> {
        let routes = self.routes(address.is_ipv6()).await?;
        let best =
            routes.iter().filter(|route| route.dst.contains(&address)).max_by_key(|route| route.dst.prefix_len());
        let Some(route) = best else { return Ok(None) };
        let request = self.handle.link().get().match_index(route.link);
        let message = request
            .execute()
            .try_next()
            .await
            .map_err(|error| failure("look up link towards", &address.to_string(), &error))?;
        Ok(message.map(|message| link_of(&message).name))
    }

    /// Waits until duplicate address detection has let the link's IPv6 addresses go, told by address events.
    pub(crate) async fn wait_settled(&mut self, index: u32, name: &str, deadline: Duration) -> Result<(), Failure> {
        let wait = async {
            loop {
                let messages = self.address_messages(index, name).await?;
                let has = |flag| messages.iter().any(|message| flags_of(message).contains(flag));
                if has(AddressFlags::Dadfailed) {
                    return Err(Failure::internal(format!("link {name} has an address in DADFAILED state")));
                }
                if !has(AddressFlags::Tentative) || self.events.next().await.is_none() {
                    return Ok(());
                }
            }
        };
        match tokio::time::timeout(deadline, wait).await {
            Ok(settled) => settled,
            Err(_) if self.existing(name).await?.is_operational => {
                Err(Failure::internal(format!("link {name} still has tentative addresses after {deadline:?}")))
            }
            Err(_) => Ok(()),
        }
    }

    /// Waits until the link carries traffic: a bridge port starts to forward a moment after its peer comes up, told by
    /// a link event, and a packet sent before is lost.
    pub(crate) async fn wait_operational(&mut self, name: &str, deadline: Duration) -> Result<Link, Failure> {
        let link = self.existing(name).await?;
        if link.is_operational {
            return Ok(link);
        }
        let index = link.index;
        let events = &mut self.events;
        let wait = async move {
            while let Some((message, _)) = events.next().await {
                if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(message)) = message.payload
                    && message.header.index == index
                    && link_of(&message).is_operational
                {
                    return;
                }
            }
        };
        let waited = tokio::time::timeout(deadline, wait).await;
        let link = self.existing(name).await?;
        match waited {
            Err(_) if !link.is_operational => {
                Err(Failure::internal(format!("bridge port {name:?} in error state: not up")))
            }
            _ => Ok(link),
        }
    }
}

/// The two switches of a bridge port that CNI sets.
trait PortSwitches {
    fn append_info_data_pair(self, hairpin: bool, isolated: bool) -> Self;
}

impl PortSwitches for LinkMessageBuilder<LinkBridgePort> {
    /// Kernels before 4.18 do not know `isolated`: it is sent only when wanted (a new port has it off).
    fn append_info_data_pair(self, hairpin: bool, isolated: bool) -> Self {
        let builder = self.hairpin(hairpin);
        if isolated { builder.isolated(true) } else { builder }
    }
}

fn link_of(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        is_up: message.header.flags.contains(LinkFlags::Up),
        is_promiscuous: message.header.flags.contains(LinkFlags::Promisc),
        ..Link::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name.clone(),
            LinkAttribute::Address(mac) => link.mac = mac.clone(),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Controller(index) => link.controller = *index,
            LinkAttribute::Link(index) => link.peer = *index,
            LinkAttribute::OperState(state) => link.is_operational = *state == State::Up,
            LinkAttribute::Promiscuity(count) => link.is_promiscuous |= *count > 0,
            LinkAttribute::LinkInfo(infos) => link.kind = kind_of(infos),
            _ => {}
        }
    }
    link
}

fn kind_of(infos: &[LinkInfo]) -> String {
    let kind = infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    });
    match kind {
        Some(InfoKind::Bridge) => "bridge".to_string(),
        Some(InfoKind::Veth) => "veth".to_string(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

fn vlan_ids(attribute: LinkAttribute) -> Vec<u16> {
    let LinkAttribute::AfSpecBridge(specs) = attribute else { return Vec::new() };
    let ids = specs.into_iter().filter_map(|spec| match spec {
        AfSpecBridge::VlanInfo(info) => Some(info.vid),
        _ => None,
    });
    ids.collect()
}

/// The wide flags attribute where the kernel sends one, else the header's.
fn flags_of(message: &AddressMessage) -> AddressFlags {
    let wide = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Flags(flags) => Some(*flags),
        _ => None,
    });
    wide.unwrap_or_else(|| AddressFlags::from_bits_retain(u32::from(message.header.flags.bits())))
}

/// `IFA_LOCAL` is the address itself, `IFA_ADDRESS` on a point-to-point link the other end's.
fn address_of(message: &AddressMessage) -> Option<IpNet> {
    let find = |pick: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(pick);
    let local = find(|attribute| if let AddressAttribute::Local(ip) = attribute { Some(*ip) } else { None });
    let address = find(|attribute| if let AddressAttribute::Address(ip) = attribute { Some(*ip) } else { None });
    IpNet::new(local.or(address)?, message.header.prefix_len).ok()
}

fn route_of(message: &RouteMessage, is_v6: bool) -> Option<RouteEntry> {
    let unspecified = if is_v6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    let (mut destination, mut gateway, mut link) = (unspecified, None, 0);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip_of(address)?,
            RouteAttribute::Gateway(address) => gateway = ip_of(address),
            RouteAttribute::Oif(index) => link = *index,
            _ => {}
        }
    }
    let dst = IpNet::new(destination, message.header.destination_prefix_length).ok()?;
    Some(RouteEntry { dst, gateway, link })
}

fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}

fn is(error: &rtnetlink::Error, errnos: &[Errno]) -> bool {
    let rtnetlink::Error::NetlinkError(message) = error else { return false };
    errnos.iter().any(|errno| message.raw_code() == -(*errno as i32))
}

fn failure(operation: &str, name: &str, error: &rtnetlink::Error) -> Failure {
    let reason = match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io().to_string(),
        other => other.to_string(),
    };
    Failure::internal(format!("failed to {operation} {name:?}: {reason}"))
}
