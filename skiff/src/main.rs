//! `skiff`: all of Kubernetes in one program.
//!
//! Called by a part's name (`kube-apiserver`, …, as a link or as first argument) it is that part, with upstream's
//! flags: [`parts`]. Else it is the tool that makes, starts, stops and removes a cluster: [`up`], [`down`], [`reset`],
//! [`status`]; takes further machines into it: [`token`], [`join`]; and loads images: [`image`]. It knows the parts' command lines and not how any of them works.

mod addons;
mod api;
mod cli;
mod cni;
mod daemon;
mod down;
mod files;
mod flags;
mod image;
mod join;
mod kubeconfig;
mod layout;
mod machine;
mod node;
mod node_address;
mod notify;
mod part;
mod parts;
mod pki;
mod process;
mod progress;
mod reset;
mod run;
mod runtime;
mod settings;
mod status;
mod token;
mod up;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;

use cli::{Cli, Command};
use layout::Layout;

/// Requests make thousands of small pieces on one thread and drop them on another. Huge pages are off: they would keep
/// half as much again in memory at rest.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    if let Some((part, arguments)) = parts::called(&arguments) {
        return parts::main(part, arguments);
    }
    match command(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprint_line(&format!("skiff: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn command(command: Command) -> Result<ExitCode> {
    match command {
        Command::Up(options) => up::up(*options)?,
        Command::Join(options) => join::join(*options)?,
        Command::Token(command) => token::token(command)?,
        Command::Image(command) => image::image(command)?,
        Command::Down(folder) => down::down(&layout(folder)?)?,
        Command::Reset(folder) => reset::reset(&layout(folder)?)?,
        Command::Status(folder) => return status::status(&layout(folder)?),
        Command::Kubeconfig(folder) => {
            let path = layout(folder)?.admin_kubeconfig();
            let text = files::read_if_present(&path)?;
            print!("{}", text.with_context(|| format!("there is no {}: run skiff up first", path.display()))?);
        }
        Command::Version => println!("Skiff {}", component::version::GIT_VERSION),
    }
    Ok(ExitCode::SUCCESS)
}

/// The folder by the one absolute path that has no links in it: it goes into configurations that others read from other
/// folders, and what is mounted below is known to the kernel by that path alone.
fn layout(folder: cli::DataDir) -> Result<Layout> {
    let path = std::path::absolute(&folder.data_dir).context("the data folder's path")?;
    Ok(Layout::new(without_links(&path)?))
}

/// Of a folder that is not there yet: that of the first above it that is.
fn without_links(path: &Path) -> Result<PathBuf> {
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Ok(found), ..) => Ok(found),
        (Err(error), Some(parent), Some(name)) if error.kind() == ErrorKind::NotFound => {
            Ok(without_links(parent)?.join(name))
        }
        (Err(error), ..) => Err(error).with_context(|| format!("find {}", path.display())),
    }
}

/// For errors of the command line, which are not logs.
#[expect(clippy::print_stderr, reason = "the command line's own voice")]
fn eprint_line(text: &str) {
    eprintln!("{text}");
}

/// A runtime for one command of the tool.
fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("start the asynchronous runtime")?.block_on(future)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_folder_has_one_path() {
        let beside = tempfile::tempdir().unwrap();
        let real = beside.path().canonicalize().unwrap();
        std::fs::create_dir(real.join("there")).unwrap();
        std::os::unix::fs::symlink("there", real.join("link")).unwrap();
        for (given, found) in [("link", "there"), ("link/new/er", "there/new/er"), ("new", "new")] {
            assert_eq!(without_links(&real.join(given)).unwrap(), real.join(found), "{given}");
        }
    }
}
