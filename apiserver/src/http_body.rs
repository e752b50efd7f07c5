//! The bodies of requests, and the response body that every handler returns: whole bytes or a stream of frames.

use bytes::{Bytes, BytesMut};
use component::serve::COPY_BYTES;
use futures::{Stream, StreamExt};
use http::HeaderValue;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub type Body = UnsyncBoxBody<Bytes, BoxError>;
pub type Response = http::Response<Body>;

/// What caches are told of what only some may read (`Cache-Control`).
pub const PRIVATE: HeaderValue = HeaderValue::from_static("no-cache, private");

/// Why a request's body did not arrive whole.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct BodyError(BoxError);

/// What comes with a request, from wherever.
pub type RequestBody = UnsyncBoxBody<Bytes, BodyError>;

/// The body of a request for this server.
pub fn received<B>(body: B) -> RequestBody
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(|error| BodyError(error.into())).boxed_unsync()
}

pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

pub fn empty() -> Body {
    full(Bytes::new())
}

/// A body that breaks off at once: its client is not to take what it got for the whole.
pub fn broken(error: BoxError) -> Body {
    StreamBody::new(futures::stream::once(std::future::ready(Err(error)))).boxed_unsync()
}

/// The same body, with a value that lives until it has ended or is given up.
pub fn holding<T: Send + 'static>(body: Body, held: T) -> Body {
    body.map_frame(move |frame| {
        let _ = &held;
        frame
    })
    .boxed_unsync()
}

/// Adds to a chunk, in steps that are copied fast anywhere.
pub fn append(chunk: &mut BytesMut, bytes: &[u8]) {
    bytes.chunks(COPY_BYTES).for_each(|part| chunk.extend_from_slice(part));
}

/// A body of chunks; the response ends when the stream does.
pub fn stream(chunks: impl Stream<Item = Bytes> + Send + 'static) -> Body {
    StreamBody::new(chunks.map(|chunk| Ok(Frame::data(chunk)))).boxed_unsync()
}
