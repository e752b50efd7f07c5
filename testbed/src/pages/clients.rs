//! The kubectl programs of this machine: `kubectl`, and others by the name `kubectl.1.MINOR`, on PATH or beside it.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

pub struct Client {
    pub minor: u32,
    program: PathBuf,
}

impl Client {
    /// A folder for PATH, where this program is `kubectl`.
    pub(super) fn folder(&self, below: &Path) -> Result<PathBuf> {
        let folder = below.join(format!("kubectl-1.{}", self.minor));
        std::fs::create_dir_all(&folder)?;
        match symlink(&self.program, folder.join("kubectl")) {
            // Pages are told side by side: another was faster.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(folder),
            linked => linked.map(|()| folder).context("link kubectl"),
        }
    }
}

/// The oldest and the newest, between which lies how kubectl changed; `SKIFF_KUBECTLS=all` for each there is.
pub fn chosen() -> Result<Vec<Client>> {
    let mut clients = all()?;
    if std::env::var_os("SKIFF_KUBECTLS").is_none_or(|chosen| chosen != "all") {
        clients.drain(1..clients.len().max(2) - 1);
    }
    Ok(clients)
}

/// From the oldest to the newest.
fn all() -> Result<Vec<Client>> {
    let mut programs = candidates();
    // A plain `kubectl` may be a wrapper that runs one of the others, and not the one that it answers for.
    programs.sort_by_key(|program| program.ends_with("kubectl"));
    let mut found: BTreeMap<u32, PathBuf> = BTreeMap::new();
    for program in programs {
        if let Some(minor) = minor(&program) {
            found.entry(minor).or_insert(program);
        }
    }
    ensure!(!found.is_empty(), "there is no kubectl on PATH");
    Ok(found.into_iter().map(|(minor, program)| Client { minor, program }).collect())
}

fn candidates() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let real = folders.iter().find_map(|folder| std::fs::canonicalize(folder.join("kubectl")).ok());
    folders.extend(real.and_then(|program| Some(program.parent()?.to_owned())));
    let is_kubectl = |name: &str| {
        name == "kubectl" || name.strip_prefix("kubectl.1.").is_some_and(|minor| minor.parse::<u32>().is_ok())
    };
    let in_folder = |folder: PathBuf| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter(move |entry| entry.file_name().to_str().is_some_and(is_kubectl)).map(|entry| entry.path())
    };
    folders.into_iter().flat_map(in_folder).collect()
}

/// Of its version; some answer `27+`.
fn minor(program: &Path) -> Option<u32> {
    let output = Command::new(program).args(["version", "--client", "--output=json"]).output().ok()?;
    let version: Value = serde_json::from_slice(&output.stdout).ok()?;
    version["clientVersion"]["minor"].as_str()?.trim_end_matches('+').parse().ok()
}
