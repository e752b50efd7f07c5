//! Running `nft`: for `ipMasqBackend: nftables`, `portmap`'s nftables backend and the MAC spoof check.

use std::process::{Command, Stdio};

use serde_json::Value;

use super::pipe;
use crate::cni::Failure;

/// Applies a script in one transaction. `Ok(Err(text))`: nft refused.
pub(crate) fn apply(script: &str) -> Result<Result<(), String>, Failure> {
    let output = pipe(Command::new("nft").args(["-f", "-"]), script).map_err(|error| missing(&error))?;
    if output.status.success() {
        return Ok(Ok(()));
    }
    Ok(Err(String::from_utf8_lossy(&output.stderr).trim().to_string()))
}

/// A rule of a chain: its handle and its comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) handle: u64,
    pub(crate) comment: String,
}

/// The rules of a chain that have a comment; none when table or chain are not there, or nft itself.
pub(crate) fn list(family: &str, table: &str, chain: &str) -> Vec<Rule> {
    let output =
        Command::new("nft").args(["-j", "-a", "list", "chain", family, table, chain]).stdin(Stdio::null()).output();
    let Ok(output) = output else { return Vec::new() };
    let Ok(value) = serde_json::from_slice::<Value>(&output.stdout) else { return Vec::new() };
    rules_of(&value)
}

fn rules_of(value: &Value) -> Vec<Rule> {
    let entries = value["nftables"].as_array().into_iter().flatten();
    let rules = entries.filter_map(|entry| {
        let rule = entry.get("rule")?;
        Some(Rule { handle: rule["handle"].as_u64()?, comment: rule["comment"].as_str()?.to_string() })
    });
    rules.collect()
}

fn missing(error: &std::io::Error) -> Failure {
    Failure::internal(format!("failed to run nft: {error}"))
}
