//! Large answers compressed, for clients that take it (upstream's feature APIResponseCompression).
//!
//! Enter at [`answer`]. The body is compressed as it is sent, piece by piece: no copy of the whole is made.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::StreamExt;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderValue, VARY};
use http_body_util::{BodyExt, BodyStream, StreamBody};
use hyper::body::Frame;

use crate::http_body::{Body, BoxError, Response};

/// Answers up to this many bytes are sent as they are: compressing them costs more time than it saves.
const PLAIN_BYTES_MAX: usize = 128 * 1024;

/// Marks an answer that may be compressed, with its length in bytes. Watches and proxied answers are not.
#[derive(Clone, Copy, Debug)]
pub struct Whole(pub usize);

/// Whether the client takes gzip: as upstream has it, only one that says nothing more of it (`gzip;q=0` is none).
pub fn is_accepted(headers: &HeaderMap) -> bool {
    let given = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    given.flat_map(|value| value.split(',')).any(|one| one.trim() == "gzip")
}

/// The same answer, compressed when it is large.
pub fn answer(mut response: Response) -> Response {
    if response.extensions().get::<Whole>().is_none_or(|whole| whole.0 <= PLAIN_BYTES_MAX) {
        return response;
    }
    let headers = response.headers_mut();
    if headers.contains_key(CONTENT_ENCODING) {
        return response;
    }
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    headers.remove(CONTENT_LENGTH);
    response.map(gzip)
}

/// All of `bytes` at once.
pub fn bytes(bytes: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish().map(Bytes::from)
}

fn gzip(body: Body) -> Body {
    let encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let state = Some((BodyStream::new(body), encoder));
    let frames = futures::stream::unfold(state, |state| async move {
        let (mut body, mut encoder) = state?;
        loop {
            let frame = match body.next().await {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Some((Err(error), None)),
                None => return Some((encoder.finish().map(|rest| Frame::data(rest.into())).map_err(into), None)),
            };
            let Some(data) = frame.data_ref() else { continue };
            if let Err(error) = encoder.write_all(data) {
                return Some((Err(into(error)), None));
            }
            if !encoder.get_ref().is_empty() {
                let ready = std::mem::take(encoder.get_mut());
                // Other answers of the same connection wait meanwhile: each has its turn between two pieces.
                tokio::task::yield_now().await;
                return Some((Ok(Frame::data(ready.into())), Some((body, encoder))));
            }
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

fn into(error: std::io::Error) -> BoxError {
    error.into()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::http_body::stream;

    #[tokio::test]
    async fn a_large_answer_comes_back_whole() {
        let pieces: Vec<Bytes> = (0..50_u8).map(|number| vec![number; 10_000].into()).collect();
        let whole: Vec<u8> = pieces.concat();
        let mut response = Response::new(stream(futures::stream::iter(pieces)));
        response.extensions_mut().insert(Whole(whole.len()));
        let response = answer(response);
        assert_eq!(response.headers()[CONTENT_ENCODING], "gzip");
        let sent = response.into_body().collect().await.unwrap().to_bytes();
        assert!(sent.len() < whole.len() / 10);
        let mut read = Vec::new();
        flate2::read::GzDecoder::new(sent.as_ref()).read_to_end(&mut read).unwrap();
        assert!(read == whole);
    }

    #[test]
    fn accepted_encodings_are_read() {
        let headers = |value: &'static str| HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(value))]);
        assert!(is_accepted(&headers("deflate , gzip")) && is_accepted(&headers("gzip")));
        for other in ["identity, gzipped", "gzip;q=0", "gzip; q=0.8", "deflate"] {
            assert!(!is_accepted(&headers(other)), "{other}");
        }
        assert!(!is_accepted(&HeaderMap::new()));
    }
}
