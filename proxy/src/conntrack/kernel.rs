//! The kernel's table of connections over netlink: UDP flows listed by what they go to, and deleted one by one.
//!
//! The kernel filters what it lists (since Linux 5.8; before, it lists everything): of a hundred thousand flows only those
//! to a Service's address are written out and read.

use std::io;
use std::net::{IpAddr, SocketAddr};

use nix::errno::Errno;

use crate::model::Family;
use crate::netlink::attributes::Parsed;
use crate::netlink::{self, Attributes, exchange, flag};

/// `NFNL_SUBSYS_CTNETLINK`, and its messages.
const SUBSYSTEM: u16 = 1 << 8;
const NEW: u16 = SUBSYSTEM;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;

/// `CTA_…`.
const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;
/// `CTA_TUPLE_…`.
const IP: u16 = 1;
const PROTO: u16 = 2;
/// `CTA_PROTO_…`.
const NUM: u16 = 1;
const SRC_PORT: u16 = 2;
const DST_PORT: u16 = 3;

/// `CTA_FILTER_F_…`: the parts of a tuple that must be equal.
const IS_IP_DST: u32 = 1 << 1;
const IS_PROTO_NUM: u32 = 1 << 3;
const IS_DST_PORT: u32 = 1 << 5;

const UDP: u8 = 17;

/// Which flows are listed, by where they went to at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    Udp,
    To(SocketAddr),
    ToPort(u16),
}

/// A UDP flow: where it went to, who answers, and how the kernel knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) destination: SocketAddr,
    pub(super) answers_from: SocketAddr,
    /// Attributes that name it.
    pub(super) key: Vec<u8>,
}

/// Calls `each` with every flow that the filter lets through, and with others where the kernel cannot tell.
pub(super) fn list(family: Family, filter: Filter, mut each: impl FnMut(Flow)) -> io::Result<()> {
    let question = netlink::message(GET, flag::DUMP, family, |message| write_filter(message, filter));
    let asked = exchange(&question, |answer| {
        if answer.kind == NEW {
            flow_of(&answer.attributes()).into_iter().for_each(&mut each);
        }
        answer.ended()
    })?;
    match asked {
        // The table changed under the list, as it always does where much goes on: what was seen counts.
        Ok(()) | Err((_, Errno::EINTR)) => Ok(()),
        Err((_, errno)) => Err(errno.into()),
    }
}

/// Fails when it is gone.
pub(super) fn delete(family: Family, flow: &Flow) -> io::Result<()> {
    let message = netlink::message(DELETE, flag::ACK, family, |message| message.0.extend(&flow.key));
    exchange(&message, |answer| answer.ended())?.map_err(|(_, errno)| errno.into())
}

fn write_filter(message: &mut Attributes, filter: Filter) {
    let (ip, port) = match filter {
        Filter::Udp => (None, None),
        Filter::To(SocketAddr::V4(address)) => (Some(*address.ip()), Some(address.port())),
        // With an IPv6 address the kernel lists all flows but those to it (`ctnetlink_filter_match_tuple`, Linux 6.18).
        Filter::To(SocketAddr::V6(address)) => (None, Some(address.port())),
        Filter::ToPort(port) => (None, Some(port)),
    };
    message.nest(TUPLE_ORIG, |tuple| {
        if let Some(ip) = ip {
            tuple.nest(IP, |nested| nested.bytes(2, &ip.octets()));
        }
        tuple.nest(PROTO, |nested| {
            nested.bytes(NUM, &[UDP]);
            port.into_iter().for_each(|port| nested.bytes(DST_PORT, &port.to_be_bytes()));
        });
    });
    let of = |is_given: bool, bit: u32| if is_given { bit } else { 0 };
    let flags = IS_PROTO_NUM | of(ip.is_some(), IS_IP_DST) | of(port.is_some(), IS_DST_PORT);
    // In the host's order, other than all else.
    message.nest(FILTER, |nested| nested.bytes(1, &flags.to_ne_bytes()));
}

