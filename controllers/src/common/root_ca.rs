//! The certificates that vouch for the API server, for others to be told.
//!
//! In this order: the file of `--root-ca-file`; the authorities in the manager's own kubeconfig; what the API server
//! shows on the address of that kubeconfig; what it shows on the address of the Service `kubernetes`, or on its usual
//! port (for a manager that speaks plain HTTP). The last ones trust whatever answers there, as the manager itself does
//! then: without them no pod could mount its token.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use component::client::{ClientConfig, Endpoint};
use component::queue::Backoff;
use component::tls::{self, Trust};
use k8s_openapi::api::core::v1::Endpoints;
use kube::{Api, Client};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::error::{Doing, Error};

/// Where the API server speaks TLS unless told otherwise.
const SECURE_PORT: u16 = 6443;

/// How long to wait before asking again for certificates that could not be had.
const RETRY: Backoff = Backoff { base: Duration::from_millis(250), max: Duration::from_secs(10) };

/// PEM, as soon as it can be had.
pub(crate) async fn found(client: &Client, file: Option<&PathBuf>, config: &ClientConfig) -> String {
    let mut failures = 0;
    loop {
        match find(client, file, config).await {
            Ok(root_ca) => return root_ca,
            Err(error) => tracing::warn!(%error, "no root CA to publish yet"),
        }
        tokio::time::sleep(RETRY.delay(failures)).await;
        failures += 1;
    }
}

/// PEM. An error may pass: the API server may not be up yet.
async fn find(client: &Client, file: Option<&PathBuf>, config: &ClientConfig) -> Result<String, Error> {
    if let Some(path) = file {
        let read = tokio::fs::read_to_string(path).await;
        return read.map_err(|e| Error::refused("read root CA file", path.display(), e));
    }
    let endpoint = Endpoint::load(config).map_err(|e| Error::refused("read", "kubeconfig", e))?;
    if let Some(authority) = &endpoint.authority {
        let (pem, _) =
            authority.read("certificate-authority-data").map_err(|e| Error::refused("read", "kubeconfig", e))?;
        return String::from_utf8(pem).map_err(|e| Error::refused("read certificate authority of", "kubeconfig", e));
    }
    if let Some((host, port)) = address_of(&endpoint.server, "https://", 443) {
        return shown(look_up(host, port).await?).await;
    }
    let address = match (service_address(client).await, address_of(&endpoint.server, "http://", 80)) {
        (Ok(address), _) => address,
        (Err(_), Some((host, _))) => look_up(host, SECURE_PORT).await?,
        (Err(error), None) => return Err(error),
    };
    shown(address).await
}

async fn look_up(host: &str, port: u16) -> Result<SocketAddr, Error> {
    let mut found = tokio::net::lookup_host((host, port)).await.map_err(|e| Error::refused("look up", host, e))?;
    found.next().ok_or_else(|| Error::refused("look up", host, "no address"))
}

/// Host and port of a URL of this scheme.
fn address_of<'a>(server: &'a str, scheme: &str, usual_port: u16) -> Option<(&'a str, u16)> {
    let authority = server.strip_prefix(scheme)?.split('/').next()?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
        _ => (authority, usual_port),
    };
    Some((host.trim_start_matches('[').trim_end_matches(']'), port))
}

async fn service_address(client: &Client) -> Result<SocketAddr, Error> {
    let api = Api::<Endpoints>::namespaced(client.clone(), "default");
    let endpoints = api.get("kubernetes").await.doing("get", "endpoints default/kubernetes")?;
    let subset = endpoints.subsets.iter().flatten().next();
    let ip = subset.and_then(|s| s.addresses.iter().flatten().next()).and_then(|a| a.ip.parse().ok());
    let port = subset.and_then(|s| s.ports.iter().flatten().next()).and_then(|p| u16::try_from(p.port).ok());
    match (ip, port) {
        (Some(ip), Some(port)) => Ok(SocketAddr::new(ip, port)),
        _ => Err(Error::refused("find", "endpoints default/kubernetes", "no address")),
    }
}

/// The chain that a server shows; its last certificate is the nearest to a root.
async fn shown(address: SocketAddr) -> Result<String, Error> {
    let failed = |e: &dyn std::fmt::Display| Error::refused("read the API server's certificate at", address, e);
    let config = tls::client_config(&Trust::Anyone, None).map_err(|e| failed(&e))?;
    let stream = TcpStream::connect(address).await.map_err(|e| failed(&e))?;
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(ServerName::IpAddress(address.ip().into()), stream).await.map_err(|e| failed(&e))?;
    match stream.get_ref().1.peer_certificates() {
        Some(chain) if !chain.is_empty() => Ok(chain.iter().map(pem).collect()),
        _ => Err(failed(&"none shown")),
    }
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    let text = STANDARD.encode(certificate);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let rows = [
            ("https://10.0.0.1:6443", Some(("10.0.0.1", 6443))),
            ("https://api.example/prefix", Some(("api.example", 443))),
            ("https://[fd00::1]:6443/", Some(("fd00::1", 6443))),
            ("https://[fd00::1]", Some(("fd00::1", 443))),
            ("http://127.0.0.1:8080", None),
        ];
        for (server, want) in rows {
            assert_eq!(address_of(server, "https://", 443), want, "{server}");
        }
    }
}
