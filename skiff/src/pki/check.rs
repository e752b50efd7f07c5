//! Whether a certificate on disk still says what is wanted. Pure.

use std::collections::BTreeSet;

use jiff::Timestamp;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;

use super::Want;
use super::issue::Authority;

/// Renewed when less of its life is left.
const RENEW_BEFORE_SECONDS: i64 = 30 * 24 * 3600;

/// The reason to issue `want` anew, for the log; `None` when what is present will do.
pub(super) fn reason_to_renew(
    present: Option<&str>,
    want: &Want,
    authority: &Authority,
    now: Timestamp,
) -> Option<&'static str> {
    let Some(present) = present else { return Some("missing") };
    let (Some(pem), Some(authority)) = (first_pem(present), first_pem(authority.certificate())) else {
        return Some("not a certificate");
    };
    let (Ok(certificate), Ok(authority)) = (pem.parse_x509(), authority.parse_x509()) else {
        return Some("not a certificate");
    };
    if certificate.verify_signature(Some(authority.public_key())).is_err() {
        return Some("of another authority");
    }
    if near_end(&certificate, now) {
        return Some("expires soon");
    }
    if !says(&certificate, want) {
        return Some("names changed");
    }
    None
}

pub(super) fn expires_soon(certificate: &str, now: Timestamp) -> bool {
    let Some(pem) = first_pem(certificate) else { return true };
    pem.parse_x509().map_or(true, |certificate| near_end(&certificate, now))
}

/// Whether the certificate is of this private key.
pub(super) fn has_key(certificate: &str, key: &str) -> bool {
    let Some(pem) = first_pem(certificate) else { return false };
    let public = super::issue::public_key(key);
    pem.parse_x509().is_ok_and(|certificate| Some(certificate.public_key().raw) == public.as_deref())
}

pub(super) fn first_pem(text: &str) -> Option<Pem> {
    Pem::iter_from_buffer(text.as_bytes()).next()?.ok()
}

fn near_end(certificate: &X509Certificate<'_>, now: Timestamp) -> bool {
    certificate.validity().not_after.timestamp() - now.as_second() < RENEW_BEFORE_SECONDS
}

fn says(certificate: &X509Certificate<'_>, want: &Want) -> bool {
    let subject = certificate.subject();
    let common_name = subject.iter_common_name().next().and_then(|name| name.as_str().ok());
    let organization = subject.iter_organization().next().and_then(|name| name.as_str().ok());
    let wanted = want.dns_names.iter().cloned().chain(want.addresses.iter().map(ToString::to_string));
    common_name == Some(want.common_name.as_str())
        && organization == want.organization
        && alternative_names(certificate) == wanted.collect()
}

fn alternative_names(certificate: &X509Certificate<'_>) -> BTreeSet<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return BTreeSet::new() };
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes),
        _ => None,
    };
    extension.value.general_names.iter().filter_map(text).collect()
}

fn address(bytes: &[u8]) -> Option<String> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|bytes| std::net::Ipv4Addr::from(bytes).to_string()),
        16 => <[u8; 16]>::try_from(bytes).ok().map(|bytes| std::net::Ipv6Addr::from(bytes).to_string()),
        _ => None,
    }
}
