//! Addresses to listen on. Errors are in the words of upstream's servers, which are Go's: network, address, what failed, why.

use std::{io, net::SocketAddr};

use rustix::net::sockopt::set_ipv6_v6only;
use tokio::net::{TcpListener, TcpSocket};

const BACKLOG: u32 = 1024;

/// An address that nobody else can have, and where nobody is heard yet.
pub struct Claim {
    socket: TcpSocket,
    network: &'static str,
    address: SocketAddr,
}

/// Takes an address; one of IPv6 that is nobody's may take IPv4 as well, as the host has it.
pub fn claim(address: SocketAddr) -> io::Result<Claim> {
    claim_as("tcp", address, |_| Ok(()))
}

/// Listens, as [`claim`] takes the address.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    claim(address)?.listen()
}

/// Listens for the address's own family alone, so that both can have the same port.
pub fn bind_family(address: SocketAddr) -> io::Result<TcpListener> {
    if address.is_ipv4() {
        return claim_as("tcp4", address, |_| Ok(()))?.listen();
    }
    claim_as("tcp6", address, |socket| Ok(set_ipv6_v6only(socket, true)?))?.listen()
}

fn claim_as(
    network: &'static str,
    address: SocketAddr,
    prepare: impl FnOnce(&TcpSocket) -> io::Result<()>,
) -> io::Result<Claim> {
    let failed = failed(network, address);
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(|error| failed("socket", &error))?;
    let prepared = socket.set_reuseaddr(true).and_then(|()| prepare(&socket));
    prepared.map_err(|error| failed("setsockopt", &error))?;
    socket.bind(address).map_err(|error| failed("bind", &error))?;
    Ok(Claim { socket, network, address })
}

impl Claim {
    /// With the port that was chosen where none was asked for.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    pub fn listen(self) -> io::Result<TcpListener> {
        let failed = failed(self.network, self.address);
        self.socket.listen(BACKLOG).map_err(|error| failed("listen", &error))
    }
}

fn failed(network: &'static str, address: SocketAddr) -> impl Fn(&str, &io::Error) -> io::Error {
    move |step, error| io::Error::new(error.kind(), format!("listen {network} {address}: {step}: {}", go(error)))
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
