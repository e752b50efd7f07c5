//! Tables for the signers' rules, and certificates signed by keys of every form.

use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::json;
use x509_parser::prelude::FromDer;

use super::{KUBELET_CLIENT, approve, clean, request, sign};

fn csr_pem(common_name: &str, organization: &str, names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::OrganizationName, organization);
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
}

fn parse(pem: &str) -> request::Request {
    request::parse(&request::der(pem.as_bytes()).unwrap()).unwrap()
}

fn usages(list: &[&str]) -> Vec<String> {
    list.iter().map(|u| u.to_string()).collect()
}

#[test]
fn rules_of_the_signers() {
    let client = ["digital signature", "client auth"];
    // Signer, usages, common name, organization, names, and the refusal.
    type Row<'a> = (&'a str, &'a [&'a str], &'a str, &'a str, &'a [&'a str], &'a str);
    let rows: [Row; 8] = [
        (KUBELET_CLIENT, &client, "system:node:a", "system:nodes", &[], ""),
        (KUBELET_CLIENT, &client, "system:node:a", "else", &[], "subject organization is not system:nodes"),
        (KUBELET_CLIENT, &client, "admin", "system:nodes", &[], "subject common name does not begin with system:node:"),
        (KUBELET_CLIENT, &client, "system:node:a", "system:nodes", &["a"], "DNS subjectAltNames are not allowed"),
        (
            KUBELET_CLIENT,
            &["client auth"],
            "system:node:a",
            "system:nodes",
            &[],
            "usages did not match [client auth digital signature key encipherment]",
        ),
        (
            super::KUBELET_SERVING,
            &["server auth", "digital signature"],
            "system:node:a",
            "system:nodes",
            &["10.0.0.1"],
            "",
        ),
        (
            super::KUBELET_SERVING,
            &["server auth", "digital signature"],
            "system:node:a",
            "system:nodes",
            &[],
            "DNS or IP subjectAltName is required",
        ),
        (super::APISERVER_CLIENT, &["server auth"], "x", "y", &[], "invalid usage for client certificate: server auth"),
    ];
    for (signer, given, common_name, organization, names, want) in rows {
        let got = request::check(signer, &parse(&csr_pem(common_name, organization, names)), &usages(given));
        assert_eq!(got.err().unwrap_or_default(), want, "{signer} {common_name} {names:?}");
    }
}

fn csr(username: &str, pem: &str, status: serde_json::Value) -> CertificateSigningRequest {
    serde_json::from_value(json!({"metadata": {"name": "c", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"request": BASE64.encode(pem), "signerName": KUBELET_CLIENT,
            "username": username, "usages": ["digital signature", "client auth"]}, "status": status}))
    .unwrap()
}

#[test]
fn rights_to_approval() {
    let pem = csr_pem("system:node:a", "system:nodes", &[]);
    let of = |username: &str, pem: &str| {
        let rights = approve::rights(&csr(username, pem, json!({})), &parse(pem));
        rights.into_iter().map(|r| r.0).collect::<Vec<_>>()
    };
    assert_eq!(of("system:node:a", &pem), ["selfnodeclient", "nodeclient"]);
    assert_eq!(of("system:bootstrap:abc", &pem), ["nodeclient"]);
    assert!(of("admin", &csr_pem("admin", "system:masters", &[])).is_empty());
}

#[test]
fn requests_are_cleared_in_time() {
    let at = |condition: &str, certificate: &str| {
        let conditions = if condition.is_empty() {
            json!([])
        } else {
            json!([{"type": condition, "status": "True", "lastUpdateTime": "2026-01-02T00:00:00Z"}])
        };
        clean::due(&csr("u", "", json!({"conditions": conditions, "certificate": certificate}))).unwrap().to_string()
    };
    assert_eq!(at("", ""), "2026-01-02T00:00:00Z");
    assert_eq!(at("Denied", ""), "2026-01-02T01:00:00Z");
    assert_eq!(at("Approved", ""), "2026-01-03T00:00:00Z");
    assert_eq!(at("Approved", "eA=="), "2026-01-02T01:00:00Z");
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.not_after = rcgen::date_time_ymd(2026, 1, 1);
    let key = KeyPair::generate().unwrap();
    let expired = BASE64.encode(params.self_signed(&key).unwrap().pem());
    assert_eq!(at("Approved", &expired), "2026-01-01T00:00:00Z");
    assert_eq!(at("Denied", &expired), "2026-01-02T01:00:00Z");
}

/// Authorities as kubeadm and as openssl make them, where openssl is installed.
#[test]
fn certificates_by_keys_of_every_form() {
    let folder = tempfile::tempdir().unwrap();
    let (secret, authority) = (folder.path().join("ca.key"), folder.path().join("ca.crt"));
    let openssl = |arguments: &str| {
        let ran = Command::new("openssl").args(arguments.split(' ')).current_dir(&folder).output();
        ran.is_ok_and(|o| o.status.success())
    };
    let now = Timestamp::now();
    let pem = csr_pem("system:node:a", "system:nodes", &[]);
    let der = request::der(pem.as_bytes()).unwrap();
    for make in [
        "genrsa -traditional -out ca.key 2048",
        "genrsa -out ca.key 2048",
        "ecparam -genkey -noout -name prime256v1 -out ca.key",
        "ecparam -genkey -noout -name secp384r1 -out ca.key",
    ] {
        if !openssl(make) || !openssl("req -x509 -new -nodes -key ca.key -subj /CN=kubernetes -days 10 -out ca.crt") {
            println!("skipped: openssl is not there");
            return;
        }
        let day = Duration::from_secs(24 * 3600);
        let asked = usages(&["digital signature", "client auth"]);
        let signed = sign::sign(&der, &asked, day, &authority, &secret, now).unwrap_or_else(|e| panic!("{make}: {e}"));
        std::fs::write(folder.path().join("node.crt"), &signed).unwrap();
        assert!(openssl("verify -purpose sslclient -CAfile ca.crt node.crt"), "{make}");
        let (_, block) = x509_parser::pem::parse_x509_pem(signed.as_bytes()).unwrap();
        let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(&block.contents).unwrap();
        assert_eq!(certificate.subject().to_string(), "CN=system:node:a, O=system:nodes");
        assert_eq!(certificate.validity().not_after.timestamp(), now.as_second() + 24 * 3600 - 300);
    }
}