fn flow_of(attributes: &Parsed) -> Option<Flow> {
    let (original, reply) = (attributes.nested(TUPLE_ORIG)?, attributes.nested(TUPLE_REPLY)?);
    if original.nested(PROTO)?.get(NUM)? != [UDP] {
        return None;
    }
    let mut key = Vec::new();
    for kind in [TUPLE_ORIG, ID, ZONE] {
        attributes.get(kind).into_iter().for_each(|value| match kind {
            TUPLE_ORIG => Attributes(&mut key).nest(kind, |nested| nested.0.extend(value)),
            _ => Attributes(&mut key).bytes(kind, value),
        });
    }
    Some(Flow { destination: end_of(&original, 2, DST_PORT)?, answers_from: end_of(&reply, 1, SRC_PORT)?, key })
}

/// One end of a tuple: `ip` is the number of the attribute with an IPv4 address, two less than IPv6's.
fn end_of(tuple: &Parsed, ip: u16, port: u16) -> Option<SocketAddr> {
    let addresses = tuple.nested(IP)?;
    let v4 = || Some(IpAddr::from(*addresses.get(ip)?.first_chunk::<4>()?));
    let v6 = || Some(IpAddr::from(*addresses.get(ip + 2)?.first_chunk::<16>()?));
    let port = tuple.nested(PROTO)?.get(port)?.first_chunk()?;
    Some(SocketAddr::new(v4().or_else(v6)?, u16::from_be_bytes(*port)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::{Ipv4Addr, UdpSocket};
    use std::process::Command;

    use nix::sched::{CloneFlags, unshare};

    use super::*;

    fn sh(script: &str) -> String {
        let output = Command::new("sh").args(["-c", script]).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn listed(family: Family, filter: Filter) -> Vec<Flow> {
        let mut flows = Vec::new();
        list(family, filter, |flow| flows.push(flow)).unwrap();
        flows
    }

    fn ports(flows: &[Flow]) -> BTreeSet<u16> {
        flows.iter().map(|flow| flow.destination.port()).collect()
    }

    /// Needs root: `cargo test -p proxy --lib -- --ignored`.
    #[test]
    #[ignore = "needs root"]
    fn flows_are_listed_by_where_they_go_and_deleted_alone() {
        let test = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("needs root");
            // Connections are tracked only where a rule wants to know.
            sh(
                "ip link set lo up; iptables -t nat -A OUTPUT -d 127.0.0.9 -p udp --dport 5300 -j DNAT --to 127.0.0.1:53; \
                ip6tables -t nat -A OUTPUT -d ::9 -p udp -j DNAT --to [::1]:53",
            );
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            for to in ["127.0.0.9:5300", "127.0.0.1:5301", "127.0.0.2:5301"] {
                socket.send_to(b"?", to).unwrap();
            }
            std::net::TcpStream::connect("127.0.0.1:5301").unwrap_err();
            UdpSocket::bind("[::1]:0").unwrap().send_to(b"?", "[::1]:5302").unwrap();
            assert_eq!(ports(&listed(Family::V4, Filter::Udp)), BTreeSet::from([5300, 5301]));
            assert_eq!(ports(&listed(Family::V6, Filter::Udp)), BTreeSet::from([5302]));
            assert_eq!(listed(Family::V6, Filter::To("[::1]:5302".parse().unwrap())).len(), 1);
            assert_eq!(listed(Family::V4, Filter::ToPort(5301)).len(), 2);
            let to = Filter::To("127.0.0.2:5301".parse().unwrap());
            let flow = listed(Family::V4, to).pop().unwrap();
            assert_eq!(flow.answers_from, flow.destination);
            delete(Family::V4, &flow).unwrap();
            assert_eq!(listed(Family::V4, to), []);
            assert_eq!(listed(Family::V4, Filter::ToPort(5301)).len(), 1);
            assert_eq!(delete(Family::V4, &flow).unwrap_err().raw_os_error(), Some(Errno::ENOENT as i32));
            let translated = listed(Family::V4, Filter::ToPort(5300)).pop().unwrap();
            assert_eq!(translated.answers_from.to_string(), "127.0.0.1:53");
        };
        std::thread::spawn(test).join().unwrap();
    }
}
