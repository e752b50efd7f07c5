//! Addresses to listen on. Errors are in the words of upstream's servers, which are Go's: network, address, what failed, why.

use std::{io, net::SocketAddr};

use rustix::net::sockopt::set_ipv6_v6only;
use tokio::net::{TcpListener, TcpSocket};

const BACKLOG: u32 = 1024;

/// Listens; an address of IPv6 that is nobody's may take IPv4 as well, as the host has it.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    listen("tcp", address, |_| Ok(()))
}

/// Listens for the address's own family alone, so that both can have the same port.
pub fn bind_family(address: SocketAddr) -> io::Result<TcpListener> {
    if address.is_ipv4() {
        return listen("tcp4", address, |_| Ok(()));
    }
    listen("tcp6", address, |socket| Ok(set_ipv6_v6only(socket, true)?))
}

fn listen(
    network: &str,
    address: SocketAddr,
    prepare: impl FnOnce(&TcpSocket) -> io::Result<()>,
) -> io::Result<TcpListener> {
    let failed = |step: &'static str| {
        move |error: io::Error| {
            io::Error::new(error.kind(), format!("listen {network} {address}: {step}: {}", go(&error)))
        }
    };
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(failed("socket"))?;
    socket.set_reuseaddr(true).and_then(|()| prepare(&socket)).map_err(failed("setsockopt"))?;
    socket.bind(address).map_err(failed("bind"))?;
    socket.listen(BACKLOG).map_err(failed("listen"))
}

/// Rust's words for a system's error are C's with its number behind them; Go's begin with a small letter.
fn go(error: &io::Error) -> String {
    let text = error.to_string();
    let mut text = text.split(" (os error").next().unwrap_or_default().to_owned();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    text
}
