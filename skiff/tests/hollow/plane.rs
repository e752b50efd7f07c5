//! What three parts of a control plane are started with: an authority, a certificate for each, `Node,RBAC`, and every
//! controller under its own ServiceAccount, as `skiff up` has it.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result};
use component::client::{self, ClientConfig};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::json;

/// A folder with all that the parts read and write; gone with this value.
pub struct Plane {
    folder: tempfile::TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
    address: SocketAddr,
}

impl Plane {
    /// For an API server that will serve at `address`. Starts nothing.
    pub fn new(address: SocketAddr) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, "authority");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let plane = Self { folder: tempfile::tempdir()?, authority, address };
        plane.write("ca.crt", &plane.authority.pem())?;
        plane.write("ca.key", &plane.authority.key().serialize_pem())?;
        plane.write("sa.key", &KeyPair::generate()?.serialize_pem())?;
        plane.sign("kube-apiserver", None, &["127.0.0.1", "localhost"])?;
        plane.kubeconfig("system:kube-controller-manager", None)?;
        plane.kubeconfig("system:kube-scheduler", None)?;
        Ok(plane)
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        std::fs::write(self.path(name), text).with_context(|| format!("write {name}"))
    }

    /// `NAME.crt` and `NAME.key`, signed by the authority.
    pub fn sign(&self, name: &str, group: Option<&str>, hosts: &[&str]) -> Result<()> {
        let mut params = CertificateParams::new(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>())?;
        params.distinguished_name.push(DnType::CommonName, name);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        let key = KeyPair::generate()?;
        self.write(&format!("{name}.crt"), &params.signed_by(&key, &self.authority)?.pem())?;
        self.write(&format!("{name}.key"), &key.serialize_pem())
    }

    fn kubeconfig(&self, user: &str, group: Option<&str>) -> Result<String> {
        self.sign(user, group, &[])?;
        let [certificate, key] = ["crt", "key"].map(|suffix| self.path(&format!("{user}.{suffix}")));
        let cluster =
            json!({"server": format!("https://{}", self.address), "certificate-authority": self.path("ca.crt")});
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "x", "cluster": cluster}],
            "users": [{"name": "x", "user": {"client-certificate": certificate, "client-key": key}}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        });
        let name = format!("{user}.kubeconfig");
        self.write(&name, &config.to_string())?;
        Ok(self.path(&name))
    }

    /// A client that may do everything. Must be called on a runtime.
    pub fn master(&self, name: &str) -> Result<kube::Client> {
        let file = self.kubeconfig(name, Some("system:masters"))?;
        Ok(client::connect(ClientConfig::from_kubeconfig(name, Path::new(&file)))?)
    }

    pub fn api_server_flags(&self) -> Vec<String> {
        vec![
            "--storage-backend=embedded".to_owned(),
            format!("--data-dir={}", self.path("store")),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", self.address.port()),
            "--authorization-mode=Node,RBAC".to_owned(),
            format!("--client-ca-file={}", self.path("ca.crt")),
            format!("--tls-cert-file={}", self.path("kube-apiserver.crt")),
            format!("--tls-private-key-file={}", self.path("kube-apiserver.key")),
            "--service-account-issuer=https://kubernetes".to_owned(),
            format!("--service-account-signing-key-file={}", self.path("sa.key")),
        ]
    }

    pub fn controller_manager_flags(&self) -> Vec<String> {
        vec![
            format!("--kubeconfig={}", self.path("system:kube-controller-manager.kubeconfig")),
            "--use-service-account-credentials=true".to_owned(),
            format!("--root-ca-file={}", self.path("ca.crt")),
            format!("--service-account-private-key-file={}", self.path("sa.key")),
            format!("--cluster-signing-cert-file={}", self.path("ca.crt")),
            format!("--cluster-signing-key-file={}", self.path("ca.key")),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
            // Hollow nodes do not beat.
            "--node-monitor-grace-period=24h".to_owned(),
            "--node-startup-grace-period=24h".to_owned(),
        ]
    }

    pub fn scheduler_flags(&self) -> Vec<String> {
        vec![
            format!("--kubeconfig={}", self.path("system:kube-scheduler.kubeconfig")),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
        ]
    }
}
