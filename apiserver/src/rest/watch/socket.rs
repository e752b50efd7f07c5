//! A watch over a WebSocket: a message an event, text for JSON, binary for protobuf (without the stream's length before
//! it). What the client sends is read and thrown away; its close ends the watch.

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderValue};
use hyper::upgrade::OnUpgrade;
use machinery::status::Status;
use tokio_tungstenite::tungstenite::Message;

use super::Format;
use crate::connect::websocket;
use crate::http_body::Response;

/// Answers the opening and sends the frames once the client has switched.
pub fn start(
    headers: &HeaderMap,
    client: OnUpgrade,
    format: Format,
    frames: impl Stream<Item = Bytes> + Send + 'static,
    media_type: &'static str,
) -> Result<Response, Status> {
    let protocol = websocket::offered(headers).first().map(|protocol| (*protocol).to_owned());
    let messages = frames.flat_map(move |chunk| stream::iter(events(format, &chunk)));
    let mut response = websocket::send(headers, client, protocol.as_deref(), messages)?;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    Ok(response)
}

/// The events of a chunk, which holds whole ones only.
fn events(format: Format, chunk: &Bytes) -> Vec<Message> {
    let mut events = Vec::new();
    let mut rest = chunk.clone();
    while !rest.is_empty() {
        let event = match format {
            Format::Protobuf => {
                let Some(length) = rest.first_chunk::<4>().map(|length| u32::from_be_bytes(*length) as usize) else {
                    break;
                };
                let _ = rest.split_to(4);
                Message::Binary(rest.split_to(length.min(rest.len())))
            }
            Format::Json | Format::Yaml => {
                let end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| end + 1);
                Message::Text(String::from_utf8_lossy(&rest.split_to(end)).into_owned().into())
            }
        };
        events.push(event);
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_cut_into_events() {
        let texts = events(Format::Json, &Bytes::from_static(b"{}\n[]\n"));
        assert_eq!(texts, [Message::text("{}\n"), Message::text("[]\n")]);
        let binary = events(Format::Protobuf, &Bytes::from_static(b"\0\0\0\x02ab\0\0\0\x01c"));
        assert_eq!(binary, [Message::binary(&b"ab"[..]), Message::binary(&b"c"[..])]);
    }
}
