//! A real etcd for a test, on loopback and in a folder of its own.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use apiserver::store::etcd::{Etcd, Options};
use apiserver::store::{Error, Store};

/// An etcd of its own; ends with this value.
pub(crate) struct Server {
    child: Child,
    folder: tempfile::TempDir,
    port: u16,
    tls: bool,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// `None`, with a notice, when there is no etcd here.
    pub(crate) fn start() -> Option<Self> {
        Self::start_in(tempfile::tempdir().unwrap(), free_port(), false)
    }

    pub(crate) fn start_in(folder: tempfile::TempDir, port: u16, tls: bool) -> Option<Self> {
        let mut command = Command::new("etcd");
        let client = format!("{}://127.0.0.1:{port}", if tls { "https" } else { "http" });
        let peer = format!("http://127.0.0.1:{}", free_port());
        command.arg("--data-dir").arg(folder.path().join("data"));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--log-level", "error"]);
        if tls {
            let file = |name| folder.path().join(name);
            command.arg("--client-cert-auth").arg("--trusted-ca-file").arg(file("ca.crt"));
            command.arg("--cert-file").arg(file("server.crt")).arg("--key-file").arg(file("server.key"));
        }
        match command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null()).spawn() {
            Ok(child) => Some(Self { child, folder, port, tls }),
            Err(error) => {
                println!("SKIPPED: etcd cannot be started here: {error}");
                None
            }
        }
    }

    pub(crate) fn restart(mut self) -> Self {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        Self::start_in(folder, self.port, self.tls).expect("it started before")
    }

    /// As `--etcd-servers` takes it.
    pub(crate) fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", if self.tls { "https" } else { "http" }, self.port)
    }

    pub(crate) async fn store(&self) -> Arc<dyn Store> {
        let file = |name| self.folder.path().join(name);
        let store = Etcd::connect(Options {
            servers: vec![self.url()],
            ca_file: self.tls.then(|| file("ca.crt")),
            certificate: self.tls.then(|| (file("client.crt"), file("client.key"))),
            timeout: Duration::from_secs(20),
        });
        let store = store.await.unwrap();
        let answers = async {
            while let Err(error) = store.revision().await {
                assert!(!matches!(error, Error::Failed { .. }), "{error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), answers).await.expect("etcd starts");
        Arc::new(store)
    }
}

/// No one listens there at this moment.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
