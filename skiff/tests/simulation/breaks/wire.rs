//! Faults on the way between controllers or scheduler and the API server. Pure, but for the streams of watches.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use serde_json::Value;

use super::{Fault, Requests};
use crate::network::{Body, BoxError};

impl Requests {
    fn have(self, request: &Request<Bytes>) -> bool {
        request.method() == self.method && request.uri().path().contains(self.part)
    }
}

impl Fault {
    pub(crate) fn refuses(self, request: &Request<Bytes>) -> bool {
        matches!(self, Self::Refused(requests) if requests.have(request))
    }

    pub(crate) fn repeats(self, request: &Request<Bytes>) -> bool {
        let Self::Twice(requests, is_such) = self else { return false };
        requests.have(request) && serde_json::from_slice(request.body()).is_ok_and(|object| is_such(&object))
    }

    pub(crate) fn asked(self, mut request: Request<Bytes>) -> Request<Bytes> {
        match self {
            Self::Asked(requests, change) if requests.have(&request) => {
                let body = changed(request.body(), change);
                *request.body_mut() = body;
            }
            Self::Elsewhere(requests, path) if requests.have(&request) => {
                *request.uri_mut() = path.parse().expect("a path");
                *request.body_mut() = Bytes::new();
            }
            _ => {}
        }
        request
    }

    /// The answer to a request of that path.
    pub(crate) async fn told(self, path: &str, response: Response<Body>) -> Result<Response<Body>, BoxError> {
        let Self::Told(part, change) = self else { return Ok(response) };
        if !path.contains(part) || !response.status().is_success() {
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        let is_watch = path.contains("watch=true");
        let body = if is_watch { events(body, change) } else { whole(body, change).await? };
        Ok(Response::from_parts(head, body))
    }
}

async fn whole(body: Body, change: fn(&mut Value)) -> Result<Body, BoxError> {
    let told = changed(&body.collect().await?.to_bytes(), |value| match value.get_mut("items") {
        Some(Value::Array(items)) => items.iter_mut().for_each(change),
        _ => change(value),
    });
    Ok(Full::new(told).map_err(|never| match never {}).boxed_unsync())
}

/// A watch's events, each in a line.
fn events(body: Body, change: fn(&mut Value)) -> Body {
    let lines = futures::AsyncBufReadExt::lines(
        body.into_data_stream().map_err(|error| std::io::Error::other(error.to_string())).into_async_read(),
    );
    let frames = lines.map(move |line| -> Result<_, BoxError> {
        let mut event: Value = serde_json::from_str(&line?)?;
        change(&mut event["object"]);
        // Informers want to know what it is before they read it, and a map of JSON has its own order.
        let line = format!("{{\"type\":{},\"object\":{}}}\n", event["type"], event["object"]);
        Ok(Frame::data(Bytes::from(line)))
    });
    StreamBody::new(frames).boxed_unsync()
}

/// What is no JSON stays as it is.
fn changed(body: &Bytes, change: impl Fn(&mut Value)) -> Bytes {
    let Ok(mut value) = serde_json::from_slice::<Value>(body) else { return body.clone() };
    change(&mut value);
    value.to_string().into()
}
