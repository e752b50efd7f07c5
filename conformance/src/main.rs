//! `skiff-conformance`: runs cases against a cluster that is there, and reports.
//!
//! A black box: it is given a kubeconfig, speaks through kubectl, and knows nothing of who serves. The cases hold for any
//! Kubernetes, so running it against upstream's checks the cases. [`cases`] has them, [`cluster`] what they use.

mod cases;
mod cluster;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;

use cluster::Namespace;

/// Runs conformance cases against a cluster.
#[derive(Debug, Parser)]
#[command(name = "skiff-conformance")]
struct Options {
    /// The cluster, with the rights of an administrator [default: kubectl's own choice].
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Only cases whose name contains this; repeat for more.
    #[arg(long, value_name = "TEXT")]
    filter: Vec<String>,
    /// Print the names and run nothing.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let wanted = |name: &str| options.filter.is_empty() || options.filter.iter().any(|text| name.contains(text));
    let cases = cases::ALL.iter().filter(|(name, _)| wanted(name));
    let mut failed = 0;
    let mut count = 0;
    for (name, case) in cases {
        count += 1;
        if options.list {
            println!("{name}");
            continue;
        }
        let start = Instant::now();
        let result = run(&options, *case);
        let seconds = start.elapsed().as_secs_f64();
        match result {
            Ok(()) => println!("ok      {seconds:6.2}s  {name}"),
            Err(error) => {
                failed += 1;
                println!("FAILED  {seconds:6.2}s  {name}\n        {error:#}");
            }
        }
    }
    println!("{count} cases, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Each case has a namespace of its own, removed whatever becomes of the case.
fn run(options: &Options, case: cases::Case) -> Result<()> {
    let namespace = Namespace::create(options.kubeconfig.clone())?;
    case(&namespace)
}
