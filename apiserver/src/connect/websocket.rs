//! The server's side of a WebSocket's opening (RFC 6455), with the choice of the sub-protocol left to the caller.
//!
//! Enter at [`offered`] and [`accept`], or at [`send`] for what goes one way only. What messages mean is not known here.

use component::serve::is_upgrade;
use futures::{SinkExt, Stream, StreamExt};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use machinery::status::Status;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

use crate::http_body::{Response, empty};

/// Largest message that a client may send, as upstream's server has it.
const MESSAGE_BYTES_MAX: usize = 32 << 20;
/// Keystrokes are small, and every stream has such a buffer.
const READ_BYTES: usize = 16 << 10;

pub type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Whether a client asks for a WebSocket.
pub fn is_asked_for(headers: &HeaderMap) -> bool {
    let is_named = headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    is_named && is_upgrade(headers)
}

/// The sub-protocols that a client offers, in its order; none when it asks for no WebSocket.
pub fn offered(headers: &HeaderMap) -> Vec<&str> {
    if !is_asked_for(headers) {
        return Vec::new();
    }
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|name| !name.is_empty()).collect()
}

/// The answer that opens a WebSocket.
pub fn accept(headers: &HeaderMap, protocol: Option<&str>) -> Result<Response, Status> {
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Status::bad_request("missing or bad WebSocket version"));
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).ok_or_else(|| Status::bad_request("mismatch challenge/response"))?;
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let accepted = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(Status::internal_error)?;
    answer.insert(SEC_WEBSOCKET_ACCEPT, accepted);
    if let Some(protocol) = protocol {
        answer.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(protocol).map_err(Status::internal_error)?);
    }
    Ok(response)
}

/// The WebSocket, once [`accept`]'s answer has been sent.
pub async fn open(client: OnUpgrade) -> Result<Socket, hyper::Error> {
    let config = WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES_MAX)).read_buffer_size(READ_BYTES);
    Ok(WebSocketStream::from_raw_socket(TokioIo::new(client.await?), Role::Server, Some(config)).await)
}

/// Answers the opening, and sends the messages once the client has switched. What the client sends is read and thrown
/// away; its close ends it.
pub fn send(
    headers: &HeaderMap,
    client: OnUpgrade,
    protocol: Option<&str>,
    messages: impl Stream<Item = Message> + Send + 'static,
) -> Result<Response, Status> {
    let response = accept(headers, protocol)?;
    tokio::spawn(async move {
        let socket = match open(client).await {
            Ok(socket) => socket,
            Err(error) => return tracing::debug!(%error, "a client did not switch protocols"),
        };
        let (mut to_client, mut from_client) = socket.split();
        let messages = messages.chain(futures::stream::iter([normal_end()])).map(Ok);
        let send = async {
            futures::pin_mut!(messages);
            to_client.send_all(&mut messages).await
        };
        let gone = async { while let Some(Ok(_)) = from_client.next().await {} };
        tokio::select! {
            sent = send => if let Err(error) = sent {
                tracing::debug!(%error, "a WebSocket ended");
            },
            () = gone => {}
        }
    });
    Ok(response)
}

/// The end of a stream that went well. A close without a code is an error to kubectl, which takes only 1000 for an end.
pub fn normal_end() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn offers_are_read_of_websockets_only() {
        let offer = ("sec-websocket-protocol", "v5.channel.k8s.io, v4.channel.k8s.io");
        let asked = |protocol, connection| headers(&[("upgrade", protocol), ("connection", connection), offer]);
        for connection in ["Upgrade", "keep-alive, upgrade", "UPGRADE"] {
            let asked = asked("WebSocket", connection);
            assert_eq!(offered(&asked), ["v5.channel.k8s.io", "v4.channel.k8s.io"], "{connection}");
        }
        assert!(offered(&asked("SPDY/3.1", "Upgrade")).is_empty());
        assert!(offered(&asked("websocket", "keep-alive")).is_empty());
    }

    #[test]
    fn the_opening_is_answered_as_the_rfc_says() {
        let asked = [("sec-websocket-version", "13"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")];
        let answer = accept(&headers(&asked), Some("v5.channel.k8s.io")).unwrap();
        assert_eq!(answer.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(accept(&headers(&asked[1..]), None).unwrap_err().code, 400);
        assert_eq!(accept(&headers(&asked[..1]), None).unwrap_err().code, 400);
    }
}
