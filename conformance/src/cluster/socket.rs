//! Streams over WebSocket, as clients without a library of Kubernetes' open them.

use anyhow::{Context as _, Result, bail, ensure};
use futures::StreamExt as _;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{Answer, Call, Cluster, SOON};
use crate::expect::same;

const KEY: &str = "d29yZHMgb2Ygc2l4dGVlbg==";

impl Cluster {
    /// Opens a stream with a subprotocol, which the server must accept by name, and returns the binary messages of it
    /// until the server closes it.
    pub(crate) async fn socket(&self, path: &str, protocol: &str) -> Result<Vec<Vec<u8>>> {
        let call = Call::get(path)
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("origin", "http://localhost")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", KEY)
            .header("sec-websocket-protocol", protocol);
        let operation = call.operation();
        let mut response = self.open(call).await?;
        let upgrade = hyper::upgrade::on(&mut response);
        let (parts, _) = response.into_parts();
        let answer = Answer { operation, status: parts.status.as_u16(), headers: parts.headers, body: Vec::new() };
        same(&answer.operation, answer.status, 101)?;
        // By which a client knows that it is not answered by a cache, or by somebody who speaks something else: RFC 6455, 4.1.
        let accepted = derive_accept_key(KEY.as_bytes());
        same("sec-websocket-accept", answer.header("sec-websocket-accept"), accepted.as_str())?;
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
