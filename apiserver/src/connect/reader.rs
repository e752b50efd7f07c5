//! What one side only sends, such as a log, over a WebSocket: for clients that cannot read an answer as it comes.
//!
//! Enter at [`start`]. The protocols are upstream's: binary messages, or base64 in text messages.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::BodyStream;
use machinery::status::Status;
use tokio_tungstenite::tungstenite::Message;

use super::websocket;
use crate::http_body::{Body, Response};
use crate::rest::Call;

const BINARY: &str = "binary.k8s.io";
const BASE64: &str = "base64.binary.k8s.io";

/// Answers the client's opening with the first protocol that both know, and sends the body. An empty message comes first:
/// it tells that the connection stands.
pub fn start(call: &mut Call, body: Body) -> Result<Response, Status> {
    let offered = websocket::offered(&call.headers);
    let protocol = offered.iter().find(|name| matches!(**name, BINARY | BASE64)).copied();
    if protocol.is_none() && !offered.is_empty() {
        return Err(Status::bad_request(format!(
            "unable to negotiate a protocol: {BINARY} and {BASE64} are known here"
        )));
    }
    let message: fn(Bytes) -> Message = match protocol {
        Some(BASE64) => |bytes| Message::text(STANDARD.encode(bytes)),
        _ => Message::Binary,
    };
    let client = call.upgrade.take().ok_or_else(|| Status::bad_request("the connection cannot be upgraded"))?;
    let frames = BodyStream::new(body)
        .inspect(|frame| {
            if let Err(error) = frame {
                tracing::debug!(%error, "what a WebSocket was to carry broke off");
            }
        })
        .filter_map(async |frame| frame.ok()?.into_data().ok());
    let messages = stream::iter([Bytes::new()]).chain(frames).map(message);
    websocket::send(&call.headers, client, protocol, Box::pin(messages))
}
