//! Verifiers that rustls does not bring: proof of possession without a chain, and version 1 certificates.
//!
//! webpki refuses to parse version 1 certificates as end entities, so signatures are checked here with the public key
//! that x509-parser reads, by the algorithms of the provider.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Asks for a client certificate and takes any whose key the client holds; and clients without one.
#[derive(Debug)]
pub struct AnyClientCertificate {
    provider: Arc<CryptoProvider>,
    authorities: Vec<DistinguishedName>,
}

impl AnyClientCertificate {
    /// Names `authorities` to clients, which then choose a certificate that one of them signed, or show none.
    pub fn new(provider: Arc<CryptoProvider>, authorities: &[CertificateDer<'_>]) -> Result<Self, Error> {
        let authorities = authorities.iter().map(subject).collect::<Result<_, Error>>()?;
        Ok(Self { provider, authorities })
    }
}

macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_signature(&self.provider, message, certificate, signed)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_signature(&self.provider, message, certificate, signed)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.provider.signature_verification_algorithms.supported_schemes()
        }
    };
}

impl ClientCertVerifier for AnyClientCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.authorities
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    signatures!();
}

/// `insecure-skip-tls-verify`: any server that holds the key of the certificate it shows.
#[derive(Debug)]
pub(super) struct AnyServer {
    provider: Arc<CryptoProvider>,
}

impl AnyServer {
    pub(super) fn new(provider: Arc<CryptoProvider>) -> Self {
        Self { provider }
    }
}

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}

/// A server whose certificate an authority signed, or is itself in the bundle, as Go takes it: people put a self-signed
/// serving certificate there.
#[derive(Debug)]
pub(super) struct AuthoritiesOrPinned {
    authorities: Arc<WebPkiServerVerifier>,
    bundle: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl AuthoritiesOrPinned {
    pub(super) fn new(
        authorities: Arc<WebPkiServerVerifier>,
        bundle: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Self {
        Self { authorities, bundle, provider }
    }
}

impl ServerCertVerifier for AuthoritiesOrPinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self.authorities.verify_server_cert(end_entity, intermediates, name, ocsp, now);
        match verdict {
            Err(_) if self.bundle.contains(end_entity) => verify_pinned(end_entity, name, now),
            verdict => verdict,
        }
    }

    signatures!();
}

/// Names and dates still count for a certificate that is trusted by itself.
fn verify_pinned(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, Error> {
    let parsed = parse(certificate)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < parsed.validity().not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > parsed.validity().not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    match names(&parsed, name) {
        true => Ok(ServerCertVerified::assertion()),
        false => Err(CertificateError::NotValidForName.into()),
    }
}

fn names(certificate: &X509Certificate<'_>, wanted: &ServerName<'_>) -> bool {
    use x509_parser::extensions::GeneralName;
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return false;
    };
    names.value.general_names.iter().any(|name| match (name, wanted) {
        (GeneralName::DNSName(name), ServerName::DnsName(wanted)) => dns_matches(name, wanted.as_ref()),
        (GeneralName::IPAddress(octets), ServerName::IpAddress(wanted)) => match std::net::IpAddr::from(*wanted) {
            std::net::IpAddr::V4(address) => address.octets() == **octets,
            std::net::IpAddr::V6(address) => address.octets() == **octets,
        },
        _ => false,
    })
}

fn dns_matches(pattern: &str, name: &str) -> bool {
    match (pattern.strip_prefix("*."), name.split_once('.')) {
        (Some(suffix), Some((_, rest))) => suffix.eq_ignore_ascii_case(rest),
        _ => pattern.eq_ignore_ascii_case(name),
    }
}

fn subject(certificate: &CertificateDer<'_>) -> Result<DistinguishedName, Error> {
    Ok(parse(certificate)?.subject().as_raw().to_vec().into())
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Error> {
    let parsed = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    Ok(parsed.1)
}

/// Whether the peer signed the handshake with the certificate's key.
fn verify_signature(
    provider: &CryptoProvider,
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let parsed = parse(certificate)?;
    let spki = parsed.public_key();
    let identifier = algorithm_identifier(spki.raw).ok_or(CertificateError::BadEncoding)?;
    let mapping = provider.signature_verification_algorithms.mapping;
    let candidates =
        mapping.iter().filter(|(scheme, _)| *scheme == signed.scheme).flat_map(|(_, algorithms)| *algorithms);
    for algorithm in candidates.filter(|algorithm| *algorithm.public_key_alg_id() == *identifier) {
        let key = &spki.subject_public_key.data;
        if algorithm.verify_signature(key, message, signed.signature()).is_ok() {
            return Ok(HandshakeSignatureValid::assertion());
        }
    }
    Err(CertificateError::BadSignature.into())
}

/// The content of the `AlgorithmIdentifier` sequence, the first element of a `SubjectPublicKeyInfo`.
fn algorithm_identifier(spki: &[u8]) -> Option<Vec<u8>> {
    use x509_parser::asn1_rs::{Any, FromDer as _};
    let (_, outer) = Any::from_der(spki).ok()?;
    let (_, inner) = Any::from_der(outer.data).ok()?;
    Some(inner.data.to_vec())
}
