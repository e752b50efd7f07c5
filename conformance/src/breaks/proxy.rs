//! An HTTP proxy before a sound API server that spoils what matches. It speaks as administrator for who brings no token.
//!
//! It listens on loopback only, for as long as its [`Proxy`] lives. Upgraded connections are passed on as bytes.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use regex::Regex;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::fault::Fault;
use crate::cluster::Cluster;

type Error = anyhow::Error;
type Answer = Response<UnsyncBoxBody<Bytes, Error>>;

pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Spoiler {
    sound: Arc<Cluster>,
    requests: Regex,
    fault: Fault,
}

pub(super) async fn start(sound: Arc<Cluster>, requests: Regex, fault: Fault) -> Result<Proxy> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("listen on loopback")?;
    let address = listener.local_addr().context("the address of the listener")?;
    let spoiler = Arc::new(Spoiler { sound, requests, fault });
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let spoiler = spoiler.clone();
            let service = service_fn(move |request| {
                let spoiler = spoiler.clone();
                async move { spoiler.pass(request).await }
            });
            // A connection that breaks is the client's to notice.
            tokio::spawn(async move {
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                let _ = connection.with_upgrades().await;
            });
        }
    });
    Ok(Proxy { address, task })
}

impl Spoiler {
    async fn pass(&self, mut request: Request<Incoming>) -> Result<Answer, Error> {
        let path = request.uri().path_and_query().map(|path| path.as_str().to_owned()).unwrap_or_default();
        let line = format!("{} {path}", request.method());
        let fault = self.requests.is_match(&line).then_some(self.fault);
        let is_watch =
            request.method() == Method::GET && ["watch=true", "watch=1"].iter().any(|word| path.contains(word));
        let client_side = request.headers().contains_key("upgrade").then(|| hyper::upgrade::on(&mut request));
        let request = outgoing(request, path, fault).await?;
        let is_bare = request.headers().contains_key("authorization");
        let mut response = self.sound.forward(request, is_bare).await?;
        if let (StatusCode::SWITCHING_PROTOCOLS, Some(client_side)) = (response.status(), client_side) {
            let server_side = hyper::upgrade::on(&mut response);
            tokio::spawn(async move {
                let (client, server) = tokio::try_join!(client_side, server_side)?;
                tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(server)).await?;
                Ok::<(), Error>(())
            });
        }
        incoming(response, fault, is_watch).await
    }
}

async fn outgoing(request: Request<Incoming>, path: String, fault: Option<Fault>) -> Result<Request<Body>, Error> {
    let (mut parts, body) = request.into_parts();
    let mut body = body.collect().await?.to_bytes().to_vec();
    // Compressed answers could not be changed, and the server has another name than the proxy.
    for name in ["accept-encoding", "host", "content-length"] {
        parts.headers.remove(name);
    }
    parts.uri = path.parse()?;
    if let Some(fault) = fault {
        parts.uri = fault.path(&path).parse()?;
        fault.headers(&mut parts.headers);
        body = fault.request_body(body);
    }
    Ok(Request::from_parts(parts, Body::from(body)))
}

async fn incoming(response: Response<Body>, fault: Option<Fault>, is_watch: bool) -> Result<Answer, Error> {
    let (mut parts, body) = response.into_parts();
    let Some(fault) = fault else {
        return Ok(Response::from_parts(parts, body.map_err(Error::from).boxed_unsync()));
    };
    parts.status = fault.status(parts.status);
    parts.headers.remove("content-length");
    if is_watch && parts.status.is_success() {
        let bytes = body.into_data_stream().map_err(std::io::Error::other);
        let lines = futures::AsyncBufReadExt::lines(bytes.into_async_read());
        let frames = lines.map(move |line| {
            let line = fault.answer_body(line.map_err(Error::from)?.into_bytes());
            Ok::<_, Error>(Frame::data(Bytes::from([line, b"\n".to_vec()].concat())))
        });
        return Ok(Response::from_parts(parts, StreamBody::new(frames).boxed_unsync()));
    }
    let body = fault.answer_body(body.collect().await?.to_bytes().to_vec());
    Ok(Response::from_parts(parts, Full::new(Bytes::from(body)).map_err(Error::from).boxed_unsync()))
}
