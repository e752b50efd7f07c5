//! A server with TLS, client certificates and `Node,RBAC`, and clients with certificates of its authority.

use std::net::SocketAddr;
use std::time::Duration;

use component::shutdown::Shutdown;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::json;
use tokio::net::TcpListener;

use crate::client::get;

pub struct Secure {
    authority: Authority,
    address: SocketAddr,
    shutdown: Shutdown,
    folder: tempfile::TempDir,
}

/// Signs certificates of users.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority"))
    }

    /// Certificate and key as PEM.
    fn sign(&self, name: &str, groups: &[&str], addresses: &[&str]) -> (String, String) {
        let names: Vec<String> = addresses.iter().map(|address| (*address).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        // rcgen keeps a single value of each type.
        assert!(groups.len() <= 1, "one organization a certificate");
        for group in groups {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}

impl Secure {
    pub async fn start(more_flags: &[&str]) -> Self {
        let (authority, folder) = (Authority::new(), tempfile::tempdir().expect("a temporary folder"));
        let path = |name: &str| folder.path().join(name).display().to_string();
        let write = |name: &str, text: String| std::fs::write(path(name), text).expect("to write a file");
        let (certificate, key) = authority.sign("kube-apiserver", &[], &["127.0.0.1", "localhost"]);
        write("server.crt", certificate);
        write("server.key", key);
        write("ca.crt", authority.0.pem());
        write("sa.key", KeyPair::generate().expect("a key").serialize_pem());
        let mut flags = vec![
            "--storage-backend=embedded".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            "--service-account-issuer=https://kubernetes".to_owned(),
            format!("--data-dir={}", path("store")),
            format!("--client-ca-file={}", path("ca.crt")),
            format!("--tls-cert-file={}", path("server.crt")),
            format!("--tls-private-key-file={}", path("server.key")),
            format!("--service-account-signing-key-file={}", path("sa.key")),
        ];
        flags.extend(more_flags.iter().map(|flag| (*flag).to_owned()));
        let values = apiserver::flags().parse(flags).expect("flags of the table");
        let options = apiserver::Options::from_flags(&values).expect("good options");
        let shutdown = Shutdown::new();
        let mut seams = apiserver::Seams::system(shutdown.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        seams.listener = Some(listener);
        tokio::spawn(apiserver::run(options, seams));
        let server = Self { authority, address, shutdown, folder };
        server.ready().await;
        server
    }

    pub async fn with_roles() -> Self {
        Self::start(&["--authorization-mode=Node,RBAC"]).await
    }

    /// Probes are anonymous, so this also tells that they are.
    async fn ready(&self) {
        let client = self.anonymous();
        let ready = async {
            while get(&client, "/readyz").await.code != 200 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), ready).await.expect("the server becomes ready");
    }

    /// A client with a certificate of the server's authority.
    pub fn client(&self, name: &str, groups: &[&str]) -> kube::Client {
        self.client_of(&self.authority, name, groups)
    }

    pub fn master(&self) -> kube::Client {
        self.client("admin", &["system:masters"])
    }

    pub fn client_of(&self, authority: &Authority, name: &str, groups: &[&str]) -> kube::Client {
        let (certificate, key) = authority.sign(name, groups, &[]);
        let file = |suffix: &str, text: &str| {
            let path = self.folder.path().join(format!("{}.{suffix}", name.replace(':', "-")));
            std::fs::write(&path, text).expect("to write a file");
            path.display().to_string()
        };
        let user = json!({"client-certificate": file("crt", &certificate), "client-key": file("key", &key)});
        self.connect(name, &user)
    }

    pub fn anonymous(&self) -> kube::Client {
        self.connect("anonymous", &json!({}))
    }

    pub fn bearer(&self, token: &str) -> kube::Client {
        self.connect("bearer", &json!({"token": token}))
    }

    fn connect(&self, name: &str, user: &serde_json::Value) -> kube::Client {
        let authority = self.folder.path().join("ca.crt").display().to_string();
        let cluster = json!({"server": format!("https://{}", self.address), "certificate-authority": authority});
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "x", "cluster": cluster}],
            "users": [{"name": "x", "user": user}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        });
        let path = self.folder.path().join(format!("{}.kubeconfig", name.replace(':', "-")));
        std::fs::write(&path, config.to_string()).expect("to write a file");
        let config = component::client::ClientConfig::from_kubeconfig("test", path);
        component::client::connect(config).expect("a client")
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}
