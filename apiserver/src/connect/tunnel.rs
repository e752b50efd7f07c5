//! Port-forwards whose SPDY/3.1 a client tunnels through a WebSocket: the messages' bytes are the connection's.
//!
//! Enter at [`start`]. No frame is read here.

use futures::{SinkExt, StreamExt};
use http::Uri;
use hyper_util::rt::TokioIo;
use machinery::status::Status;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

use super::kubelet::Endpoint;
use super::pod::{self, Answer};
use super::websocket::{self, Socket};
use crate::api::Api;
use crate::http_body::Response;
use crate::rest::Call;

/// What comes before the tunnelled protocol's name in the WebSocket's.
const PREFIX: &str = "SPDY/3.1+";
const SUFFIX: &str = ".k8s.io";
const CHUNK_BYTES: usize = 32 << 10;

/// The protocols inside the tunnels that a client offers.
pub fn offered<'a>(protocols: &[&'a str]) -> Vec<&'a str> {
    let tunnelled = protocols.iter().filter_map(|protocol| protocol.strip_prefix(PREFIX));
    tunnelled.filter(|protocol| protocol.ends_with(SUFFIX)).collect()
}

/// Asks the kubelet for SPDY/3.1 and answers the client with the tunnelled protocol that the kubelet chose.
pub async fn start(
    api: &Api,
    call: &mut Call,
    endpoint: &Endpoint,
    uri: Uri,
    protocols: &[&str],
) -> Result<Response, Status> {
    let request = pod::spdy_request(uri, protocols)?;
    let answer = match pod::send_upgrade(api, endpoint, request).await? {
        Answer::Switched(answer) => answer,
        Answer::Refused(response) => return Ok(response),
    };
    let chosen = answer.headers().get(pod::STREAM_PROTOCOL).and_then(|chosen| chosen.to_str().ok());
    let chosen = chosen.map(|chosen| format!("{PREFIX}{}", chosen.trim()));
    let response = websocket::accept(&call.headers, chosen.as_deref())?;
    let client = call.upgrade.take().ok_or_else(|| Status::bad_request("the connection cannot be upgraded"))?;
    let shutdown = api.shutdown.clone();
    tokio::spawn(async move {
        let both = tokio::try_join!(websocket::open(client), hyper::upgrade::on(answer));
        let (client, kubelet) = match both {
            Ok((client, kubelet)) => (client, TokioIo::new(kubelet)),
            Err(error) => return tracing::debug!(%error, "a side of a tunnel did not switch protocols"),
        };
        tokio::select! {
            ended = join(client, kubelet) => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "tunnel ended");
                }
            }
            () = shutdown.cancelled() => {}
        }
    });
    Ok(response)
}

/// Passes bytes both ways until either side ends.
async fn join(client: Socket, kubelet: impl AsyncRead + AsyncWrite) -> std::io::Result<()> {
    let (mut to_client, mut from_client) = client.split();
    let (mut from_kubelet, mut to_kubelet) = tokio::io::split(kubelet);
    let up = async {
        while let Some(message) = from_client.next().await {
            match message.map_err(std::io::Error::other)? {
                Message::Binary(bytes) => {
                    to_kubelet.write_all(&bytes).await?;
                    to_kubelet.flush().await?;
                }
                Message::Text(_) => return Err(std::io::Error::other("a tunnel's messages are binary")),
                Message::Close(_) => break,
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
        to_kubelet.shutdown().await
    };
    let down = async {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let length = from_kubelet.read(&mut chunk).await?;
            if length == 0 {
                return to_client.send(websocket::normal_end()).await.map_err(std::io::Error::other);
            }
            let message = Message::Binary(chunk[..length].to_vec().into());
            to_client.send(message).await.map_err(std::io::Error::other)?;
        }
    };
    tokio::select! {
        ended = up => ended,
        ended = down => ended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnels_are_told_by_name() {
        let all = ["SPDY/3.1+portforward.k8s.io", "v4.channel.k8s.io", "SPDY/3.1+other"];
        assert_eq!(offered(&all), ["portforward.k8s.io"]);
    }
}
