//! One check of one probe: a command, an HTTP request, a TCP connection or a gRPC health call.
//!
//! Also makes the HTTP requests of lifecycle hooks. Errors read as upstream's, because users meet them in events.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::{
    api::core::v1::{Container, ExecAction, HTTPGetAction, Probe, TCPSocketAction},
    apimachinery::pkg::util::intstr::IntOrString,
};
use tokio::net::TcpStream;

use super::{grpc, path::escaped};
use crate::{env::expand, pod::backoff::go_duration, runtime::Runtime};

/// Of an answer's body no more is read.
const BODY_BYTES_MAX: usize = 10 * 1024;
const REDIRECTS_MAX: usize = 10;
pub(super) const USER_AGENT: &str = "kube-probe/1.36";

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Success,
    /// Success, but something to tell (a redirect to another host).
    Warning(String),
    Failure(String),
    /// The check could not be made.
    Errored(String),
}

impl Outcome {
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Success | Self::Warning(_))
    }
}

/// Who is checked.
pub struct Target<'a> {
    pub container: &'a Container,
    pub container_id: &'a str,
    pub pod_ip: &'a str,
}

/// Makes one check within `timeout`.
pub async fn check(runtime: &dyn Runtime, probe: &Probe, target: &Target<'_>, timeout: Duration) -> Outcome {
    if let Some(exec) = &probe.exec {
        return exec_check(runtime, target, static_command(exec, target.container), timeout).await;
    }
    let check = async {
        if let Some(get) = &probe.http_get {
            return http_check(get, target).await;
        }
        if let Some(socket) = &probe.tcp_socket {
            return tcp_check(socket, target).await;
        }
        match &probe.grpc {
            Some(action) => grpc::check(action, target.pod_ip, timeout).await,
            None => Outcome::Errored(format!("missing probe handler for {}", target.container.name)),
        }
    };
    match tokio::time::timeout(timeout, check).await {
        Ok(outcome) => outcome,
        Err(_) => Outcome::Failure(timeout_message(probe, target, timeout)),
    }
}

fn timeout_message(probe: &Probe, target: &Target<'_>, timeout: Duration) -> String {
    if probe.grpc.is_some() {
        return format!("timeout: health rpc did not complete within {}", go_duration(timeout));
    }
    if let Some(get) = &probe.http_get
        && let Ok(url) = url(get, target.container, target.pod_ip)
    {
        return format!("Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)");
    }
    match &probe.tcp_socket {
        Some(socket) => {
            let host = socket.host.as_deref().unwrap_or(target.pod_ip);
            let port = port(&socket.port, target.container).unwrap_or(0);
            format!("dial tcp {host}:{port}: i/o timeout")
        }
        None => "context deadline exceeded".into(),
    }
}

/// The command with the variables that the container's spec gives as plain values: a probe sees no others.
fn static_command(exec: &ExecAction, container: &Container) -> Vec<String> {
    let lookup = |name: &str| {
        let named = container.env.iter().flatten().find(|it| it.name == name && it.value_from.is_none());
        named.map(|it| it.value.clone().unwrap_or_default())
    };
    exec.command.iter().flatten().map(|word| expand::expand(word, lookup)).collect()
}

async fn exec_check(runtime: &dyn Runtime, target: &Target<'_>, command: Vec<String>, timeout: Duration) -> Outcome {
    let shown = command.join(" ");
    match runtime.exec_sync(target.container_id, command, timeout).await {
        Ok(output) if output.exit_code == 0 => Outcome::Success,
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            Outcome::Failure(String::from_utf8_lossy(&text[..text.len().min(BODY_BYTES_MAX)]).into_owned())
        }
        Err(error) if error.code == tonic::Code::DeadlineExceeded => {
            Outcome::Failure(format!("command timed out: \"{shown}\" timed out after {}s", timeout.as_secs()))
        }
        Err(error) => Outcome::Errored(error.rpc()),
    }
}

async fn http_check(get: &HTTPGetAction, target: &Target<'_>) -> Outcome {
    if let Err(error) = url(get, target.container, target.pod_ip) {
        return Outcome::Errored(error);
    }
    match http_get(get, target.container, target.pod_ip, USER_AGENT).await {
        Ok(Answer { status: 200..=299, .. }) => Outcome::Success,
        Ok(Answer { status: 300..=399, body }) => {
            Outcome::Warning(format!("Probe terminated redirects, Response body: {body}"))
        }
        Ok(Answer { status, .. }) => Outcome::Failure(format!("HTTP probe failed with statuscode: {status}")),
        Err(error) => Outcome::Failure(error),
    }
}

async fn tcp_check(socket: &TCPSocketAction, target: &Target<'_>) -> Outcome {
    let port = match port(&socket.port, target.container) {
        Ok(port) => port,
        Err(error) => return Outcome::Errored(error),
    };
    let host = socket.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(target.pod_ip);
    match TcpStream::connect((host, port)).await {
        Ok(_) => Outcome::Success,
        Err(error) => Outcome::Failure(dial_error(host, port, &error)),
    }
}

