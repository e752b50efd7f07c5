//! Certificates and a kubeconfig for an API server that stands alone on loopback.

use std::path::Path;

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::json;

/// Leaves in `folder` an authority (`ca.crt`, `ca.key`), the server's and an administrator's certificate and key, the
/// ServiceAccounts' key `sa.key`, and the administrator's `kubeconfig`.
pub fn write(folder: &Path, port: u16) -> Result<()> {
    let write =
        |name: &str, text: String| std::fs::write(folder.join(name), text).with_context(|| format!("write {name}"));
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "authority");
    let key = KeyPair::generate()?;
    write("ca.key", key.serialize_pem())?;
    let authority = CertifiedIssuer::self_signed(params, key)?;
    write("ca.crt", authority.pem())?;
    write("sa.key", KeyPair::generate()?.serialize_pem())?;
    for (name, group, addresses) in [("server", "servers", &["127.0.0.1"][..]), ("admin", "system:masters", &[])] {
        let addresses: Vec<String> = addresses.iter().map(|address| (*address).to_owned()).collect();
        let mut params = CertificateParams::new(addresses)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.distinguished_name.push(DnType::OrganizationName, group);
        let key = KeyPair::generate()?;
        write(&format!("{name}.crt"), params.signed_by(&key, &authority)?.pem())?;
        write(&format!("{name}.key"), key.serialize_pem())?;
    }
    let server = format!("https://127.0.0.1:{port}");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "x", "cluster": {"server": server, "certificate-authority": folder.join("ca.crt")}}],
        "users": [{"name": "x", "user": {
            "client-certificate": folder.join("admin.crt"), "client-key": folder.join("admin.key"),
        }}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
    });
    write("kubeconfig", config.to_string())
}

/// The flags that a kube-apiserver takes with them, on the embedded store in `folder`.
pub fn apiserver_flags(folder: &Path, port: u16) -> Vec<String> {
    let file = |flag: &str, name: &str| format!("--{flag}={}", folder.join(name).display());
    vec![
        "--authorization-mode=Node,RBAC".into(),
        "--bind-address=127.0.0.1".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        "--storage-backend=embedded".into(),
        format!("--secure-port={port}"),
        file("client-ca-file", "ca.crt"),
        file("data-dir", "store"),
        file("service-account-signing-key-file", "sa.key"),
        file("tls-cert-file", "server.crt"),
        file("tls-private-key-file", "server.key"),
    ]
}
