//! An API server in this process, on the embedded store in a temporary folder, without TLS and authorization.

use std::path::Path;
use std::sync::Arc;

use component::shutdown::Shutdown;
use component::testing::Descriptor;
use http::{Method, Request};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::net::TcpListener;

pub struct TestServer {
    pub client: kube::Client,
    /// Of the port without TLS.
    pub address: std::net::SocketAddr,
    /// Of the port with TLS, whose certificate nobody vouches for.
    pub secure: std::net::SocketAddr,
    /// What SIGTERM triggers.
    pub shutdown: Shutdown,
    running: tokio::task::JoinHandle<()>,
    listeners: [Descriptor; 2],
    folder: Arc<tempfile::TempDir>,
}

/// Code and body of an answer.
pub struct Answer {
    pub code: u16,
    pub body: Value,
}

impl TestServer {
    pub async fn start(more_flags: &[&str]) -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().expect("a temporary folder")), more_flags).await
    }

    /// With what an earlier server left in the folder. On the embedded store, unless the flags name an etcd.
    pub async fn start_in(folder: Arc<tempfile::TempDir>, more_flags: &[&str]) -> Self {
        let path = |name: &str| folder.path().join(name).display().to_string();
        if !folder.path().join("sa.key").exists() {
            let key = rcgen::KeyPair::generate().expect("a key").serialize_pem();
            std::fs::write(path("sa.key"), key).expect("write the key");
        }
        let mut flags = vec![
            format!("--cert-dir={}", path("certs")),
            format!("--service-account-signing-key-file={}", path("sa.key")),
        ];
        if !more_flags.iter().any(|flag| flag.starts_with("--service-account-issuer")) {
            flags.push("--service-account-issuer=https://kubernetes".to_owned());
        }
        if !more_flags.iter().any(|flag| flag.starts_with("--etcd-servers")) {
            flags.push("--storage-backend=embedded".to_owned());
            flags.push(format!("--data-dir={}", path("store")));
        }
        flags.extend(more_flags.iter().map(|flag| (*flag).to_owned()));
        let values = apiserver::flags().parse(flags).expect("flags of the table");
        let options = apiserver::Options::from_flags(&values).expect("good options");
        let shutdown = Shutdown::new();
        let mut seams = apiserver::Seams::system(shutdown.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let secure = listener.local_addr().expect("its address");
        let insecure = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = insecure.local_addr().expect("its address");
        let listeners = [&listener, &insecure].map(Descriptor::of);
        (seams.listener, seams.insecure_listener) = (Some(listener), Some(insecure));
        let running = tokio::spawn(async move { apiserver::run(options, seams).await.expect("the server runs") });
        let config = component::client::ClientConfig::from_master("test", format!("http://{address}"));
        let client = component::client::connect(config).expect("a client");
        let server = Self { client, address, secure, shutdown, running, listeners, folder };
        server.ready().await;
        server
    }

    /// Ends the server as SIGTERM does; returns once it is gone, with its folder for the next one.
    pub async fn stop(mut self) -> Arc<tempfile::TempDir> {
        self.shutdown.trigger();
        let ended = tokio::time::timeout(std::time::Duration::from_secs(20), &mut self.running).await;
        ended.expect("the server ends in time").expect("it does not panic");
        let left = self.listeners.map(Descriptor::count);
        assert_eq!(left, [0, 0], "{} and {} are given back", self.secure, self.address);
        self.store_is_free().await;
        self.folder.clone()
    }

    /// A request that was cut off may hold the embedded store for a moment longer.
    async fn store_is_free(&self) {
        let store = self.folder.path().join("store");
        let free = async {
            while store.exists() && apiserver::store::embedded::disk::Folder::open(&store).is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), free).await.expect("the store is let go");
    }

    /// Asks `/readyz` until it says yes: there is nothing to watch before the server serves.
    async fn ready(&self) {
        let ready = async {
            while self.get("/readyz").await.code != 200 {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        let ready = tokio::time::timeout(std::time::Duration::from_secs(30), ready).await;
        assert!(ready.is_ok(), "the server at {} does not become ready", self.address);
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, Some(body)).await
    }

    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let bytes = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .body(kube::client::Body::from(bytes))
            .expect("a request");
        let answer = self.client.send(request).await.expect("an answer");
        let code = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into());
        Answer { code, body }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

/// The folder of recorded answers, where there is one.
pub fn oracle() -> Option<std::path::PathBuf> {
    let named = std::env::var_os("SKIFF_ORACLE").map(Into::into);
    let folder = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/oracle"));
    folder.is_dir().then_some(folder)
}
