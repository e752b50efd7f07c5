//! What the API server costs: CPU, latency and memory of each kind of request, and how they grow to 100,000 pods.
//!
//! Any server can be measured: a kube-apiserver of our own on the embedded store is started on loopback, or one that
//! runs is given by its kubeconfig; another is measured beside it, row after row in the same run, with `--against`.
//! [`list`] is the list of what is measured with its budgets, `rows` measure, [`report`] makes the sheet.
//! Fails only when something does not work: absolute figures vary from machine to machine, ratios are what counts.

mod client;
mod list;
mod meter;
mod objects;
mod report;
mod rows;
mod server;

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;

use crate::report::Measured;
use crate::rows::Group;
use crate::server::Server;

/// Measures an API server.
#[derive(Debug, Parser)]
#[command(name = "api-bench")]
struct Options {
    /// The server to measure, by its address; alone without credentials [default: one of our own].
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// The server to measure, with the rights of an administrator.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Processes whose CPU and memory count for that server, its store's too [default: who listens on its port].
    #[arg(long, value_name = "PID")]
    pid: Vec<i32>,
    /// Another server, to be measured beside it.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// As --pid, for the other server.
    #[arg(long, value_name = "PID")]
    against_pid: Vec<i32>,
    /// The program to start as our own server, of another build perhaps.
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_skiff"))]
    program: PathBuf,
    /// The end of the curve.
    #[arg(long, value_name = "COUNT", default_value_t = 100_000)]
    pods: usize,
    /// A part of the operations of each sample, to see that all works: 0.1 is a tenth.
    #[arg(long, value_name = "PART", default_value_t = 1.0)]
    effort: f64,
    /// Only these groups of rows; repeat for more.
    #[arg(long, value_enum)]
    only: Vec<Group>,
    /// Where to write api.json and api.svg.
    #[arg(long, value_name = "FOLDER", default_value = figures::folder!())]
    out: PathBuf,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn servers(&self) -> Result<Vec<Server>> {
        let mut servers = vec![match (&self.server, &self.kubeconfig) {
            (None, None) => Server::own(&self.program)?,
            (address, kubeconfig) => Server::foreign("given", kubeconfig.clone(), address.clone(), &self.pid)?,
        }];
        if let Some(kubeconfig) = &self.against {
            servers.push(Server::foreign("other", Some(kubeconfig.clone()), None, &self.against_pid)?);
        }
        Ok(servers)
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    let tasks = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    tasks.block_on(run(&options))
}

/// Group by group, and in each group server by server, so that the machine's moods meet all of them alike. What cannot be
/// measured of one server is told at the end, and takes no figure with it.
async fn run(options: &Options) -> Result<()> {
    let mut servers = options.servers()?;
    let mut measured: Vec<Measured> = servers.iter().map(|server| Measured::of(&server.name)).collect();
    let size = rows::Size { effort: options.effort, pods: options.pods };
    let mut missing = Vec::new();
    for group in Group::ALL.into_iter().filter(|group| options.only.is_empty() || options.only.contains(group)) {
        for (server, measured) in servers.iter_mut().zip(&mut measured) {
            println!("measuring {group:?} of {}", server.name);
            if let Err(error) = group.measure(server, &size, measured).await {
                missing.push(format!("{group:?} of {}: {error:#}", server.name));
            }
        }
    }
    report::sheet(&measured).write(&options.out)?;
    for server in &mut servers {
        server.clean_up().await?;
    }
    ensure!(missing.is_empty(), "not measured, or not whole:\n{}", missing.join("\n"));
    Ok(())
}
