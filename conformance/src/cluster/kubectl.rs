//! A person's kubectl.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::AsyncWriteExt as _;

/// No command of a case takes this long.
const LIMIT: Duration = Duration::from_secs(200);

/// The program, and the cluster that it is told.
#[derive(Debug)]
pub(crate) struct Kubectl {
    program: PathBuf,
    kubeconfig: Option<PathBuf>,
    /// Discovery is cached below it, away from the caller's own.
    home: tempfile::TempDir,
}

/// What a command left.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Kubectl {
    pub(super) fn new(program: PathBuf, kubeconfig: Option<PathBuf>) -> Result<Self> {
        let home = tempfile::tempdir().context("make a folder for kubectl's cache")?;
        Ok(Self { program, kubeconfig, home })
    }

    pub(crate) fn command(&self, namespace: &str, arguments: &[&str]) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.program);
        if let Some(kubeconfig) = &self.kubeconfig {
            command.arg("--kubeconfig").arg(kubeconfig);
        }
        command.arg("--cache-dir").arg(self.home.path()).args(["--namespace", namespace]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Runs a command to its end, whatever its exit code.
    pub(crate) async fn output(&self, namespace: &str, arguments: &[&str], input: Option<&str>) -> Result<Output> {
        let mut command = self.command(namespace, arguments);
        if input.is_some() {
            command.stdin(Stdio::piped());
        }
        let line = format!("kubectl {}", arguments.join(" "));
        let work = async {
            let mut child = command.spawn().with_context(|| format!("start {}", self.program.display()))?;
            if let (Some(input), Some(mut pipe)) = (input, child.stdin.take()) {
                pipe.write_all(input.as_bytes()).await.context("write to kubectl")?;
            }
            child.wait_with_output().await.context("wait for kubectl")
        };
        let Ok(output) = tokio::time::timeout(LIMIT, work).await else {
            bail!("{line}: not done in {} s", LIMIT.as_secs())
        };
        let output = output.with_context(|| line)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().unwrap_or(-1);
        Ok(Output { code, stdout: text(&output.stdout), stderr: text(&output.stderr) })
    }
}
