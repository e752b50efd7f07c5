//! Calling another plugin: the delegated IPAM plugin of `bridge` (specification, section 4).

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::cni::{CniResult, Failure, Request};
use crate::host_local;

/// Runs the IPAM plugin `plugin` with the request's own environment and configuration.
///
/// When `CNI_PATH` leads to this very program it is called as a function: the same code, without an exec.
pub(crate) fn ipam(plugin: &str, request: &Request) -> Result<Option<CniResult>, Failure> {
    let path = find(plugin, &request.path)?;
    if plugin == "host-local" && is_this_program(&path) {
        return host_local::call(request);
    }
    let output =
        spawn(&path, request).map_err(|error| Failure::internal(format!("failed to run {plugin:?}: {error}")))?;
    if !output.status.success() {
        return Err(serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
            let stderr = String::from_utf8_lossy(&output.stderr);
            Failure::internal(format!("plugin {plugin:?} failed ({}): {}", output.status, stderr.trim()))
        }));
    }
    if output.stdout.trim_ascii().is_empty() {
        return Ok(None);
    }
    let value: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| Failure::decode(format!("plugin {plugin:?} gave no result: {error}")))?;
    CniResult::from_json(&value, "").map(Some)
}

fn spawn(path: &Path, request: &Request) -> std::io::Result<std::process::Output> {
    let mut child = Command::new(path)
        .env("CNI_COMMAND", request.command.name())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A plugin that answers without reading closes its end: its answer says what was wrong.
        let _ = stdin.write_all(&request.stdin);
    }
    child.wait_with_output()
}

fn find(plugin: &str, path: &str) -> Result<PathBuf, Failure> {
    if plugin.is_empty() || plugin.contains('/') {
        return Err(Failure::config(format!("invalid plugin name: {plugin:?}")));
    }
    std::env::split_paths(path)
        .map(|folder| folder.join(plugin))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| Failure::internal(format!("failed to find plugin {plugin:?} in path [{path}]")))
}

fn is_this_program(path: &Path) -> bool {
    let identity = |path: &Path| std::fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino())).ok();
    identity(path).is_some_and(|theirs| Some(theirs) == identity(Path::new("/proc/self/exe")))
}
