//! Runs cases side by side, each in a namespace of its own, and cleans up whatever becomes of them.
//!
//! A case may end, panic, run out of time or be interrupted: its namespace is deleted in all of these.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use futures::{FutureExt as _, StreamExt as _};
use tokio::signal::unix::{SignalKind, signal};

use crate::catalogue::{Entry, Tag};
use crate::cluster::{Cluster, Scope};
use crate::known::Known;
use crate::options::Run;
use crate::report::{Outcome, Report, Result as CaseResult};

/// How many times the limit a slow case may take: a store's history is forgotten in twice five minutes.
const SLOW: u32 = 3;

/// A namespace with nothing but ended pods takes a few seconds.
const SWEEP_LIMIT: Duration = Duration::from_secs(120);

pub(crate) async fn run(cluster: &Arc<Cluster>, entries: Vec<Entry>, known: Known, options: &Run) -> Report {
    // What a panicking case says goes into the report.
    std::panic::set_hook(Box::new(|_| {}));
    let start = Instant::now();
    let limit = Duration::from_secs(options.target.timeout);
    let (alone, together): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(|entry| entry.has(Tag::serial));
    let mut outcomes = Vec::new();
    let work = async {
        for (entries, parallel) in [(together, usize::from(options.target.parallel)), (alone, 1)] {
            let limit = |entry: &Entry| limit * if entry.has(Tag::slow) { SLOW } else { 1 };
            let cases = entries.into_iter().map(|entry| one(cluster, entry, limit(&entry)));
            let mut running = futures::stream::iter(cases).buffer_unordered(parallel);
            while let Some(outcome) = running.next().await {
                let outcome = outcome.judged(&known);
                print!("{}", outcome.line());
                outcomes.push(outcome);
            }
        }
    };
    let is_interrupted = tokio::select! {
        () = work => false,
        () = interrupted() => true,
    };
    let sweep = cluster.sweep(SWEEP_LIMIT).await.err().map(|error| format!("{error:#}"));
    Report::new(cluster, outcomes, start.elapsed(), is_interrupted, sweep)
}

async fn interrupted() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// Runs one case in a namespace of its own.
pub(crate) async fn one(cluster: &Arc<Cluster>, entry: Entry, limit: Duration) -> Outcome {
    if entry.has(Tag::two_nodes) && cluster.nodes.len() < 2 {
        return Outcome::new(&entry, CaseResult::Skipped, "needs two nodes that take pods", Duration::ZERO);
    }
    let start = Instant::now();
    let result = match Scope::create(cluster.clone()).await {
        Ok(scope) => {
            let result = guarded(&entry, &scope, limit).await;
            let cleaned = scope.clean().await;
            result.and(cleaned)
        }
        Err(error) => Err(error),
    };
    let seconds = start.elapsed();
    match result {
        Ok(()) => Outcome::new(&entry, CaseResult::Passed, "", seconds),
        Err(error) => Outcome::new(&entry, CaseResult::Failed, &format!("{error:#}"), seconds),
    }
}

/// The case's own result, with a panic and the end of its time as failures.
async fn guarded(entry: &Entry, scope: &Scope, limit: Duration) -> Result<()> {
    let work = AssertUnwindSafe((entry.case.function)(scope)).catch_unwind();
    match tokio::time::timeout(limit, work).await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Err(anyhow!("the case panicked: {text}"))
        }
        Err(_) => Err(anyhow!("expected to end within {} s, was still waiting", limit.as_secs())),
    }
}
