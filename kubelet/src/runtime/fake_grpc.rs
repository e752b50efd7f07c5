//! A gRPC server that says what a test wants: one path, answered with streams of messages one after the other.

use std::{convert::Infallible, sync::Arc};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Mutex, mpsc},
};
use tonic::transport::{Channel, Endpoint, Uri};

pub(crate) type Messages = mpsc::UnboundedReceiver<Vec<u8>>;

/// See the module; all else is not implemented.
#[derive(Clone)]
pub(crate) struct Answers {
    path: &'static str,
    streams: Arc<Mutex<std::vec::IntoIter<Messages>>>,
}

impl Answers {
    pub(crate) fn new(path: &'static str, streams: Vec<Messages>) -> Self {
        Self { path, streams: Arc::new(Mutex::new(streams.into_iter())) }
    }

    /// A client's end of it.
    pub(crate) fn channel(&self) -> Channel {
        let answers = self.clone();
        Endpoint::from_static("http://localhost").connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            answers.serve(theirs);
            std::future::ready(Ok::<_, Infallible>(TokioIo::new(ours)))
        }))
    }

    /// A connection, until its other end closes it.
    pub(crate) fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let answers = self.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let answers = answers.clone();
            async move {
                let is_known = request.uri().path() == answers.path;
                let messages = if is_known { answers.streams.lock().await.next() } else { None };
                Ok::<_, Infallible>(answer(messages))
            }
        });
        tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service));
    }
}

/// gRPC's frames: a byte that says "not compressed", the length, the message; its status last, or alone.
fn answer(messages: Option<Messages>) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
    const UNIMPLEMENTED: HeaderValue = HeaderValue::from_static("12");
    let is_known = messages.is_some();
    let frames = futures::stream::unfold(messages, |messages| async {
        let mut messages = messages?;
        let Some(message) = messages.recv().await else {
            let trailers = HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from(0))]);
            return Some((Ok(Frame::trailers(trailers)), None));
        };
        let mut frame = BytesMut::with_capacity(message.len() + 5);
        frame.put_u8(0);
        frame.put_u32(u32::try_from(message.len()).unwrap_or(0));
        frame.put_slice(&message);
        Some((Ok(Frame::data(frame.freeze())), Some(messages)))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    if !is_known {
        response.headers_mut().insert("grpc-status", UNIMPLEMENTED);
    }
    response
}
