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

use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// The seeds that every run of the tests tries, the same on every machine: each takes some seconds.
const SEEDS: std::ops::Range<u64> = 0..3;

fn number(variable: &str) -> Option<u64> {
    let given = std::env::var(variable).ok().filter(|text| !text.is_empty());
    given.map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// What a run of that seed prints, in a process of its own: tokio counts the runtimes of a process, and chooses by that.
fn in_own_process(seed: u64) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["nothing_is_lost_doubled_or_forgotten", "--exact", "--nocapture"]);
    command.env("SIMULATION_SEED", seed.to_string()).output().unwrap()
}

/// The same run's line about itself; its whole output when a rule was broken.
fn report_of(seed: u64) -> Result<String, String> {
    let Output { status, stdout, stderr } = in_own_process(seed);
    let (told, cause) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    let line = told.lines().find_map(|line| line.find("seed ").map(|start| line[start..].to_owned()));
    line.filter(|_| status.success()).ok_or_else(|| format!("{told}{cause}"))
}

/// Runs seeds until the time is over; panics at the first that breaks a rule.
fn explore(seeds: impl IntoIterator<Item = u64>, time: Duration) {
    let (start, mut tried) = (Instant::now(), 0);
    for seed in seeds {
        println!("{}", report_of(seed).unwrap_or_else(|failure| panic!("{failure}")));
        tried += 1;
        if start.elapsed() > time {
            break;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{tried} seeds in {seconds:.1} s");
}

#[test]
fn nothing_is_lost_doubled_or_forgotten() {
    if std::env::var_os("SIMULATION_LOG").is_some() {
        tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_env("SIMULATION_LOG")).init();
    }
    match (number("SIMULATION_SEED"), number("SIMULATION_SECONDS")) {
        (Some(seed), _) => match world::run(seed) {
            Ok(report) => println!("seed {seed}: {report}"),
            Err(failure) => panic!("seed {seed}: {failure}\nrepeat it with: make simulate SEED={seed}"),
        },
        (None, Some(seconds)) => {
            let first = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() * 1000;
            explore(first.., Duration::from_secs(seconds));
        }
        (None, None) => explore(SEEDS, Duration::MAX),
    }
}

#[test]
fn a_seed_replays_exactly() {
    let first = report_of(1).unwrap();
    assert_eq!(first, report_of(1).unwrap(), "the same requests, answers and revisions at the same times");
    assert_ne!(first, report_of(2).unwrap());
}
