//! A cluster at work is struck with faults that a seed chooses, and then has to prove that it kept its promises.
//!
//! [`plan`] chooses (pure), [`strike`] carries out on the cluster of [`ground`]
//! ([`cut`]: by the packet filter), [`workload`] works and notes in [`record`],
//! [`judge`] says what was wrong (pure); [`scene`] is what runs in the cluster. Enter at [`run`].

mod cut;
mod ground;
mod judge;
mod plan;
mod record;
mod scene;
mod strike;
mod workload;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::Args;
use testbed::{Cluster, Machine};

use self::ground::Ground;
use self::plan::{Step, Store};
use self::record::Records;
use self::strike::Wound;
use self::workload::Workload;
use crate::Failure;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// What the faults are drawn from: the same number is the same plan.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// How long to strike, the start and the end of each cluster not counted.
    #[arg(long, value_name = "NUMBER", default_value_t = 2.0)]
    minutes: f64,
    /// Where the cluster keeps its objects; with both, two clusters share the time [default: both].
    #[arg(long, value_enum)]
    store: Vec<Store>,
    /// Keep the programs' logs in this folder.
    #[arg(long, value_name = "FOLDER")]
    logs: Option<PathBuf>,
    /// Print the plan and do nothing.
    #[arg(long)]
    plan: bool,
}

/// What a leg of a run came to.
struct Outcome {
    records: Records,
    wounds: Vec<Wound>,
    start: Instant,
}

pub(crate) fn run(options: &Options, skiff: &Path) -> Result<(), Failure> {
    let stores = if options.store.is_empty() { vec![Store::Embedded, Store::Etcd] } else { options.store.clone() };
    let jumps = ground::faketime().is_some();
    if !jumps {
        println!("No clock is moved: there is no libfaketime (apt-get install faketime).");
    }
    for store in &stores {
        let duration = Duration::from_secs_f64(options.minutes.max(0.0) * 60.0) / stores.len() as u32;
        let steps = plan::plan(options.seed, *store, jumps, duration);
        println!("Seed {}, store {store:?}, {} steps:", options.seed, steps.len());
        if options.plan {
            steps.iter().for_each(|step| println!("  {step}"));
            continue;
        }
        leg(options, skiff, *store, &steps).inspect_err(|_| {
            println!("\nThe plan was:");
            steps.iter().for_each(|step| println!("  {step}"));
            let Options { seed, minutes, .. } = options;
            println!("Again: make chaos SEED={seed} MINUTES={minutes} (all stores, or --store)");
        })?;
    }
    Ok(())
}

/// One cluster, from nothing to nothing.
fn leg(options: &Options, skiff: &Path, store: Store, steps: &[Step]) -> Result<(), Failure> {
    let Some(cluster) = Cluster::prepare("chaos", skiff).map_err(Failure::NotUp)? else { return Ok(()) };
    let result = on(&cluster, store, options.seed, steps);
    if result.is_err() && options.logs.is_none() {
        println!("{}", cluster.bed.logs());
    }
    if let Some(folder) = &options.logs {
        let kept = keep_logs(&cluster, &folder.join(format!("{store:?}").to_lowercase()));
        kept.unwrap_or_else(|error| println!("The logs are not kept: {error:#}"));
    }
    result
}

fn on(cluster: &Cluster, store: Store, seed: u64, steps: &[Step]) -> Result<(), Failure> {
    let mut ground = Ground::start(cluster, store).map_err(Failure::NotUp)?;
    let second = cluster.join(plan::SECOND).map_err(Failure::NotUp)?;
    let services = scene::set(cluster).map_err(Failure::NotUp)?;
    let outcome = std::thread::scope(|scope| {
        let workload = Workload::start(scope, cluster, services, seed);
        let start = Instant::now();
        let struck = strike::all(&mut ground, steps, start).and_then(|wounds| {
            // In peace again: what is rolled out now has no excuse.
            workload.calm();
            ground.wait_until_ready()?;
            scene::wait_until_settled(cluster)?;
            Ok(wounds)
        });
        // Also when it went wrong: what it saw may tell why, and its thread must end.
        let records = workload.stop();
        anyhow::Ok(Outcome { wounds: struck?, records: records?, start })
    });
    let outcome = outcome.map_err(Failure::Wrong)?;
    report(&outcome);
    let verdict = [
        verdict(&outcome),
        scene::wait_until_converged(cluster),
        no_restarts(cluster),
        no_panics(cluster, &second),
        scene::clear(cluster, &second).context("leftovers"),
        second.skiff(&["reset"]).map(drop).context("the end of the second node"),
        ground.end().context("the end of the cluster"),
    ];
    let wrong: Vec<String> = verdict.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    if wrong.is_empty() { Ok(()) } else { Err(Failure::Wrong(anyhow!("{}", wrong.join("\n")))) }
}

fn report(outcome: &Outcome) {
    let records = &outcome.records;
    let events: usize = records.watches.iter().map(|watched| watched.events.len()).sum();
    println!(
        "  {:6.1} s  {} writes acknowledged, {events} events watched ({} watches listed anew), {} lists, {} rollouts, \
         {} requests ({} failed)",
        outcome.start.elapsed().as_secs_f64(),
        records.acknowledged(),
        records.relists,
        records.lists.len(),
        records.rollouts,
        records.requests,
        records.failed_requests.len(),
    );
}

fn verdict(outcome: &Outcome) -> Result<()> {
    const SHOWN: usize = 20;
    let mut wrong = judge::all(&outcome.records);
    let since = |at: Instant| at.saturating_duration_since(outcome.start).as_secs_f64();
    for request in judge::requests(&outcome.records.failed_requests, &outcome.wounds) {
        wrong.push(format!(
            "a request to {} failed at {:.1} s: {}",
            request.service,
            since(request.at),
            request.reason
        ));
    }
    ensure!(outcome.records.acknowledged() > 0 && outcome.records.requests > 0, "nothing was tried");
    if wrong.is_empty() {
        return Ok(());
    }
    let count = wrong.len();
    wrong.truncate(SHOWN);
    bail!("{count} promises were broken, such as:\n  {}", wrong.join("\n  "))
}

fn no_restarts(cluster: &Cluster) -> Result<()> {
    let restarted = scene::restarts(cluster)?;
    ensure!(restarted.is_empty(), "containers were started again in {restarted}");
    Ok(())
}

fn no_panics(cluster: &Cluster, second: &Machine) -> Result<()> {
    let logs = format!("{}/*.log {}/skiff.log", cluster.bed.folder().display(), second.data().display());
    let found = cluster.bed.run(&["sh", "-c", &format!("grep -h -A3 'panicked at' {logs} || true")])?;
    ensure!(found.is_empty(), "a program panicked:\n{found}");
    Ok(())
}

fn keep_logs(cluster: &Cluster, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    for entry in std::fs::read_dir(cluster.bed.folder())? {
        let path = entry?.path();
        if let Some(name) = path.file_name().filter(|_| path.extension().is_some_and(|it| it == "log")) {
            std::fs::copy(&path, folder.join(name)).with_context(|| format!("keep {}", path.display()))?;
        }
    }
    Ok(())
}
