//! A bed with the program `skiff`, a data folder for it, and what of the cluster can be seen from this machine alone.
//!
//! Its own command line is all that is known of `skiff`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::{Bed, Output};

/// How much of a log belongs into the message of a failed test.
const LOG_LINES: usize = 30;

pub struct Machine {
    pub bed: Bed,
    pub(crate) skiff: PathBuf,
}

impl Machine {
    pub(crate) fn new(bed: Bed, skiff: &Path) -> Self {
        Self { bed, skiff: skiff.to_owned() }
    }

    /// The data folder of its `skiff`.
    pub fn data(&self) -> PathBuf {
        self.bed.folder().join("data")
    }

    /// A program of this workspace: they are built into one folder.
    ///
    /// # Errors
    /// One that was not built.
    pub fn program(&self, name: &str) -> Result<String> {
        let path = self.skiff.with_file_name(name);
        ensure!(path.exists(), "{} is not built: cargo build --workspace --bins", path.display());
        Ok(path.display().to_string())
    }

    /// Runs `skiff` with the data folder; it must succeed.
    pub fn skiff(&self, arguments: &[&str]) -> Result<String> {
        let output = self.skiff_output(arguments)?;
        output.stdout_of(&[&["skiff"], arguments].concat()).with_context(|| self.log())
    }

    /// The same of one that must fail; returns what it says.
    pub fn refused(&self, arguments: &[&str]) -> Result<String> {
        let output = self.skiff_output(arguments)?;
        ensure!(!output.success, "{arguments:?} should have failed: {}", output.stdout);
        Ok(output.stderr)
    }

    fn skiff_output(&self, arguments: &[&str]) -> Result<Output> {
        let (skiff, data) = (self.skiff.display().to_string(), self.data().display().to_string());
        self.bed.output(&[&[skiff.as_str()], arguments, &["--data-dir", &data]].concat())
    }

    /// The end of the log of the parts that run in one process.
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.data().join("skiff.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// What a server answers to this machine; it must be a success.
    pub fn curl(&self, url: &str) -> Result<String> {
        self.bed.run(&["curl", "--silent", "--show-error", "--fail", "--max-time", "5", url])
    }

    /// The command lines of its processes, without those that have ended and are about to be taken in by the first one.
    pub fn processes(&self) -> Result<String> {
        self.bed.run(&["sh", "-c", "ps -e -o stat=,args= | grep -v ^Z"])
    }

    /// The running containers, pause ones too, by the runtime's own account.
    pub fn containers(&self) -> Result<Vec<String>> {
        let socket = self.data().join("containerd/containerd.sock").display().to_string();
        let list = ["ctr", "--address", &socket, "--namespace", "k8s.io", "tasks", "list", "--quiet"];
        Ok(self.bed.run(&list)?.lines().map(String::from).collect())
    }
}
