//! TLS in the way Kubernetes uses it: certificates from files that change, client certificates asked for and judged
//! later, and X.509 version 1 certificates taken where upstream takes them.
//!
//! Servers enter at [`server_config`], clients at [`client_config`]. Who a certificate belongs to is not known here:
//! see [`crate::delegated`].

mod files;
mod handshake;
mod offered;
mod verify;

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion,
    client::{ResolvesClientCert, WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::ResolvesServerCert,
    sign::CertifiedKey,
};

pub(crate) use self::handshake::handshake;
pub use self::{
    files::{FixedKey, ReloadingBundle, ReloadingKey, certificates_from_pem, key_from_pem},
    offered::restricted,
    verify::AnyClientCertificate,
};

/// Why a certificate, key or bundle cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reading {path}: {source}")]
    Read { path: String, source: std::io::Error },
    #[error("{what}: no certificate in it")]
    NoCertificate { what: String },
    #[error("{what}: no private key in it")]
    NoKey { what: String },
    #[error("{what}: {problem}")]
    Unusable { what: String, problem: String },
}

/// The cryptography in use, the same for every connection.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(cryptography())
}

/// All that there is. Like Go it prefers AES with the shorter key, which does less work a byte.
fn cryptography() -> CryptoProvider {
    let mut all = rustls::crypto::ring::default_provider();
    all.cipher_suites.sort_by_key(|suite| !suite.suite().as_str().is_some_and(|name| name.contains("AES_128")));
    all
}

/// A certificate with its key, as both ends present it. Does not compare the two: rustls's own check cannot read
/// version 1 certificates.
pub fn certified_key(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    what: &str,
) -> Result<Arc<CertifiedKey>, Error> {
    let key = provider().key_provider.load_private_key(key);
    let key = key.map_err(|error| Error::Unusable { what: what.to_owned(), problem: error.to_string() })?;
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}

/// A serving certificate made up now, as upstream's `--cert-dir` default does, for `names`: host names and addresses.
pub fn self_signed(names: Vec<String>) -> Result<SelfSigned, Error> {
    let what = "self-signed serving certificate";
    let made = rcgen::generate_simple_self_signed(names).map_err(unusable(what))?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(unusable(what))?;
    let key = FixedKey(certified_key(vec![made.cert.der().clone()], key, what)?);
    Ok(SelfSigned { key, certificate_pem: made.cert.pem(), key_pem: made.signing_key.serialize_pem() })
}

/// A certificate that vouches for itself.
pub struct SelfSigned {
    pub key: FixedKey,
    pub certificate_pem: String,
    key_pem: String,
}

impl SelfSigned {
    /// Writes both files; the key is its owner's alone to read.
    pub fn write(&self, certificate: &Path, key: &Path) -> io::Result<()> {
        let private = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(key);
        private?.write_all(self.key_pem.as_bytes())?;
        fs::write(certificate, &self.certificate_pem)
    }
}

/// How a server speaks TLS: offers HTTP/2 and HTTP/1.1, asks for a client certificate, and only makes sure that the
/// client holds its key. The chain is the authenticator's to judge, so that a wrong certificate gets an answer and not
/// a broken handshake.
pub fn server_config(certificate: Arc<dyn ResolvesServerCert>, min_version: MinVersion) -> Result<ServerConfig, Error> {
    server_config_with(provider(), certificate, min_version, &[])
}

/// As [`server_config`], with the cryptography of [`restricted`], and naming the authorities whose certificates are
/// taken. Who takes those of a file that may change names none: a client does not show a certificate that it thinks is
/// not wanted.
pub fn server_config_with(
    provider: Arc<CryptoProvider>,
    certificate: Arc<dyn ResolvesServerCert>,
    min_version: MinVersion,
    authorities: &[CertificateDer<'_>],
) -> Result<ServerConfig, Error> {
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(min_version.versions());
    let builder = builder.map_err(unusable("TLS versions"))?;
    let verifier = AnyClientCertificate::new(provider, authorities).map_err(unusable("client authorities"))?;
    let verifier = Arc::new(verifier);
    let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// `--tls-min-version`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    #[default]
    Tls12,
    Tls13,
}

impl MinVersion {
    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        static BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
        match self {
            Self::Tls12 => &BOTH,
            Self::Tls13 => &BOTH[..1],
        }
    }
}

impl std::str::FromStr for MinVersion {
    type Err = String;

    /// The older names are taken and mean TLS 1.2: rustls speaks nothing older.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" | "VersionTLS10" | "VersionTLS11" | "VersionTLS12" => Ok(Self::Tls12),
            "VersionTLS13" => Ok(Self::Tls13),
            _ => Err(format!("unknown tls version {text:?}")),
        }
    }
}

/// How a client judges the server's certificate.
#[derive(Clone, Debug)]
pub enum Trust {
    /// `insecure-skip-tls-verify`.
    Anyone,
    /// The authorities of a bundle; version 1 ones too, and certificates that are themselves in the bundle.
    Authorities(Vec<CertificateDer<'static>>),
}

/// How a client speaks TLS.
pub fn client_config(trust: &Trust, certificate: Option<Arc<dyn ResolvesClientCert>>) -> Result<ClientConfig, Error> {
    let provider = provider();
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::Anyone => Arc::new(verify::AnyServer::new(provider.clone())),
        Trust::Authorities(authorities) => {
            let mut roots = RootCertStore::empty();
            let (added, _) = roots.add_parsable_certificates(authorities.iter().cloned());
            if added == 0 {
                return Err(Error::NoCertificate { what: "certificate authority bundle".to_owned() });
            }
            let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
            let inner = inner.map_err(unusable("certificate authority bundle"))?;
            Arc::new(verify::AuthoritiesOrPinned::new(inner, authorities.clone(), provider.clone()))
        }
    };
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(unusable("TLS versions"))?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    Ok(match certificate {
        Some(certificate) => builder.with_client_cert_resolver(certificate),
        None => builder.with_no_client_auth(),
    })
}

fn unusable<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> Error {
    move |error| Error::Unusable { what: what.to_owned(), problem: error.to_string() }
}
