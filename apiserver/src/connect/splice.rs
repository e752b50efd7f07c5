//! Two upgraded connections made one: bytes are passed on both ways until either side is done.

use component::shutdown::Shutdown;
use http::{HeaderMap, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::http_body::{Response, empty};

/// Answers the client as the other side answered, and joins the two when both have switched protocols.
pub fn join(client: OnUpgrade, mut answer: http::Response<Incoming>, shutdown: Shutdown) -> Response {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = stream_headers(answer.headers());
    let server = hyper::upgrade::on(&mut answer);
    tokio::spawn(async move {
        let (client, server) = match tokio::try_join!(client, server) {
            Ok(both) => both,
            Err(error) => {
                tracing::debug!(%error, "a side of a stream did not switch protocols");
                return;
            }
        };
        let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
        tokio::select! {
            ended = tokio::io::copy_bidirectional(&mut client, &mut server) => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "stream ended");
                }
            }
            () = shutdown.cancelled() => {}
        }
    });
    response
}

fn stream_headers(headers: &HeaderMap) -> HeaderMap {
    let passed = |name: &str| {
        matches!(name, "connection" | "upgrade" | "x-stream-protocol-version") || name.starts_with("sec-websocket-")
    };
    headers
        .iter()
        .filter(|(name, _)| passed(name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
