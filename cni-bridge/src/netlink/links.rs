//! Links: looking up, making, setting, removing.

use futures::TryStreamExt;
use nix::errno::Errno;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::{
    BridgeVlanInfoFlags, InfoBridge, InfoData, InfoVeth, LinkAttribute, LinkExtentMask, LinkMessage,
};
use rtnetlink::{LinkBridge, LinkBridgePort, LinkBridgeVlan, LinkMessageBuilder, LinkUnspec, LinkVeth};

use super::read::{link_of, vlan_ids};
use super::{Link, Links, VethPair, failure, is};
use crate::cni::Failure;

impl Links {
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
