//! Our own kube-apiserver as its own process, configured as `skiff up` does: TLS, client certificates, RBAC.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use component::client::ClientConfig;
use http::Method;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testbed::certificates;
use tokio::net::TcpStream;

use crate::client::Client;

const DEADLINE: Duration = Duration::from_secs(120);
/// Between two looks whether it is ready: short against the shortest start.
const PAUSE: Duration = Duration::from_millis(1);

pub(super) struct Own {
    program: PathBuf,
    /// Below the target folder: a temporary folder may be kept in memory, where writing durably costs nothing.
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl Own {
    pub(super) fn prepare(program: &Path) -> Result<Self> {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).context("a folder for the server")?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let own = Self { program: program.to_owned(), folder, port, child: None };
        certificates::write(own.folder.path(), port)?;
        Ok(own)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.path("kubeconfig")
    }

    pub(super) fn pid(&self) -> Option<Pid> {
        self.child.as_ref().map(|child| Pid::from_raw(child.id().cast_signed()))
    }

    /// How long it took until `/readyz` said yes.
    pub(super) async fn start(&mut self, config: &ClientConfig) -> Result<Duration> {
        let log = std::fs::File::create(self.path("log")).context("the server's log")?;
        let mut command = Command::new(&self.program);
        command
            .arg("kube-apiserver")
            .args(certificates::apiserver_flags(self.folder.path(), self.port))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let start = Instant::now();
        self.child = Some(command.spawn().context("start the server")?);
        while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            self.check(start)?;
            tokio::time::sleep(PAUSE).await;
        }
        let client = Client::connect(config)?;
        while !client.ask(Method::GET, "/readyz", None).await.is_ok_and(|(code, _)| code == 200) {
            self.check(start)?;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(start.elapsed())
    }

    /// That there is still something to wait for.
    fn check(&mut self, start: Instant) -> Result<()> {
        let log = || std::fs::read_to_string(self.path("log")).unwrap_or_default();
        ensure!(start.elapsed() < DEADLINE, "not ready in {DEADLINE:?}: {}", log());
        let log = log();
        if let Some(status) = self.child.as_mut().map(Child::try_wait).transpose()?.flatten() {
            self.child = None;
            bail!("the server ended, {status}: {log}");
        }
        Ok(())
    }

    pub(super) async fn stop(&mut self, signal: Signal) -> Result<()> {
        let Some(pid) = self.pid() else { return Ok(()) };
        kill(pid, signal).with_context(|| format!("send {signal} to the server"))?;
        let Some(mut child) = self.child.take() else { return Ok(()) };
        tokio::task::spawn_blocking(move || child.wait()).await?.context("wait for the server")?;
        Ok(())
    }

    pub(super) fn forget(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "the server runs");
        match std::fs::remove_dir_all(self.path("store")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("empty the store"),
            _ => Ok(()),
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It is gone or going; there is nobody left to tell.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