/// An HTTP answer: its status and the beginning of its body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

/// Makes the request of a probe or hook, following redirects to the same host.
///
/// # Errors
/// What kept an answer from coming, in the words of Go's HTTP client.
pub async fn http_get(get: &HTTPGetAction, container: &Container, pod_ip: &str, agent: &str) -> Result<Answer, String> {
    let mut url = url(get, container, pod_ip)?;
    for _ in 0..REDIRECTS_MAX {
        let (answer, location) = once(&url, get, agent).await.map_err(|error| format!("Get \"{url}\": {error}"))?;
        let next = location.filter(|_| (300..400).contains(&answer.status)).and_then(|to| resolve(&url, &to));
        match next {
            Some(next) if next.host() == url.host() => url = next,
            _ => return Ok(answer),
        }
    }
    Err(format!("Get \"{url}\": stopped after {REDIRECTS_MAX} redirects"))
}

fn url(get: &HTTPGetAction, container: &Container, pod_ip: &str) -> Result<Uri, String> {
    let host = get.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(pod_ip);
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let scheme = get.scheme.as_deref().unwrap_or("HTTP").to_lowercase();
    let path = get.path.as_deref().unwrap_or("/");
    let text = format!("{scheme}://{host}:{}{}", port(&get.port, container)?, escaped(path));
    text.parse().map_err(|error| format!("parse {text:?}: {error}"))
}

/// A port by number, by the name that the container gives it, or by a number written as text.
fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|port| port.name.as_deref() == Some(name));
            named.map(|port| port.container_port).or_else(|| name.parse().ok())
        }
    };
    let valid = number.and_then(|number| u16::try_from(number).ok()).filter(|number| *number > 0);
    valid.ok_or_else(|| match port {
        IntOrString::Int(number) => format!("invalid port number: {number}"),
        IntOrString::String(name) => format!("couldn't find port: {name:?} in container"),
    })
}

fn resolve(base: &Uri, location: &str) -> Option<Uri> {
    if location.starts_with('/') {
        let mut parts = base.clone().into_parts();
        parts.path_and_query = Some(location.parse().ok()?);
        return Uri::from_parts(parts).ok();
    }
    location.parse::<Uri>().ok().filter(|uri| uri.host().is_some())
}

async fn once(url: &Uri, get: &HTTPGetAction, agent: &str) -> Result<(Answer, Option<String>), String> {
    let is_tls = url.scheme_str() == Some("https");
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await.map_err(|error| dial_error(host, port, &error))?;
    let request = request(url, get, agent)?;
    if is_tls {
        let config =
            component::tls::client_config(&component::tls::Trust::Anyone, None).map_err(|it| it.to_string())?;
        let name = rustls::pki_types::ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        let stream = connector.connect(name, stream).await.map_err(|error| tls_error(&error))?;
        return exchange(TokioIo::new(stream), request).await;
    }
    exchange(TokioIo::new(stream), request).await
}

fn request(url: &Uri, get: &HTTPGetAction, agent: &str) -> Result<Request<Empty<Bytes>>, String> {
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::get(path);
    let own = get.http_headers.as_deref().unwrap_or_default();
    let has = |name: &str| own.iter().any(|header| header.name.eq_ignore_ascii_case(name));
    if !has("host") {
        request = request.header("Host", url.authority().map_or("", |authority| authority.as_str()));
    }
    if !has("user-agent") {
        request = request.header("User-Agent", agent);
    }
    if !has("accept") {
        request = request.header("Accept", "*/*");
    }
    for header in own.iter().filter(|header| !header.value.is_empty() || header.name.to_lowercase() != "accept") {
        request = request.header(&header.name, &header.value);
    }
    request.header("Connection", "close").body(Empty::new()).map_err(|error| error.to_string())
}

async fn exchange<T>(io: T, request: Request<Empty<Bytes>>) -> Result<(Answer, Option<String>), String>
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.map_err(|it| it.to_string())?;
    let driver = tokio::spawn(connection);
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let location = response.headers().get("location").and_then(|it| it.to_str().ok()).map(str::to_owned);
        let status = response.status().as_u16();
        // A body that is too long or breaks off does not undo the status.
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
        let body = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()).unwrap_or_default();
        Ok((Answer { status, body }, location))
    };
    let answer = answer.await;
    driver.abort();
    answer
}

/// What a server that speaks no TLS makes of it, in the words of Go's HTTP client.
pub const PLAIN_ANSWER: &str = "http: server gave HTTP response to HTTPS client";

fn tls_error(error: &std::io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)) => PLAIN_ANSWER.to_owned(),
        _ => error.to_string(),
    }
}

fn dial_error(host: &str, port: u16, error: &std::io::Error) -> String {
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let text = match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        _ => error.to_string(),
    };
    format!("dial tcp {address}: {text}")
}
