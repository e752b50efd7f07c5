//! Kubeconfig files: the administrator's, whole in one file, and each part's, naming its certificate files; on a node that
//! joined, naming its token's file.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::files;
use crate::layout::Layout;
use crate::part::Part;
use crate::pki;

pub(crate) const SECURE_PORT: u16 = 6443;

/// The administrator's is copied about, so it carries its certificates; a part's names files, which renewal replaces.
pub(crate) fn write_all(layout: &Layout) -> Result<()> {
    let read = |path: std::path::PathBuf| -> Result<String> {
        let bytes = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(STANDARD.encode(bytes))
    };
    let authority = json!({"certificate-authority-data": read(layout.certificate(pki::CA))?});
    let credentials = json!({
        "client-certificate-data": read(layout.certificate("admin"))?,
        "client-key-data": read(layout.key("admin"))?,
    });
    let admin = kubeconfig("kubernetes-admin", &local(), authority, credentials)?;
    files::write_secret(&layout.admin_kubeconfig(), admin.as_bytes())?;
    // The API server is asked and asks nobody.
    for part in Part::ALL.into_iter().filter(|part| *part != Part::KubeApiserver) {
        let authority = json!({"certificate-authority": layout.certificate(pki::CA)});
        let credentials = json!({
            "client-certificate": layout.certificate(part.name()),
            "client-key": layout.key(part.name()),
        });
        let text = kubeconfig(part.name(), &local(), authority, credentials)?;
        files::write_secret(&layout.kubeconfig(part), text.as_bytes())?;
    }
    Ok(())
}

/// By loopback: the file stays right when the machine's address changes, and serves only this machine.
fn local() -> String {
    format!("https://127.0.0.1:{SECURE_PORT}")
}

/// Those of the parts with tokens of their own. The kubelet writes its own.
pub(crate) fn write_joined(layout: &Layout, server: &str, parts: &[Part]) -> Result<()> {
    for part in parts {
        let authority = json!({"certificate-authority": layout.certificate(pki::CA)});
        let text = kubeconfig(part.name(), server, authority, json!({"tokenFile": layout.token(*part)}))?;
        files::write_secret(&layout.kubeconfig(*part), text.as_bytes())?;
    }
    Ok(())
}

/// A kubeconfig of one server and one identity. `authority` says how the server is known, `credentials` who asks.
pub(crate) fn kubeconfig(user: &str, server: &str, mut authority: Value, credentials: Value) -> Result<String> {
    authority["server"] = server.into();
    let context = format!("{user}@skiff");
    serde_yaml_ng::to_string(&json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "skiff", "cluster": authority}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": context, "context": {"cluster": "skiff", "user": user}}],
        "current-context": context,
    }))
    .context("encode a kubeconfig")
}
