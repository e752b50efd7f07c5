//! Connections: each message with its length before it (RFC 7766).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use component::shutdown::Shutdown;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::{Begun, Server};
use crate::message::Transport;

/// Open at a time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 256;
/// A client that says nothing for so long is sent away.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Answers what comes in by `listener` until `shutdown`.
pub(crate) async fn serve(listener: TcpListener, server: Server, shutdown: Shutdown) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Some(Ok(permit)) = shutdown.run_until(connections.clone().acquire_owned()).await {
        let Some(accepted) = shutdown.run_until(listener.accept()).await else { return };
        let (stream, client) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept a connection");
                // Out of file descriptors, most likely: some connection must end first.
                let _ = shutdown.run_until(tokio::time::sleep(IDLE_TIMEOUT / 100)).await;
                continue;
            }
        };
        let (server, shutdown) = (server.clone(), shutdown.clone());
        tokio::spawn(async move {
            if let Some(Err(error)) = shutdown.run_until(converse(stream, client, &server)).await {
                tracing::debug!(%error, %client, "the connection broke");
            }
            drop(permit);
        });
    }
}

/// One question after the other, until the client has none or is silent for too long.
async fn converse(mut stream: TcpStream, client: SocketAddr, server: &Server) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let Ok(length) = tokio::time::timeout(IDLE_TIMEOUT, stream.read_u16()).await else { return Ok(()) };
        match length {
            Ok(length) => buffer.resize(usize::from(length), 0),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
        let Ok(read) = tokio::time::timeout(IDLE_TIMEOUT, stream.read_exact(&mut buffer)).await else { return Ok(()) };
        read?;
        let reply = match server.begin(&buffer, client.ip(), Transport::Tcp) {
            Begun::Nothing => return Ok(()),
            Begun::Reply(bytes) => Some(bytes),
            Begun::Later(later) => server.finish(*later).await,
        };
        let Some(bytes) = reply else { return Ok(()) };
        let length = u16::try_from(bytes.len()).map_err(std::io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes()[..], &bytes].concat()).await?;
    }
}
