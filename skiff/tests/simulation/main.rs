//! The control plane in one thread, with simulated time, network, disk and nodes, and everything going wrong.
//!
//! The store, the watch cache, the API server, the controllers and the scheduler are the real ones. A run ([`world`]) is decided by its
//! seed alone: requests and answers are late or lost, watches break off and repeat themselves, writes conflict, history is
//! compacted, controllers and scheduler die between any two writes, the power fails at any write to the disk. After each revision
//! [`truth`] checks what must always hold; when all has been calm for a while, everything must have converged.
//!
//! That the rules notice is shown by [`breaks`].
//!
//! `make simulate SEED=7` repeats one seed and tells what happened at its end; `make simulate SECONDS=600` tries new ones.

mod breaks;
mod dice;
#[path = "../../../apiserver/tests/store_crash/disk.rs"]
mod disk;
mod doubts;
mod entropy;
mod kubelet;
mod network;
mod programs;
mod server;
mod trace;
mod truth;
mod user;
mod world;

use std::time::{Duration, Instant};

use world::{Report, alone, run};

/// The seeds that every run of the tests tries, the same on every machine: each takes some seconds.
const SEEDS: std::ops::Range<u64> = 0..3;

fn number(variable: &str) -> Option<u64> {
    let given = std::env::var(variable).ok().filter(|text| !text.is_empty());
    given.map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// Runs seeds until the time is over; panics at the first that breaks a rule.
fn explore(seeds: impl IntoIterator<Item = u64>, time: Duration) {
    let _alone = alone();
    let (start, mut total, mut tried) = (Instant::now(), Report::default(), 0);
    for seed in seeds {
        match run(seed) {
            Ok(report) => {
                println!("seed {seed}: trace {:016x}", report.trace);
                total.add(&report);
            }
            Err(failure) => panic!("seed {seed}: {failure}\nrepeat it with: make simulate SEED={seed}"),
        }
        tried += 1;
        if start.elapsed() > time {
            break;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{tried} seeds in {seconds:.1} s, {:.1} seeds/s: {}", tried as f64 / seconds, total.told(seconds));
}

#[test]
fn nothing_is_lost_doubled_or_forgotten() {
    if std::env::var_os("SIMULATION_LOG").is_some() {
        tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_env("SIMULATION_LOG")).init();
    }
    match (number("SIMULATION_SEED"), number("SIMULATION_SECONDS")) {
        (Some(seed), _) => explore([seed], Duration::MAX),
        (None, Some(seconds)) => {
            let first = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() * 1000;
            explore(first.., Duration::from_secs(seconds));
        }
        (None, None) => explore(SEEDS, Duration::MAX),
    }
}

/// What a run of that seed alone prints of its way: the same that `make simulate SEED=…` runs.
fn trace_of_own_process(seed: u64) -> String {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["nothing_is_lost_doubled_or_forgotten", "--exact", "--nocapture"]);
    let output = command.env("SIMULATION_SEED", seed.to_string()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let trace = text.lines().find_map(|line| line.split_once("trace ")).map(|(_, trace)| trace.to_owned());
    trace.unwrap_or_else(|| panic!("no trace of seed {seed}: {text}"))
}

#[test]
fn a_seed_replays_exactly() {
    let first = trace_of_own_process(1);
    assert_eq!(first, trace_of_own_process(1), "the same requests, answers and revisions at the same times");
    assert_ne!(first, trace_of_own_process(2));
}
