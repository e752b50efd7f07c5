//! Whether the rules notice: the control plane is broken on purpose, at one of its seams, and a rule of [`crate::truth`] must say so.
//!
//! [`table::BREAKS`] has a fault for each rule. Faults lie between the programs and the API server ([`wire`]), between
//! the API server and its store, between the store and who looks at it ([`store`]), and below the store ([`disk`]). All else is the real thing.

pub(crate) mod disk;
pub(crate) mod store;
mod table;
mod wire;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use self::store::Spoil;
use self::table::BREAKS;
use crate::world;

/// A rule that is broken.
struct Break {
    /// What is wrong with such a control plane.
    what: &'static str,
    fault: Fault,
    /// All in what the rule says, so that this rule notices it, and for this reason.
    says: &'static [&'static str],
}

#[derive(Clone, Copy)]
pub(crate) enum Fault {
    /// Controllers and scheduler ask for something else.
    Asked(Requests, fn(&mut Value)),
    /// They ask for it twice where the object is such a one.
    Twice(Requests, fn(&Value) -> bool),
    /// They ask for it of another object, whatever it is.
    Elsewhere(Requests, &'static str),
    /// They are refused it, always.
    Refused(Requests),
    /// They are told of objects, where the path has this part, what is not so.
    Told(&'static str, fn(&mut Value)),
    /// The store as the API server has it.
    Served(Spoil),
    /// The store as it is looked at.
    Looked(Spoil),
    /// The disk says that it has kept what it has not.
    Unsynced,
}

/// The requests of a method whose path has a part.
#[derive(Clone, Copy)]
pub(crate) struct Requests {
    method: &'static str,
    part: &'static str,
}

/// The seeds of which one must show the fault: not every run comes where it matters.
const SEEDS: std::ops::Range<u64> = 0..30;

/// What the rule says. Another one may notice the fault before it, in some runs: then the next one is tried.
fn noticed(one: &Break) -> Result<String, String> {
    let mut others = Vec::new();
    for seed in SEEDS {
        let Err(reason) = world::run_broken(seed, one.fault) else { continue };
        let broken = reason.split("\nwhat happened last").next().unwrap_or_default();
        if one.says.iter().all(|part| broken.contains(part)) {
            return Ok(format!("seed {seed}: {}", broken.lines().next().unwrap_or_default()));
        }
        others.push(format!("seed {seed}: {broken}"));
    }
    match others.is_empty() {
        true => Err("no rule notices it".to_owned()),
        false => Err(format!("not noticed by {:?} but:\n{}", one.says, others.join("\n"))),
    }
}

#[test]
fn every_rule_notices_what_breaks_it() {
    let (next, missed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(one) = BREAKS.get(next.fetch_add(1, Ordering::Relaxed)) {
            match noticed(one) {
                Ok(reason) => println!("{}\n    {reason}", one.what),
                Err(error) => missed.lock().unwrap().push(format!("{}: {error}", one.what)),
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "{} of {}:\n{}", missed.len(), BREAKS.len(), missed.join("\n"));
}
