//! Rules of the house that no compiler checks: who may depend on whom ([`arrows`]), how large things may grow
//! ([`shapes`]), and what the libraries of others must be like ([`libraries`]).
//!
//! ARCHITECTURE.md and CONTRIBUTING.md give the reasons.

mod arrows;
mod libraries;
mod licences;
mod shapes;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// What cargo knows of the workspace; with `arguments` of `cargo metadata`.
fn metadata(arguments: &[&str]) -> Value {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version=1", "--offline"]).args(arguments).current_dir(root());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The packages of an answer of [`metadata`].
fn packages(metadata: &Value) -> &[Value] {
    metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text<'v>(object: &'v Value, member: &str) -> &'v str {
    object[member].as_str().unwrap_or_default()
}

/// Rust files that git knows, by their path from the root.
fn sources() -> Vec<(String, String)> {
    let arguments = ["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"];
    let output = Command::new("git").args(arguments).current_dir(root()).output().unwrap();
    let list = String::from_utf8(output.stdout).unwrap();
    let read = |path: &str| Some((path.to_owned(), std::fs::read_to_string(root().join(path)).ok()?));
    let sources: Vec<_> = list.lines().filter_map(read).collect();
    assert!(!sources.is_empty(), "git lists the sources");
    sources
}
