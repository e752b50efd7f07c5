//! Datagrams.

use std::net::SocketAddr;
use std::sync::Arc;

use component::shutdown::Shutdown;
use tokio::net::UdpSocket;

use super::{Begun, Server};
use crate::message::Transport;

/// No question is longer: a name has 255 bytes at most.
const REQUEST_BYTES_MAX: usize = 4096;

/// Answers what comes in by `socket` until `shutdown`. Several of these may share a socket, one a core.
pub(crate) async fn serve(socket: Arc<UdpSocket>, server: Server, shutdown: Shutdown) {
    let mut buffer = vec![0; REQUEST_BYTES_MAX];
    while let Some(received) = shutdown.run_until(socket.recv_from(&mut buffer)).await {
        let (length, client) = match received {
            Ok(received) => received,
            Err(error) => {
                // Told of an earlier reply that did not arrive; the next request may be fine.
                tracing::debug!(%error, "receive a datagram");
                tokio::task::yield_now().await;
                continue;
            }
        };
        match server.begin(&buffer[..length], client.ip(), Transport::Udp) {
            Begun::Nothing => {}
            Begun::Reply(bytes) => send(&socket, &bytes, client).await,
            Begun::Later(later) => {
                let (socket, server, shutdown) = (socket.clone(), server.clone(), shutdown.clone());
                tokio::spawn(async move {
                    if let Some(Some(bytes)) = shutdown.run_until(server.finish(*later)).await {
                        send(&socket, &bytes, client).await;
                    }
                });
            }
        }
    }
}

async fn send(socket: &UdpSocket, bytes: &[u8], client: SocketAddr) {
    if let Err(error) = socket.send_to(bytes, client).await {
        tracing::debug!(%error, %client, "send a reply");
    }
}
