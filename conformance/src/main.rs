//! `skiff-conformance`: runs cases against a cluster that is there, and reports.
//!
//! A black box: it is given a kubeconfig, speaks HTTP and kubectl, and knows nothing of who serves. The cases hold for any
//! Kubernetes of the version that they are written for, so running it against upstream's checks the cases. [`options`] is
//! the command line, [`catalogue`] what a case is, [`cases`] has them, [`runner`] runs them, [`report`] says what came out;
//! [`breaks`] shows that they notice faults.

mod breaks;
mod cases;
mod catalogue;
mod cluster;
mod expect;
mod known;
mod options;
mod report;
mod runner;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser as _;

use catalogue::Entry;
use cluster::Cluster;
use known::Known;
use options::{Breaks, Claims, Command, Options, Run};
use report::{Claim, Report};

/// All cases passed, or what was asked for was printed.
const PASSED: u8 = 0;
/// At least one case failed.
const FAILED: u8 = 1;
/// There was no cluster to run cases against.
const NO_CLUSTER: u8 = 2;
/// The command line, or a file that it names, makes no sense.
const USAGE: u8 = 3;

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) => {
            let is_help = !error.use_stderr();
            let _ = error.print();
            return if is_help { PASSED } else { USAGE }.into();
        }
    };
    let code = match options.command {
        Command::List(list) => print(list.filter.select().map(|entries| report::list(&entries, list.json))),
        Command::Claims(claims) => print(claims_text(&claims)),
        Command::Run(run) => start(&run),
        Command::Breaks(breaks) => break_it(&breaks),
    };
    code.into()
}

fn print(text: Result<String>) -> u8 {
    match text {
        Ok(text) => {
            println!("{}", text.trim_end());
            PASSED
        }
        Err(error) => {
            println!("{error:#}");
            USAGE
        }
    }
}

fn claims_text(claims: &Claims) -> Result<String> {
    let read = |path: &Path| std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()));
    if let Some(path) = &claims.results {
        let report: Report = serde_json::from_str(&read(path)?).with_context(|| format!("read {}", path.display()))?;
        return Ok(report::claims(|entry| report.claim(&entry.id())));
    }
    let known = known::read(claims.known.as_deref())?;
    Ok(report::claims(|entry| expected(entry, &known)))
}

/// What a run on two nodes is to say of a case.
fn expected(entry: &Entry, known: &Known) -> Claim {
    if known.contains_key(&entry.id()) { Claim::Refuted } else { Claim::Proven }
}

fn start(options: &Run) -> u8 {
    let prepared = || Ok((options.filter.select()?, known::read(options.known.as_deref())?));
    let (entries, known) = match prepared() {
        Ok(prepared) => prepared,
        Err(error) => return print(Err(error)),
    };
    with_runtime(async {
        let (target, limit) = (&options.target, Duration::from_secs(options.wait));
        let connected =
            Cluster::connect(target.kubeconfig.clone(), target.kubectl.clone(), target.images(), limit).await;
        let cluster = match connected {
            Ok(cluster) => Arc::new(cluster),
            Err(error) => return no_cluster(&error),
        };
        println!("{} at {}, {} nodes that take pods", cluster.version, cluster.server, cluster.nodes.len());
        let report = runner::run(&cluster, entries, known, options).await;
        print!("{}", report.table());
        match report.write(options) {
            Ok(()) if report.is_good() => PASSED,
            Ok(()) => FAILED,
            Err(error) => print(Err(error)),
        }
    })
}

fn break_it(options: &Breaks) -> u8 {
    let patterns = match options::patterns(&options.name) {
        Ok(patterns) => patterns,
        Err(error) => return print(Err(error)),
    };
    let target = &options.target;
    let bench = breaks::Bench {
        kubeconfig: target.kubeconfig.clone(),
        kubectl: target.kubectl.clone(),
        images: target.images(),
        parallel: target.parallel.into(),
        limit: Duration::from_secs(target.timeout),
    };
    with_runtime(async {
        match breaks::run(&bench, &patterns).await {
            Ok(true) => PASSED,
            Ok(false) => FAILED,
            Err(error) => no_cluster(&error),
        }
    })
}

fn no_cluster(error: &anyhow::Error) -> u8 {
    println!("no cluster to run cases against: {error:#}");
    NO_CLUSTER
}

/// One thread: cases wait for the cluster, and hardly work themselves.
fn with_runtime(work: impl Future<Output = u8>) -> u8 {
    // kube's TLS takes what the process has chosen; more than one could be linked in.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => print(Err(error.into())),
    }
}
