//! Making keys and certificates with rcgen. Pure but for the random source of key generation.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _, SanType,
};
use time::{Duration, OffsetDateTime};

use super::{Usage, Want};

const CA_DAYS: i64 = 3650;
const CERTIFICATE_DAYS: i64 = 365;

/// A certificate and its private key, both PEM.
pub(super) struct Issued {
    pub(super) certificate: String,
    pub(super) key: String,
}

pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    pub(super) fn create(common_name: &str, now: Timestamp) -> Result<(Self, Issued)> {
        let mut params = params(common_name, None, CA_DAYS, now)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        let issued = Issued { certificate: certificate.clone(), key: key.serialize_pem() };
        Ok((Self { issuer: Issuer::new(params, key), certificate }, issued))
    }

    pub(super) fn load(certificate: &str, key: &str) -> Result<Self> {
        let key = KeyPair::from_pem(key).context("the private key")?;
        let issuer = Issuer::from_ca_cert_pem(certificate, key).context("the certificate")?;
        Ok(Self { issuer, certificate: certificate.to_owned() })
    }

    pub(super) fn certificate(&self) -> &str {
        &self.certificate
    }

    pub(super) fn issue(&self, want: &Want, now: Timestamp) -> Result<Issued> {
        let mut params = params(&want.common_name, want.organization, CERTIFICATE_DAYS, now)?;
        for name in &want.dns_names {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
        }
        params.subject_alt_names.extend(want.addresses.iter().map(|address: &IpAddr| SanType::IpAddress(*address)));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![match want.usage {
            Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
            Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
        }];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Issued { certificate, key: key.serialize_pem() })
    }
}

/// A fresh key pair as PEM: private (PKCS #8) and public.
pub(super) fn key_pair() -> Result<(String, String)> {
    let key = KeyPair::generate()?;
    Ok((key.serialize_pem(), key.public_key_pem()))
}

/// The DER public key of a private key in PEM.
pub(super) fn public_key(key: &str) -> Option<Vec<u8>> {
    KeyPair::from_pem(key).ok().map(|key| key.subject_public_key_info())
}

fn params(common_name: &str, organization: Option<&str>, days: i64, now: Timestamp) -> Result<CertificateParams> {
    let now = OffsetDateTime::from_unix_timestamp(now.as_second()).context("the clock's time")?;
    let mut subject = DistinguishedName::new();
    if let Some(organization) = organization {
        subject.push(DnType::OrganizationName, organization);
    }
    subject.push(DnType::CommonName, common_name);
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    // A client whose clock is a little behind must accept it as well.
    params.not_before = now - Duration::minutes(5);
    params.not_after = now + Duration::days(days);
    Ok(params)
}
