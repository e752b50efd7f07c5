//! A request's content, and what each signer demands of it.
//!
//! Pure. The sentences go into the request's status.

use std::net::IpAddr;

use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use super::{APISERVER_CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY_UNKNOWN};

/// What the rules look at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) common_name: String,
    pub(super) organizations: Vec<String>,
    pub(super) dns_names: Vec<String>,
    pub(super) addresses: Vec<IpAddr>,
    emails: usize,
    uris: usize,
}

/// The DER in a PEM block `CERTIFICATE REQUEST`.
pub(super) fn der(pem: &[u8]) -> Result<Vec<u8>, String> {
    let wrong = || "PEM block type must be CERTIFICATE REQUEST".to_owned();
    let (_, block) = x509_parser::pem::parse_x509_pem(pem).map_err(|_| wrong())?;
    let known = ["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"];
    if known.contains(&block.label.as_str()) { Ok(block.contents) } else { Err(wrong()) }
}

pub(super) fn parse(der: &[u8]) -> Result<Request, String> {
    let (_, request) = X509CertificationRequest::from_der(der).map_err(|e| e.to_string())?;
    let subject = &request.certification_request_info.subject;
    let text = |a: &x509_parser::x509::AttributeTypeAndValue<'_>| a.as_str().unwrap_or_default().to_owned();
    let mut parsed = Request {
        common_name: subject.iter_common_name().last().map(text).unwrap_or_default(),
        organizations: subject.iter_organization().map(text).collect(),
        ..Request::default()
    };
    for extension in request.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(names) = extension else { continue };
        for name in &names.general_names {
            match name {
                GeneralName::DNSName(name) => parsed.dns_names.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => parsed.addresses.push(address(bytes)?),
                GeneralName::RFC822Name(_) => parsed.emails += 1,
                GeneralName::URI(_) => parsed.uris += 1,
                _ => {}
            }
        }
    }
    Ok(parsed)
}

fn address(bytes: &[u8]) -> Result<IpAddr, String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| v6()).map_err(|_| format!("an IP subjectAltName of {} bytes", bytes.len()))
}

/// Whether the signer may sign this; the error says why not.
pub(super) fn check(signer: &str, request: &Request, usages: &[String]) -> Result<(), String> {
    match signer {
        KUBELET_CLIENT => kubelet_client(request, usages),
        KUBELET_SERVING => kubelet_serving(request, usages),
        APISERVER_CLIENT => apiserver_client(usages),
        LEGACY_UNKNOWN => Ok(()),
        other => Err(format!("unrecognized signerName: {other:?}")),
    }
}

fn kubelet_client(request: &Request, usages: &[String]) -> Result<(), String> {
    of_nodes(request)?;
    let none = [
        (request.dns_names.len(), "DNS subjectAltNames are not allowed"),
        (request.emails, "Email subjectAltNames are not allowed"),
        (request.addresses.len(), "IP subjectAltNames are not allowed"),
        (request.uris, "URI subjectAltNames are not allowed"),
    ];
    refuse_any(&none)?;
    of_a_node(request)?;
    exactly(usages, "client auth")
}

fn kubelet_serving(request: &Request, usages: &[String]) -> Result<(), String> {
    of_nodes(request)?;
    if request.dns_names.is_empty() && request.addresses.is_empty() {
        return Err("DNS or IP subjectAltName is required".into());
    }
    let none = [
        (request.emails, "Email subjectAltNames are not allowed"),
        (request.uris, "URI subjectAltNames are not allowed"),
    ];
    refuse_any(&none)?;
    exactly(usages, "server auth")?;
    of_a_node(request)
}

fn of_nodes(request: &Request) -> Result<(), String> {
    match request.organizations.as_slice() {
        [one] if one == "system:nodes" => Ok(()),
        _ => Err("subject organization is not system:nodes".into()),
    }
}

fn of_a_node(request: &Request) -> Result<(), String> {
    match request.common_name.starts_with("system:node:") {
        true => Ok(()),
        false => Err("subject common name does not begin with system:node:".into()),
    }
}

fn refuse_any(counts: &[(usize, &str)]) -> Result<(), String> {
    counts.iter().find(|(count, _)| *count > 0).map_or(Ok(()), |(_, why)| Err((*why).to_owned()))
}

/// Key encipherment makes sense with RSA keys only, and may be left out.
fn exactly(usages: &[String], purpose: &str) -> Result<(), String> {
    let mut given: Vec<&str> = usages.iter().map(String::as_str).filter(|u| *u != "key encipherment").collect();
    given.sort();
    given.dedup();
    let mut wanted = [purpose, "digital signature"];
    wanted.sort();
    if given == wanted {
        return Ok(());
    }
    let mut all = [purpose, "digital signature", "key encipherment"];
    all.sort();
    Err(format!("usages did not match [{}]", all.join(" ")))
}

fn apiserver_client(usages: &[String]) -> Result<(), String> {
    let allowed = ["digital signature", "key encipherment", "client auth"];
    if let Some(other) = usages.iter().find(|u| !allowed.contains(&u.as_str())) {
        return Err(format!("invalid usage for client certificate: {other}"));
    }
    match usages.iter().any(|u| u == "client auth") {
        true => Ok(()),
        false => Err("missing required usage for client certificate: client auth".into()),
    }
}
