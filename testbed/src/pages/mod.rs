//! Pages of commands and exactly what they print, told with any kubectl of the machine: kubectl's habits as tests.
//!
//! Enter at [`Stage::tell`]. [`clients`] finds the kubectl programs; `page` is how a page is written, and says it. What
//! cluster the commands speak to, whoever sets the stage knows.
//!
//! `SKIFF_UPDATE=1` writes what was printed into the pages, to be read before it is kept. `SKIFF_PAGE=name` tells one.

pub mod clients;
mod page;
mod story;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use crate::{Bed, Output};
use clients::Client;
use story::Story;

/// Where pages are told.
pub struct Stage<'a> {
    /// Each page has a folder of its own below it.
    pub folder: &'a Path,
    /// An administrator's.
    pub kubeconfig: &'a Path,
    /// A file of shell functions that the pages may use.
    pub tools: &'a Path,
    /// Where commands run; without one, beside the test.
    pub bed: Option<&'a Bed>,
    /// Pages at a time.
    pub workers: usize,
}

impl Stage<'_> {
    /// Tells pages with each of the clients. The error has all that was printed otherwise.
    pub fn tell(&self, mut clients: Vec<Client>, pages: &[PathBuf]) -> Result<()> {
        if is_update() {
            clients.drain(..clients.len().saturating_sub(1));
        }
        let mut failures = Vec::new();
        for client in clients {
            println!("kubectl 1.{}", client.minor);
            failures.extend(self.tell_with(&client, pages));
        }
        ensure!(failures.is_empty(), "{}", failures.join("\n"));
        Ok(())
    }

    fn tell_with(&self, client: &Client, pages: &[PathBuf]) -> Vec<String> {
        let (left, failures) = (Mutex::new(pages.iter()), Mutex::new(Vec::new()));
        let next = || left.lock().ok()?.next();
        std::thread::scope(|scope| {
            for _ in 0..self.workers {
                scope.spawn(|| {
                    while let Some(page) = next() {
                        let start = Instant::now();
                        let result = Story::new(self, client, page).and_then(|story| story.tell());
                        println!("{:6.1}s  {}", start.elapsed().as_secs_f64(), page.display());
                        if let (Err(error), Ok(mut failures)) = (result, failures.lock()) {
                            failures.push(format!("{} with kubectl 1.{}: {error:#}", page.display(), client.minor));
                        }
                    }
                });
            }
        });
        failures.into_inner().unwrap_or_else(|_| vec!["a page panicked".into()])
    }

    fn command(&self, program: &str) -> Command {
        match self.bed {
            Some(bed) => bed.command(program),
            None => Command::new(program),
        }
    }

    /// As administrator; it must succeed.
    fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.command("env");
        let set = |name: &str, path: &Path| format!("{name}={}", path.display());
        command.args([set("KUBECONFIG", self.kubeconfig), set("HOME", self.folder), "kubectl".to_owned()]);
        let output = Output::of(command.args(arguments))?;
        if !output.success {
            bail!("kubectl {}: {}", arguments.join(" "), output.stderr);
        }
        Ok(output.stdout)
    }
}

/// A folder's pages by name, or the one that was asked for.
pub fn in_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let wanted = std::env::var("SKIFF_PAGE").ok();
    let entries = std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let mut pages: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "txt"));
    ensure!(!pages.is_empty(), "no pages in {}", folder.display());
    pages.retain(|page| wanted.as_ref().is_none_or(|wanted| page.file_stem().is_some_and(|stem| stem == &wanted[..])));
    pages.sort();
    Ok(pages)
}

/// Whether what is printed goes into the pages. The newest kubectl is the one that writes.
fn is_update() -> bool {
    std::env::var_os("SKIFF_UPDATE").is_some()
}
