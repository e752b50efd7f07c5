//! exec, attach and port-forward: the runtime is asked for a streaming URL, and the two upgraded connections are joined.
//!
//! The kubelet reads no frame: SPDY/3.1 and WebSocket pass through as they are.

use bytes::Bytes;
use component::serve::is_upgrade;
use http::{HeaderMap, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{
    answers::{Refused, find, running_container},
    body::{self, Body, text},
    query::Query,
    route::Target,
};
use crate::{
    pod::{node::Node, spec},
    runtime::{Observed, Streams},
};

fn streams(query: &Query) -> Streams {
    Streams {
        stdin: query.flag("input"),
        stdout: query.flag("output"),
        stderr: query.flag("error"),
        tty: query.flag("tty"),
    }
}

pub(super) async fn exec(node: &Node, request: Request<Incoming>, target: &Target, query: &Query) -> Response<Body> {
    let mut streams = streams(query);
    if !(streams.stdin || streams.stdout || streams.stderr) {
        return text(StatusCode::BAD_REQUEST, "you must specify at least 1 of stdin, stdout, stderr\n");
    }
    // A terminal has one output: CRI refuses a second one.
    streams.stderr &= !streams.tty;
    let record = match container(node, target).await {
        Ok(record) => record,
        Err(answer) => return *answer,
    };
    match node.runtime.exec(&record, query.all("command"), streams).await {
        Ok(url) => splice(request, &url).await,
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.rpc()),
    }
}

pub(super) async fn attach(node: &Node, request: Request<Incoming>, target: &Target, query: &Query) -> Response<Body> {
    let mut streams = streams(query);
    streams.stderr &= !streams.tty;
    let record = match container(node, target).await {
        Ok(record) => record,
        Err(answer) => return *answer,
    };
    match node.runtime.attach(&record, streams).await {
        Ok(url) => splice(request, &url).await,
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.rpc()),
    }
}

async fn container(node: &Node, target: &Target) -> Result<String, Refused> {
    let pod = find(node, target)?;
    running_container(node, &pod, &target.container).await.map(|record| record.id)
}

pub(super) async fn port_forward(
    node: &Node,
    request: Request<Incoming>,
    target: &Target,
    query: &Query,
) -> Response<Body> {
    let pod = match find(node, target) {
        Ok(pod) => pod,
        Err(answer) => return *answer,
    };
    let observed = match Observed::of_pod(node.runtime.as_ref(), spec::uid(&pod)).await {
        Ok(observed) => observed,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    let Some(sandbox) = observed.ready_sandbox() else {
        return text(
            StatusCode::NOT_FOUND,
            format!("failed to find sandbox for pod \"{}_{}\"\n", target.pod, target.namespace),
        );
    };
    let ports =
        query.all("port").iter().flat_map(|ports| ports.split(',')).filter_map(|port| port.parse().ok()).collect();
    match node.runtime.port_forward(&sandbox.id, ports).await {
        Ok(url) => splice(request, &url).await,
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.rpc()),
    }
}

/// Sends the same upgrade to the runtime's streaming server, and joins the two when it agrees; its refusal is the
/// answer otherwise.
async fn splice(request: Request<Incoming>, url: &str) -> Response<Body> {
    if !is_upgrade(request.headers()) {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "Upgrade request required\n");
    }
    match open(&request, url).await {
        Ok(answer) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => join(request, answer),
        Ok(answer) => answer.map(|incoming| incoming.map_err(|error| Box::new(error) as body::BoxError).boxed_unsync()),
        Err(error) => text(StatusCode::BAD_GATEWAY, format!("error dialing the runtime's streaming server: {error}\n")),
    }
}

async fn open(request: &Request<Incoming>, url: &str) -> Result<Response<Incoming>, body::BoxError> {
    let url: Uri = url.parse()?;
    let host = url.host().ok_or("a streaming URL without host")?;
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), url.port_u16().unwrap_or(80))).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::Builder::new().preserve_header_case(true).handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    let mut onward = Request::new(Empty::<Bytes>::new());
    *onward.method_mut() = request.method().clone();
    *onward.uri_mut() = url.path_and_query().map_or("/", |path| path.as_str()).parse()?;
    *onward.headers_mut() = onward_headers(request.headers());
    let authority = url.authority().map_or("", |authority| authority.as_str());
    onward.headers_mut().insert(header::HOST, authority.parse()?);
    Ok(sender.send_request(onward).await?)
}

/// Everything but who asked and how long the (empty) body is.
fn onward_headers(headers: &HeaderMap) -> HeaderMap {
    let mut onward = headers.clone();
    for name in [header::AUTHORIZATION, header::COOKIE, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        onward.remove(name);
    }
    onward
}

fn join(request: Request<Incoming>, answer: Response<Incoming>) -> Response<Body> {
    let mut response = Response::new(body::full(http_body_util::Full::default()));
    *response.status_mut() = answer.status();
    *response.headers_mut() = answer.headers().clone();
    tokio::spawn(async move {
        let both = tokio::try_join!(hyper::upgrade::on(request), hyper::upgrade::on(answer));
        match both {
            Ok((client, runtime)) => {
                let (mut client, mut runtime) = (TokioIo::new(client), TokioIo::new(runtime));
                // Either side may break off at any time; there is nobody left to tell.
                if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut runtime).await {
                    tracing::debug!(%error, "a stream ended");
                }
            }
            Err(error) => tracing::debug!(%error, "an upgrade failed"),
        }
    });
    response
}
