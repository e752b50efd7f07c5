//! A server with TLS, client certificates and `Node,RBAC`, and clients with certificates of its authority.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use component::pipes::Pipes;
use component::shutdown::Shutdown;
use component::tls::Trust;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use x509_parser::prelude::{FromDer, X509Name};

use crate::client::{get, post};

pub struct Secure {
    authority: Authority,
    address: SocketAddr,
    pipes: Pipes,
    shutdown: Shutdown,
    folder: tempfile::TempDir,
}

/// Signs certificates of users.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        Self::named("authority")
    }

    fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
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
        Self::start_at("127.0.0.1:0", more_flags).await
    }

    async fn start_at(address: &str, more_flags: &[&str]) -> Self {
        let (authority, folder) = (Authority::new(), tempfile::tempdir().expect("a temporary folder"));
        let path = |name: &str| folder.path().join(name).display().to_string();
        let write = |name: &str, text: String| std::fs::write(path(name), text).expect("to write a file");
        let (certificate, key) =
            authority.sign("kube-apiserver", &[], &["127.0.0.1", "0.0.0.0", "192.0.2.7", "localhost"]);
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
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("its address");
        seams.listener = Some(listener);
        let pipes = seams.pipes.clone();
        tokio::spawn(apiserver::run(options, seams));
        let server = Self { authority, address, pipes, shutdown, folder };
        server.ready().await;
        server
    }

    pub async fn with_roles() -> Self {
        Self::start(&["--authorization-mode=Node,RBAC"]).await
    }

    async fn ready(&self) {
        let client = self.master();
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
        self.connect(name, &self.user(authority, name, groups))
    }

    fn user(&self, authority: &Authority, name: &str, groups: &[&str]) -> Value {
        let (certificate, key) = authority.sign(name, groups, &[]);
        let file = |suffix: &str, text: &str| {
            let path = self.folder.path().join(format!("{}.{suffix}", name.replace(':', "-")));
            std::fs::write(&path, text).expect("to write a file");
            path.display().to_string()
        };
        json!({"client-certificate": file("crt", &certificate), "client-key": file("key", &key)})
    }

    pub fn anonymous(&self) -> kube::Client {
        self.connect("anonymous", &json!({}))
    }

    pub fn bearer(&self, token: &str) -> kube::Client {
        self.connect("bearer", &json!({"token": token}))
    }

    /// Whose certificates the server asks for in a handshake, by their subjects in DER.
    async fn asked_for(&self) -> Vec<Vec<u8>> {
        let asked = Arc::new(Asked::default());
        let config = component::tls::client_config(&Trust::Anyone, Some(asked.clone())).expect("a configuration");
        let stream = TcpStream::connect(self.address).await.expect("a connection");
        let name = ServerName::try_from("localhost").expect("a name");
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        connector.connect(name, stream).await.expect("a handshake");
        asked.0.lock().expect("no panic").clone()
    }

    fn connect(&self, name: &str, user: &Value) -> kube::Client {
        self.connect_to(self.address, Pipes::default(), name, user)
    }

    fn connect_to(&self, address: SocketAddr, pipes: Pipes, name: &str, user: &Value) -> kube::Client {
        let authority = self.folder.path().join("ca.crt").display().to_string();
        let cluster = json!({"server": format!("https://{address}"), "certificate-authority": authority});
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "x", "cluster": cluster}],
            "users": [{"name": "x", "user": user}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        });
        let path = self.folder.path().join(format!("{}.kubeconfig", name.replace(':', "-")));
        std::fs::write(&path, config.to_string()).expect("to write a file");
        let config = component::client::ClientConfig::from_kubeconfig("test", path);
        component::client::connect(config.through(pipes)).expect("a client")
    }
}

/// A client that shows no certificate and notes whose would be taken.
#[derive(Debug, Default)]
struct Asked(Mutex<Vec<Vec<u8>>>);

impl ResolvesClientCert for Asked {
    fn resolve(&self, subjects: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        *self.0.lock().expect("no panic") = subjects.iter().map(|subject| subject.to_vec()).collect();
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_learns_whose_certificates_are_taken() {
    let front = tempfile::NamedTempFile::new().expect("a file");
    let proxies = Authority::named("front proxies");
    std::fs::write(front.path(), proxies.0.pem()).expect("to write a file");
    let server = Secure::start(&[&format!("--requestheader-client-ca-file={}", front.path().display())]).await;
    let asked = server.asked_for().await;
    let names = asked.iter().map(|subject| X509Name::from_der(subject).expect("a name").1.to_string());
    assert_eq!(names.collect::<Vec<_>>(), ["CN=authority", "CN=front proxies"]);
}

/// The advertised address is nobody's: no other way leads there.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_in_the_same_process_is_known_by_its_certificate() {
    let folder = tempfile::tempdir().expect("a folder");
    let (policy, log) = (folder.path().join("policy.yaml"), folder.path().join("audit.log"));
    let rules = "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Metadata}]}";
    std::fs::write(&policy, rules).expect("to write a file");
    let audit = [format!("--audit-policy-file={}", policy.display()), format!("--audit-log-path={}", log.display())];
    let flags = ["--authorization-mode=RBAC", "--advertise-address=192.0.2.7", &audit[0], &audit[1]];
    let server = Secure::start_at("0.0.0.0:0", &flags).await;
    let advertised = SocketAddr::new("192.0.2.7".parse().expect("an address"), server.address.port());
    let user = server.user(&server.authority, "alice", &["developers"]);
    let client = server.connect_to(advertised, server.pipes.clone(), "alice", &user);
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let answer = post(&client, "/apis/authentication.k8s.io/v1/selfsubjectreviews", &review).await;
    let info = &answer.body["status"]["userInfo"];
    assert_eq!(info["username"], "alice", "{answer:?}");
    assert_eq!(info["groups"], json!(["developers", "system:authenticated"]));
    get(&client, "/api/v1/nodes").await.refused(403, "Forbidden");
    let text = std::fs::read_to_string(log).expect("the log");
    let mut events = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a JSON line"));
    let is_it = |event: &Value| event["requestURI"] == "/api/v1/nodes" && event["stage"] == "ResponseComplete";
    let event = events.find(is_it).expect("its event");
    assert_eq!((&event["user"]["username"], &event["sourceIPs"]), (&json!("alice"), &json!(["192.0.2.7"])));
}

/// Who asks, and whether they may, is no question yet.
#[tokio::test(flavor = "multi_thread")]
async fn anyone_hears_that_a_path_has_a_broken_escape() {
    let server = Secure::with_roles().await;
    let client = server.anonymous();
    get(&client, "/zz").await.refused(403, "Forbidden");
    let broken = get(&client, "/%zz").await;
    assert_eq!((broken.code, &broken.body), (400, &json!("400 Bad Request")));
}

impl Drop for Secure {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}
