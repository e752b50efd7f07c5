//! Requests to a node's kubelet, over HTTP/1.1 and TLS with the server's own client certificate.

use std::io;
use std::sync::Arc;

use http::{Request, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use machinery::escapes::authority;
use machinery::meta;
use machinery::status::{GroupResource, Status};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::api::Api;
use crate::http_body::{Body, BoxError, Response};
use crate::request::{escape, write_form};

const PORT: u64 = 10250;

/// How the server reaches kubelets (`--kubelet-client-certificate`, `--kubelet-certificate-authority`, …).
pub struct KubeletClient {
    pub tls: Arc<ClientConfig>,
    /// The same, whoever answers: for who asks that it be so.
    pub tls_with_anyone: Arc<ClientConfig>,
    /// `--kubelet-preferred-address-types`, in order.
    pub address_types: Vec<String>,
}

/// Where a node's kubelet listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
}

impl KubeletClient {
    /// The kubelet of a node, from the addresses in the node's status. That there is no such node is told `of` what the
    /// request is about, as upstream does.
    pub fn endpoint(&self, api: &Api, of: GroupResource<'_>, node: &str) -> Result<Endpoint, Status> {
        let object = api.peek_named("", "nodes", "", node).ok_or_else(|| Status::not_found(of, node))?;
        endpoint_of(&object, &self.address_types).ok_or_else(|| {
            let addresses = meta::list(&object, "status.addresses");
            let shown =
                addresses.iter().map(|it| format!("{{{} {}}}", meta::text(it, "type"), meta::text(it, "address")));
            let known = shown.collect::<Vec<_>>().join(" ");
            Status::unexplained(format!("no preferred addresses found; known addresses: [{known}]"))
        })
    }

    /// Sends one request and returns the answer; its body streams, and it may be upgraded.
    pub async fn send(&self, endpoint: &Endpoint, request: Request<Body>) -> Result<http::Response<Incoming>, Status> {
        let answer = self.try_send(endpoint, request, false).await;
        answer.map_err(|why| Status::unexplained(format!("error dialing backend: {why}")))
    }

    /// The same, without looking at the kubelet's certificate where that `is_insecure`. The error is Go's.
    pub async fn try_send(
        &self,
        endpoint: &Endpoint,
        mut request: Request<Body>,
        is_insecure: bool,
    ) -> Result<http::Response<Incoming>, String> {
        let authority = endpoint.authority();
        if let Ok(host) = authority.parse() {
            request.headers_mut().insert(http::header::HOST, host);
        }
        let tls = if is_insecure { &self.tls_with_anyone } else { &self.tls };
        send_over(Some(tls.clone()), endpoint, request).await.map_err(|error| dialled(&authority, &error))
    }
}

/// An error of a connection in Go's words, as far as they are known.
fn dialled(authority: &str, error: &BoxError) -> String {
    let why = match error.downcast_ref().map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => "connect: connection refused".to_owned(),
        Some(io::ErrorKind::HostUnreachable) => "connect: no route to host".to_owned(),
        Some(io::ErrorKind::NetworkUnreachable) => "connect: network is unreachable".to_owned(),
        Some(io::ErrorKind::TimedOut) => "connect: connection timed out".to_owned(),
        _ => error.to_string(),
    };
    format!("dial tcp {authority}: {why}")
}

impl Endpoint {
    /// As a URL has it.
    pub fn authority(&self) -> String {
        authority(&self.host, self.port)
    }
}

/// Sends one request over a connection of its own, HTTP/1.1, with TLS when it is given.
pub async fn send_over(
    tls: Option<Arc<ClientConfig>>,
    endpoint: &Endpoint,
    request: Request<Body>,
) -> Result<http::Response<Incoming>, BoxError> {
    send_named(tls, &endpoint.host, endpoint, request).await
}

/// As [`send_over`], to a server whose certificate is for another name than its address.
pub async fn send_named(
    tls: Option<Arc<ClientConfig>>,
    name: &str,
    endpoint: &Endpoint,
    request: Request<Body>,
) -> Result<http::Response<Incoming>, BoxError> {
    let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
    // Streams carry keystrokes.
    stream.set_nodelay(true)?;
    match tls {
        None => exchange(stream, request).await,
        Some(tls) => {
            let connector = tokio_rustls::TlsConnector::from(tls);
            let name = ServerName::try_from(name.to_owned())?;
            exchange(connector.connect(name, stream).await?, request).await
        }
    }
}

async fn exchange<C>(connection: C, request: Request<Body>) -> Result<http::Response<Incoming>, BoxError>
where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(connection)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to a backend ended");
        }
    });
    Ok(sender.send_request(request).await?)
}

fn endpoint_of(node: &Value, address_types: &[String]) -> Option<Endpoint> {
    let addresses = meta::list(node, "status.addresses");
    let host = address_types.iter().find_map(|wanted| addresses.iter().find(|address| address["type"] == **wanted))?;
    let port = meta::at(node, "status.daemonEndpoints.kubeletEndpoint.Port").as_u64().unwrap_or(PORT);
    Some(Endpoint { host: host["address"].as_str()?.to_owned(), port: u16::try_from(port).ok()? })
}

/// A path and query of the kubelet's API, each segment escaped.
pub fn uri(segments: &[&str], query: &[(String, String)]) -> Result<Uri, Status> {
    let path: String = segments.iter().map(|segment| format!("/{}", escape(segment))).collect();
    target(&path, &write_form(query.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes()))))
}

/// What another server is asked for: an escaped path, and a query as it is. Escapes may have made it longer than one may
/// be.
pub fn target(path: &str, query: &str) -> Result<Uri, Status> {
    let text = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    text.parse().map_err(|error| Status::uri_too_long(format!("the path that is to be passed on: {error}")))
}

/// The kubelet's answer as this server's: body and content type are passed on.
pub fn pass_on(answer: http::Response<Incoming>) -> Response {
    let (parts, body) = answer.into_parts();
    let mut response = Response::new(body.map_err(Into::into).boxed_unsync());
    *response.status_mut() = parts.status;
    if let Some(value) = parts.headers.get(http::header::CONTENT_TYPE) {
        response.headers_mut().insert(http::header::CONTENT_TYPE, value.clone());
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::escape_path;
    use serde_json::json;

    #[test]
    fn takes_the_preferred_address() {
        let node = json!({"status": {
            "addresses": [{"type": "Hostname", "address": "a"}, {"type": "InternalIP", "address": "10.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 1234}},
        }});
        let types = ["InternalIP".to_owned(), "Hostname".to_owned()];
        assert_eq!(endpoint_of(&node, &types), Some(Endpoint { host: "10.0.0.1".into(), port: 1234 }));
        assert_eq!(endpoint_of(&json!({}), &types), None);
    }

    #[test]
    fn paths_are_escaped() {
        let query = [("tty", "1"), ("command", "ls -l&x"), ("command", "~*")];
        let uri = uri(&["exec", "ns", "a b"], &query.map(|(key, value)| (key.into(), value.into()))).unwrap();
        assert_eq!(uri.to_string(), "/exec/ns/a%20b?command=ls+-l%26x&command=~%2A&tty=1");
    }

    #[test]
    fn escapes_may_make_a_target_too_long() {
        let path = |length| escape_path(format!("/{}", "!".repeat(length)).as_bytes());
        assert_eq!(target(&path(20_000), "a=%21").unwrap().query(), Some("a=%21"));
        assert_eq!(target(&path(30_000), "").unwrap_err().code, 414);
    }
}
