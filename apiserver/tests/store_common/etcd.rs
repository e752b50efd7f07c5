//! A real etcd for a test, on loopback and in a folder of its own.

use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use apiserver::store::etcd::{Etcd, Options};
use apiserver::store::{Error, Store};

/// An etcd of its own; ends with this value.
pub(crate) struct Server {
    child: Child,
    folder: tempfile::TempDir,
    ports: Ports,
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
        Self::start_in(tempfile::tempdir().unwrap(), Ports::next(), false)
    }

    pub(crate) fn start_in(folder: tempfile::TempDir, ports: Ports, tls: bool) -> Option<Self> {
        let mut command = Command::new("etcd");
        let (client, peer) = (ports.client_url(tls), format!("http://{}:{}", host(), ports.peer));
        command.arg("--data-dir").arg(folder.path().join("data"));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--log-level", "error"]);
        if tls {
            let file = |name| folder.path().join(name);
            command.arg("--client-cert-auth").arg("--trusted-ca-file").arg(file("ca.crt"));
            command.arg("--cert-file").arg(file("server.crt")).arg("--key-file").arg(file("server.key"));
        }
        match command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null()).spawn() {
            Ok(child) => Some(Self { child, folder, ports, tls }),
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
        Self::start_in(folder, self.ports, self.tls).expect("it started before")
    }

    /// As `--etcd-servers` takes it.
    pub(crate) fn url(&self) -> String {
        self.ports.client_url(self.tls)
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

/// The two ports of one etcd, on [`host`]. They are not asked of the kernel: etcd binds them itself, and until then it would
/// give them to others.
#[derive(Clone, Copy)]
pub(crate) struct Ports {
    client: u16,
    peer: u16,
}

impl Ports {
    /// Nobody else's in this process.
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(2379);
        let client = NEXT.fetch_add(2, Ordering::Relaxed);
        Self { client, peer: client + 1 }
    }

    fn client_url(self, tls: bool) -> String {
        format!("{}://{}:{}", if tls { "https" } else { "http" }, host(), self.client)
    }
}

/// An address of the loopback link that is this process's own: process numbers have 22 bits.
pub(crate) fn host() -> Ipv4Addr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | high, middle, low)
}
