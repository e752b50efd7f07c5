//! A namespace for one case, and kubectl in it.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// Removed when dropped, without waiting for it.
pub(crate) struct Namespace {
    kubeconfig: Option<PathBuf>,
    name: String,
}

impl Namespace {
    /// With a name that the server makes.
    pub(crate) fn create(kubeconfig: Option<PathBuf>) -> Result<Self> {
        let mut namespace = Self { kubeconfig, name: "default".into() };
        let object = r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"generateName":"conformance-"}}"#;
        let created = namespace.apply("create", object)?;
        namespace.name = created["metadata"]["name"].as_str().context("the namespace has no name")?.to_owned();
        Ok(namespace)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        if let Some(kubeconfig) = &self.kubeconfig {
            command.arg("--kubeconfig").arg(kubeconfig);
        }
        command.args(["--namespace", &self.name]).args(arguments);
        command
    }

    /// Standard output of a kubectl that must succeed.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.run(self.command(arguments), None)
    }

    /// Standard error of a kubectl that must fail.
    pub(crate) fn refused(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments).stdin(Stdio::null()).output().context("run kubectl")?;
        if output.status.success() {
            bail!("kubectl {} was not refused", arguments.join(" "));
        }
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// `create`, `apply` or `replace` an object given as JSON; returns what the server made of it.
    pub(crate) fn apply(&self, verb: &str, object: &str) -> Result<Value> {
        let text = self.run(self.command(&[verb, "-f", "-", "-o", "json"]), Some(object))?;
        serde_json::from_str(&text).context("kubectl's output is no JSON")
    }

    pub(crate) fn get(&self, object: &str) -> Result<Value> {
        let text = self.kubectl(&["get", object, "-o", "json"])?;
        serde_json::from_str(&text).context("kubectl's output is no JSON")
    }

    fn run(&self, mut command: Command, input: Option<&str>) -> Result<String> {
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("run kubectl")?;
        if let (Some(input), Some(mut pipe)) = (input, child.stdin.take()) {
            pipe.write_all(input.as_bytes()).context("write to kubectl")?;
        }
        let output = child.wait_with_output().context("wait for kubectl")?;
        if !output.status.success() {
            bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if self.name != "default" {
            let _ = self.kubectl(&["delete", "namespace", &self.name, "--wait=false"]);
        }
    }
}
