//! The connections to one server with one certificate, whoever's requests go over them.

use std::sync::{Mutex, PoisonError};

use http::{
    Uri,
    uri::{Authority, Scheme},
};
use rustls::pki_types::ServerName;

use super::{
    Endpoint, Error,
    connector::{Http, Protocol, http_client},
    credentials::Certificate,
};
use crate::{
    pipes::Pipes,
    tls::{self, Trust},
};

/// Shared by all clients of one server that show the same certificate, or none.
pub(super) struct Connections {
    pub(super) base: Base,
    trust: Option<Trust>,
    certificate: Certificate,
    server_name: Option<ServerName<'static>>,
    pipes: Pipes,
    current: Mutex<Current>,
}

struct Current {
    protocol: Protocol,
    /// Of the certificate that `http` shows.
    generation: u64,
    http: Http,
}

/// Where the server is.
pub(super) struct Base {
    pub(super) scheme: Scheme,
    pub(super) authority: Authority,
    /// Without a slash at its end.
    pub(super) path: String,
}

impl Connections {
    pub(super) fn new(endpoint: &Endpoint, pipes: Pipes) -> Result<Self, Error> {
        let base = Base::parse(&endpoint.server)?;
        let trust = trust(&base, endpoint)?;
        let server_name = endpoint.tls_server_name.clone().map(ServerName::try_from).transpose();
        let server_name = server_name.map_err(|error| {
            let problem = format!("tls-server-name: {error}");
            Error::Address { address: endpoint.server.clone(), problem }
        })?;
        let certificate = Certificate::load(&endpoint.identity)?;
        // Plain http has no ALPN to ask with, and whatever serves it speaks HTTP/1.1.
        let protocol = if trust.is_some() { Protocol::Http2 } else { Protocol::Http1 };
        let http = http_client(protocol, trust.as_ref(), &certificate, server_name.clone(), pipes.clone())?;
        let current = Mutex::new(Current { protocol, generation: certificate.generation(), http });
        Ok(Self { base, trust, certificate, server_name, pipes, current })
    }

    /// The client for the certificate as it is now. Streams of an outdated one go on; its connection closes after the
    /// last of them.
    pub(super) fn http(&self) -> Http {
        let generation = self.certificate.generation();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.generation != generation {
            let protocol = current.protocol;
            self.replace(&mut current, protocol);
        }
        current.http.clone()
    }

    /// The client for a server that turned out to speak HTTP/1.1 only.
    pub(super) fn http1(&self) -> Http {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.protocol != Protocol::Http1 {
            self.replace(&mut current, Protocol::Http1);
        }
        current.http.clone()
    }

    fn replace(&self, current: &mut Current, protocol: Protocol) {
        let generation = self.certificate.generation();
        let (trust, server_name, pipes) = (self.trust.as_ref(), self.server_name.clone(), self.pipes.clone());
        match http_client(protocol, trust, &self.certificate, server_name, pipes) {
            Ok(http) => *current = Current { protocol, generation, http },
            Err(error) => tracing::warn!(%error, "keeping the connections there are"),
        }
    }
}

impl Base {
    /// Without a scheme, plain http, as upstream's `--master=host:port`.
    fn parse(address: &str) -> Result<Self, Error> {
        let wrong = |problem: String| Error::Address { address: address.to_owned(), problem };
        let text = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
        let parts = text.parse::<Uri>().map_err(|error| wrong(error.to_string()))?.into_parts();
        let scheme = parts.scheme.filter(|s| *s == Scheme::HTTP || *s == Scheme::HTTPS);
        let path = parts.path_and_query.map(|path| path.path().trim_end_matches('/').to_owned()).unwrap_or_default();
        Ok(Self {
            scheme: scheme.ok_or_else(|| wrong("must be http or https".to_owned()))?,
            authority: parts.authority.ok_or_else(|| wrong("has no host".to_owned()))?,
            path,
        })
    }
}

fn trust(base: &Base, endpoint: &Endpoint) -> Result<Option<Trust>, Error> {
    if base.scheme == Scheme::HTTP {
        return Ok(None);
    }
    if endpoint.insecure_skip_tls_verify {
        return Ok(Some(Trust::Anyone));
    }
    let Some(authority) = &endpoint.authority else {
        let problem = "https needs certificate-authority or insecure-skip-tls-verify in the kubeconfig".to_owned();
        return Err(Error::Address { address: endpoint.server.clone(), problem });
    };
    let (pem, what) = authority.read("certificate-authority-data")?;
    Ok(Some(Trust::Authorities(tls::certificates_from_pem(&pem, &what)?)))
}
