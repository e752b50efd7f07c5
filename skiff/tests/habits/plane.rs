//! An API server with the controllers, on loopback and in a folder of its own: all that kubectl needs short of containers.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testbed::{certificates, eventually};

const SKIFF: &str = env!("CARGO_BIN_EXE_skiff");
const SOON: Duration = Duration::from_secs(60);

pub(crate) struct Plane {
    parts: Vec<Child>,
    folder: tempfile::TempDir,
}

impl Plane {
    /// Returns once namespaces get what their controllers make.
    pub(crate) fn start() -> Result<Self> {
        let folder = tempfile::tempdir().context("a folder for the control plane")?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        certificates::write(folder.path(), port)?;
        let mut plane = Self { parts: Vec::new(), folder };
        plane.run("kube-apiserver", certificates::apiserver_flags(plane.folder.path(), port))?;
        let ready = || plane.kubectl(&["get", "--raw", "/readyz"]);
        eventually("the API server is ready", SOON, ready).with_context(|| plane.logs())?;
        plane.run("kube-controller-manager", plane.controllers())?;
        let account = || plane.kubectl(&["get", "serviceaccount", "default"]);
        eventually("the controllers work", SOON, account).with_context(|| plane.logs())?;
        Ok(plane)
    }

    fn controllers(&self) -> Vec<String> {
        let file = |flag: &str, name: &str| format!("--{flag}={}", self.folder.path().join(name).display());
        vec![
            "--leader-elect=false".into(),
            "--secure-port=0".into(),
            file("kubeconfig", "kubeconfig"),
            file("cluster-signing-cert-file", "ca.crt"),
            file("cluster-signing-key-file", "ca.key"),
            file("root-ca-file", "ca.crt"),
            file("service-account-private-key-file", "sa.key"),
        ]
    }

    fn run(&mut self, part: &str, flags: Vec<String>) -> Result<()> {
        let log = std::fs::File::create(self.folder.path().join(format!("{part}.log")))?;
        let mut command = Command::new(SKIFF);
        command.arg(part).args(flags).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.parts.push(command.spawn().with_context(|| format!("start {part}"))?);
        Ok(())
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// As administrator; it must succeed.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("kubectl");
        command.args(arguments).env("KUBECONFIG", self.kubeconfig()).env("HOME", self.folder.path());
        let output = command.stdin(Stdio::null()).output().context("run kubectl")?;
        ensure!(output.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The ends of the parts' logs.
    pub(crate) fn logs(&self) -> String {
        let tail = |part: &str| {
            let path = self.folder.path().join(format!("{part}.log"));
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("---- {part} ----\n{}\n", lines[lines.len().saturating_sub(20)..].join("\n"))
        };
        tail("kube-apiserver") + &tail("kube-controller-manager")
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        for part in self.parts.iter_mut().rev() {
            // It is gone or going; there is nobody left to tell.
            let _ = part.kill();
            let _ = part.wait();
        }
    }
}
