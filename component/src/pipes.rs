//! Connections in memory, for parts that share a process with the API server: no socket, no TLS.
//!
//! Whoever starts the parts makes one [`Pipes`] and gives it to all of them. The server tells it where it will listen
//! ([`Pipes::listen`]), before its port opens, and takes what comes through it beside what comes through that port. A
//! client that is about to connect to such an address gets one end of a pipe, and the server the other; all else goes by
//! TCP, for a part's kubeconfig may name any server. Who is at the ends is settled by a whole TLS handshake, without the
//! wire: the server's certificate is judged, and the client's is shown and its key proved. What is said after it is
//! plain, for only the process itself reads its memory. What goes over the pipes is not known here.

use std::{
    future::pending,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{ClientConfig, ServerConfig, pki_types::ServerName};
use tokio::{
    io::{DuplexStream, duplex},
    sync::{mpsc, watch},
};

use crate::{serve::PeerInfo, tls};

/// What may be on its way in one direction. A pipe takes memory as it is filled and keeps it, so at rest each costs what it
/// once needed, and at most a few times this. A frame of HTTP/2 (16 KiB and its head) and the small ones beside it go in one piece: who
/// writes a list is woken once a frame or two, and no oftener than TLS's records make it.
const BUFFER_BYTES: usize = 32 << 10;
/// Connections that the server has not taken yet; more wait. Each client makes one.
const BACKLOG: usize = 64;

/// The servers of this process that are reached without a wire; at most one, the latest. Clones are the same; one that no
/// server knows of leads nowhere, and everything goes by TCP.
#[derive(Clone, Default)]
pub struct Pipes(Arc<Mutex<Option<Arc<Server>>>>);

struct Server {
    bound: SocketAddr,
    advertised: IpAddr,
    tls: watch::Receiver<Option<Arc<ServerConfig>>>,
    arrivals: mpsc::Sender<Arrival>,
}

/// A connection as the server gets it.
pub(crate) struct Arrival {
    pub(crate) stream: DuplexStream,
    pub(crate) peer: PeerInfo,
}

/// A connection as the client gets it.
pub(crate) struct Connected {
    pub(crate) stream: DuplexStream,
    pub(crate) alpn_protocol: Option<Vec<u8>>,
}

/// Where connections come in. Dropped, it refuses them: they go by TCP then, and hear there that nobody listens.
pub struct Listener {
    arrivals: mpsc::Receiver<Arrival>,
    tls: watch::Sender<Option<Arc<ServerConfig>>>,
}

impl Pipes {
    /// Takes the connections to a server whose port is bound to `bound`: until [`Listener::speak`] they wait. Bound to all
    /// addresses, it is reached by loopback and by the `advertised` one.
    pub fn listen(&self, bound: SocketAddr, advertised: IpAddr) -> Listener {
        let (sender, arrivals) = mpsc::channel(BACKLOG);
        let (tls, spoken) = watch::channel(None);
        let server = Server { bound, advertised, tls: spoken, arrivals: sender };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(server));
        Listener { arrivals, tls }
    }

    /// Connects to the server that listens at `address`; `None` where none of this process does. Errors are those of the
    /// handshake.
    pub(crate) async fn connect(
        &self,
        address: SocketAddr,
        name: &ServerName<'static>,
        client: &Arc<ClientConfig>,
    ) -> io::Result<Option<Connected>> {
        let server = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(server) = server.filter(|server| server.is_at(address)) else { return Ok(None) };
        let Ok(place) = server.arrivals.reserve().await else { return Ok(None) };
        let Some(spoken) = server.spoken().await else { return Ok(None) };
        let settled = tls::handshake(client.clone(), name.clone(), spoken)?;
        // Who connects to an address of his own machine does so from that address.
        let remote = SocketAddr::new(address.ip(), 0);
        let peer = PeerInfo { remote, local: address, tls: true, certificates: settled.certificates };
        let (stream, other) = duplex(BUFFER_BYTES);
        place.send(Arrival { stream: other, peer });
        // A server that has ended meanwhile does not look again.
        if server.arrivals.is_closed() {
            return Ok(None);
        }
        Ok(Some(Connected { stream, alpn_protocol: settled.alpn_protocol }))
    }
}

impl Server {
    /// What speaks for it; `None` when it ended before it could say so.
    async fn spoken(&self) -> Option<Arc<ServerConfig>> {
        self.tls.clone().wait_for(Option::is_some).await.ok()?.clone()
    }

    fn is_at(&self, address: SocketAddr) -> bool {
        if self.bound.port() != address.port() || self.arrivals.is_closed() {
            return false;
        }
        let (bound, wanted) = (self.bound.ip(), address.ip());
        if !bound.is_unspecified() {
            return bound == wanted;
        }
        (bound.is_ipv6() || wanted.is_ipv4()) && (wanted.is_loopback() || wanted == self.advertised)
    }
}

impl Listener {
    /// What speaks for the server from now on.
    pub fn speak(&self, tls: Arc<ServerConfig>) {
        self.tls.send_replace(Some(tls));
    }

    /// The next connection. Waits for ever once another server has taken this one's place.
    pub(crate) async fn accept(&mut self) -> Arrival {
        match self.arrivals.recv().await {
            Some(arrival) => arrival,
            None => pending().await,
        }
    }
}

impl std::fmt::Debug for Pipes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pipes")
    }
}

#[test]
fn a_server_is_where_its_port_is() {
    let advertised = "192.0.2.1".parse().expect("an address");
    let found = |bound: &str, wanted: &str| {
        let (arrivals, _open) = mpsc::channel(1);
        let bound = bound.parse().expect("an address");
        let (_, tls) = watch::channel(None);
        Server { bound, advertised, tls, arrivals }.is_at(wanted.parse().expect("an address"))
    };
    for (bound, wanted) in [
        ("0.0.0.0:6443", "127.0.0.1:6443"),
        ("0.0.0.0:6443", "127.9.9.9:6443"),
        ("0.0.0.0:6443", "192.0.2.1:6443"),
        ("[::]:6443", "192.0.2.1:6443"),
        ("[::]:6443", "[::1]:6443"),
        ("192.0.2.1:6443", "192.0.2.1:6443"),
        ("127.0.0.1:6443", "127.0.0.1:6443"),
    ] {
        assert!(found(bound, wanted), "{bound} is {wanted}");
    }
    for (bound, wanted) in [
        ("0.0.0.0:6443", "127.0.0.1:6444"),
        ("0.0.0.0:6443", "192.0.2.2:6443"),
        ("0.0.0.0:6443", "[::1]:6443"),
        ("192.0.2.2:6443", "192.0.2.1:6443"),
        ("192.0.2.1:6443", "127.0.0.1:6443"),
        ("127.0.0.1:6443", "127.0.0.2:6443"),
    ] {
        assert!(!found(bound, wanted), "{bound} is not {wanted}");
    }
}
