//! TLS's handshake with both of its ends in one hand: who is who is settled as over a wire, and nothing is encrypted.

use std::{io, sync::Arc};

use rustls::{
    ClientConfig, ClientConnection, ConnectionCommon, Error, ServerConfig, ServerConnection,
    pki_types::{CertificateDer, ServerName},
};

/// What both ends know after the handshake.
pub(crate) struct Settled {
    /// What the client showed, and holds the key of.
    pub(crate) certificates: Arc<[CertificateDer<'static>]>,
    pub(crate) alpn_protocol: Option<Vec<u8>>,
}

/// Makes the whole handshake. What fails, fails in the words in which the client would hear of it over a wire: a refusal
/// of the server's is an alert.
pub(crate) fn handshake(
    client: Arc<ClientConfig>,
    name: ServerName<'static>,
    server: Arc<ServerConfig>,
) -> io::Result<Settled> {
    let failed = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    let mut client = ClientConnection::new(client, name).map_err(failed)?;
    let mut server = ServerConnection::new(server).map_err(failed)?;
    while client.is_handshaking() || server.is_handshaking() {
        let heard = carry(&mut client, &mut server);
        let answered = carry(&mut server, &mut client).map_err(failed)?;
        if heard.map_err(failed)? + answered == 0 {
            return Err(failed(Error::HandshakeNotComplete));
        }
    }
    let certificates = server.peer_certificates().unwrap_or_default();
    let certificates = certificates.iter().map(|certificate| certificate.clone().into_owned()).collect();
    Ok(Settled { certificates, alpn_protocol: client.alpn_protocol().map(<[u8]>::to_vec) })
}

/// Carries over all that `from` has to say: how many bytes it was, or what the other end says to it.
fn carry<A, B>(from: &mut ConnectionCommon<A>, to: &mut ConnectionCommon<B>) -> Result<usize, Error> {
    let general = |error: io::Error| Error::General(error.to_string());
    let mut said = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut said).map_err(general)?;
    }
    let mut rest = said.as_slice();
    while !rest.is_empty() {
        to.read_tls(&mut rest).map_err(general)?;
        to.process_new_packets()?;
    }
    Ok(said.len())
}
