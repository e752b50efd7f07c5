//! `skiff-drill`: puts whole clusters to the test, each in namespaces of its own that are gone afterwards.
//!
//! [`chaos`] strikes a cluster at work with faults that a seed chooses; [`swap`] puts other implementations in the places
//! of parts. The exit status tells what happened: 0 all was well, 1 a cluster was there and something was wrong with it,
//! 3 no cluster came up; 2 is a command line that makes no sense.

mod chaos;
mod swap;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Error};
use clap::{Parser, Subcommand};

/// Puts whole clusters to the test.
#[derive(Debug, Parser)]
#[command(name = "skiff-drill")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Kill, pause, cut off, and fill the disk of a cluster at work, and look whether it kept its promises.
    Chaos(chaos::Options),
    /// Run a cluster with other implementations of some parts.
    Swap(swap::Options),
}

/// Why a drill did not succeed.
#[derive(Debug)]
enum Failure {
    /// There was no cluster to try.
    NotUp(Error),
    /// There was one, and this was wrong.
    Wrong(Error),
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Wrong(_) => ExitCode::FAILURE,
            Self::NotUp(_) => ExitCode::from(3),
        }
    }
}

/// The programs of this workspace are built into one folder.
fn skiff() -> anyhow::Result<PathBuf> {
    Ok(std::env::current_exe().context("find this program's own file")?.with_file_name("skiff"))
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = skiff().map_err(Failure::NotUp).and_then(|skiff| match &cli.command {
        Command::Chaos(options) => chaos::run(options, &skiff),
        Command::Swap(options) => swap::run(options, &skiff),
    });
    let Err(failure) = result else { return ExitCode::SUCCESS };
    match &failure {
        Failure::NotUp(error) => println!("\nDID NOT COME UP: {error:#}"),
        Failure::Wrong(error) => println!("\nFAILED: {error:#}"),
    }
    failure.exit_code()
}
