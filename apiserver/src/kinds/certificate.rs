//! CertificateSigningRequests (Kubernetes reference: "Certificates and Certificate Signing Requests").

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use machinery::field::{Error, ErrorList, Path, quote};
use machinery::meta;
use machinery::names;
use serde_json::{Value, json};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::{Column, Hooks};
use crate::rest::table::{AGE, NAME, age, human_duration};

const fn column(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "string", priority: 0, description }
}

pub static HOOKS: Hooks = Hooks {
    // Upstream never judged these names, but for what a path cannot hold.
    name: names::path_segment,
    resets: &[
        ("", &["spec", "status"]),
        ("status", &["spec", "status.conditions"]),
        ("approval", &["spec", "status.certificate"]),
    ],
    validate: validate_request,
    prepare_create: |request| request["status"] = json!({}),
    // What was asked for cannot be changed once it may have been approved.
    prepare_update: |new, old| new["spec"] = old["spec"].clone(),
    fields: &[("spec.signerName", "spec.signerName")],
    columns: &[
        NAME,
        AGE,
        column("SignerName", "Who is to sign."),
        column("Requestor", "Who asks."),
        column("RequestedDuration", "For how long."),
        column("Condition", "What came of it."),
    ],
    cells,
    ..Hooks::PLAIN
};

fn cells(request: &Value, now: i64) -> Vec<Value> {
    let duration = meta::at(request, "spec.expirationSeconds").as_i64();
    vec![
        meta::name(request).into(),
        age(request, now).into(),
        meta::text(request, "spec.signerName").into(),
        meta::text(request, "spec.username").into(),
        duration.map_or("<none>".to_owned(), human_duration).into(),
        condition(request).into(),
    ]
}

fn condition(request: &Value) -> String {
    let has = |kind: &str| meta::list(request, "status.conditions").iter().any(|condition| condition["type"] == kind);
    let mut words = Vec::new();
    if has("Denied") {
        words.push("Denied");
    } else if has("Approved") {
        words.push("Approved");
    } else {
        words.push("Pending");
    }
    if has("Failed") {
        words.push("Failed");
    }
    if !meta::text(request, "status.certificate").is_empty() {
        words.push("Issued");
    }
    words.join(",")
}

const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
const EXPIRATION_SECONDS_MIN: i64 = 600;

fn validate_request(request: &Value) -> ErrorList {
    let path = Path::new("spec");
    let spec = &request["spec"];
    let mut errors = ErrorList::new();
    let encoded = meta::text(spec, "request");
    if let Err(why) = check_pem(encoded) {
        errors.push(Error::invalid(&path.child("request"), encoded, why));
    }
    let usages: Vec<&str> = meta::list(spec, "usages").iter().filter_map(Value::as_str).collect();
    if usages.is_empty() {
        errors.push(Error::required(&path.child("usages"), ""));
    }
    for (position, usage) in usages.iter().enumerate() {
        let at = path.child("usages").index(position);
        if !USAGES.contains(usage) {
            errors.push(Error::not_supported(&at, *usage, &USAGES));
        }
        if usages[..position].contains(usage) {
            errors.push(Error::duplicate(&at, *usage));
        }
    }
    errors.extend(signer_name(meta::text(spec, "signerName"), &path.child("signerName")));
    if let Some(seconds) = spec["expirationSeconds"].as_i64().filter(|seconds| *seconds < EXPIRATION_SECONDS_MIN) {
        let why = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.push(Error::invalid(&path.child("expirationSeconds"), seconds, why));
    }
    errors
}

/// A signing request in PEM, in base64.
fn check_pem(encoded: &str) -> Result<(), String> {
    let block = pem(encoded)?;
    let (_, request) = X509CertificationRequest::from_der(&block.contents).map_err(|error| error.to_string())?;
    request.verify_signature().map_err(|error| error.to_string())
}

fn pem(encoded: &str) -> Result<x509_parser::pem::Pem, String> {
    let bytes = STANDARD.decode(encoded).unwrap_or_default();
    let block = x509_parser::pem::Pem::iter_from_buffer(&bytes).next().and_then(Result::ok);
    let block = block.filter(|block| block.label == "CERTIFICATE REQUEST");
    block.ok_or_else(|| "PEM block type must be CERTIFICATE REQUEST".to_owned())
}

/// The organizations (that is, groups) that a signing request asks for.
pub fn organizations(encoded: &str) -> Result<Vec<String>, String> {
    let block = pem(encoded)?;
    let (_, request) = X509CertificationRequest::from_der(&block.contents).map_err(|error| error.to_string())?;
    let names = request.certification_request_info.subject.iter_organization();
    Ok(names.filter_map(|name| name.as_str().ok()).map(str::to_owned).collect())
}

/// `domain/path`, such as `kubernetes.io/kubelet-serving`.
fn signer_name(name: &str, path: &Path) -> ErrorList {
    if name.is_empty() {
        return vec![Error::required(path, "")];
    }
    if name == "kubernetes.io/legacy-unknown" {
        return vec![Error::invalid(path, name, "the legacy signerName is not allowed via this API version")];
    }
    let Some((domain, signer)) = name.split_once('/').filter(|(_, signer)| !signer.contains('/')) else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return vec![Error::invalid(path, name, why)];
    };
    let mut errors = ErrorList::new();
    let labels: Vec<&str> = domain.split('.').collect();
    for label in &labels {
        let wrong = names::dns_label(label).into_iter();
        errors
            .extend(wrong.map(|why| Error::invalid(path, domain, format!("validating label {}: {why}", quote(label)))));
    }
    if labels.len() < 2 {
        errors.push(Error::invalid(path, domain, "should be a domain with at least two segments separated by dots"));
    }
    for part in signer.split('.') {
        let wrong = names::dns_subdomain(part).into_iter();
        errors
            .extend(wrong.map(|why| Error::invalid(path, signer, format!("validating label {}: {why}", quote(part)))));
    }
    errors
}
