//! Streams over WebSocket, as clients without a library of Kubernetes' open them.

use anyhow::{Context as _, Result, bail, ensure};
use futures::StreamExt as _;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{Answer, Call, Cluster, SOON};
use crate::expect::same;

impl Cluster {
    /// Opens a stream with a subprotocol, which the server must accept by name, and returns the binary messages of it
    /// until the server closes it.
    pub(crate) async fn socket(&self, path: &str, protocol: &str) -> Result<Vec<Vec<u8>>> {
        let call = Call::get(path)
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("origin", "http://localhost")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "d29yZHMgb2Ygc2l4dGVlbg==")
            .header("sec-websocket-protocol", protocol);
        let operation = call.operation();
        let mut response = self.open(call).await?;
        let upgrade = hyper::upgrade::on(&mut response);
        let (parts, _) = response.into_parts();
        let answer = Answer { operation, status: parts.status.as_u16(), headers: parts.headers, body: Vec::new() };
        same(&answer.operation, answer.status, 101)?;
        same("the subprotocol", answer.header("sec-websocket-protocol"), protocol)?;
        let stream = TokioIo::new(upgrade.await.context("switch to the WebSocket")?);
        let mut socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
        let mut messages = Vec::new();
        let read = async {
            while let Some(message) = socket.next().await {
                match message.context("read from the WebSocket")? {
                    Message::Binary(bytes) => messages.push(bytes.to_vec()),
                    Message::Close(_) => break,
                    Message::Ping(_) | Message::Pong(_) => {}
                    other => bail!("expected binary messages, saw {other:?}"),
                }
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(SOON, read).await.context("the server does not close the WebSocket")??;
        ensure!(!messages.is_empty(), "expected messages, saw none");
        Ok(messages)
    }
}
