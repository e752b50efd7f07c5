//! Addresses and routes, and waiting for links and addresses to become usable.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use ipnet::IpNet;
use nix::errno::Errno;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressFlags, AddressMessage};
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage, RouteMetric, RouteScope};
use rtnetlink::{AddressMessageBuilder, RouteMessageBuilder};

use super::read::{address_of, flags_of, link_of, route_of};
use super::{Follow, Follower, Link, Links, RouteEntry, failure, is};
use crate::cni::Failure;
use crate::cni::result::Route;

impl Links {
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

    /// Waits until duplicate address detection has let the link's IPv6 addresses go, told by address events of the same
    /// namespace.
    pub(crate) async fn wait_settled(
        &self,
        follower: &mut Follower,
        index: u32,
        name: &str,
        deadline: Duration,
    ) -> Result<(), Failure> {
        let wait = async {
            loop {
                let messages = self.address_messages(index, name).await?;
                let has = |flag| messages.iter().any(|message| flags_of(message).contains(flag));
                if has(AddressFlags::Dadfailed) {
                    return Err(Failure::internal(format!("link {name} has an address in DADFAILED state")));
                }
                if !has(AddressFlags::Tentative) || follower.events.next().await.is_none() {
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
    pub(crate) async fn wait_operational(&self, name: &str, deadline: Duration) -> Result<Link, Failure> {
        let link = self.existing(name).await?;
        if link.is_operational {
            return Ok(link);
        }
        let mut follower = Follower::open(Follow::Links)?;
        let wait = async {
            loop {
                let link = self.existing(name).await?;
                if link.is_operational {
                    return Ok(link);
                }
                follower.change_of(link.index).await?;
            }
        };
        let not_up = |_| Err(Failure::internal(format!("bridge port {name:?} in error state: not up")));
        tokio::time::timeout(deadline, wait).await.unwrap_or_else(not_up)
    }
}

impl Follower {
    /// Until a link may have changed: an event says so, or events were lost.
    async fn change_of(&mut self, index: u32) -> Result<(), Failure> {
        while let Some((message, _)) = self.events.next().await {
            match message.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(other)) if other.header.index != index => {}
                _ => return Ok(()),
            }
        }
        Err(Failure::internal("the netlink socket has closed".to_owned()))
    }
}
