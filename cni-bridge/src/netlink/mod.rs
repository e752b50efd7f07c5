//! Links, addresses and routes over rtnetlink, in words that say what was tried on what.
//!
//! A [`Links`] is one netlink socket: it works for ever in the namespace that its thread was in at
//! [`Links::connect`]. Knows nothing of CNI configurations.

mod addresses;
mod links;
mod read;

use std::future::Future;
use std::net::IpAddr;

use futures::channel::mpsc::UnboundedReceiver;
use ipnet::IpNet;
use nix::errno::Errno;
use rtnetlink::packet_core::NetlinkMessage;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::SocketAddr;
use rtnetlink::{Handle, MulticastGroup};

use crate::cni::Failure;

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

/// What a follower is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Follow {
    Links,
    Addresses,
}

/// A netlink socket; see the module's header.
pub(crate) struct Links {
    handle: Handle,
}

type Event = (NetlinkMessage<RouteNetlinkMessage>, SocketAddr);

/// Word of changes, on a socket of its own: where many links change at once, a socket overflows, and the kernel would drop
/// the answer to a request as it drops events. Opened only once there is something to wait for, as each new link is told
/// of ten times.
pub(crate) struct Follower {
    /// Keeps the socket open.
    _handle: Handle,
    events: UnboundedReceiver<Event>,
}

impl Links {
    /// Opens a socket in the thread's present namespace; the task that serves it ends with the runtime.
    pub(crate) fn connect() -> Result<Links, Failure> {
        open(&[]).map(|(handle, _)| Links { handle })
    }
}

impl Follower {
    /// In the thread's present namespace. What changed before is not told.
    pub(crate) fn open(follow: Follow) -> Result<Follower, Failure> {
        let group = match follow {
            Follow::Links => MulticastGroup::Link,
            Follow::Addresses => MulticastGroup::Ipv6Ifaddr,
        };
        open(&[group]).map(|(handle, events)| Follower { _handle: handle, events })
    }
}

fn open(groups: &[MulticastGroup]) -> Result<(Handle, UnboundedReceiver<Event>), Failure> {
    let (connection, handle, events) = rtnetlink::new_multicast_connection(groups)
        .map_err(|error| Failure::internal(format!("failed to open a netlink socket: {error}")))?;
    tokio::spawn(connection);
    Ok((handle, events))
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
