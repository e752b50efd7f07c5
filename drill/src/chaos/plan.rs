//! Which faults strike, whom, when and for how long: made from a seed alone, so that a run can be had again. Pure.

use std::fmt;
use std::time::Duration;

use component::random::Random;
use testbed::PARTS;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// SIGKILL; started again after the hold.
    Kill,
    /// SIGTERM and until it has ended; started again after the hold.
    Restart,
    /// SIGSTOP, and SIGCONT after the hold.
    Pause,
    /// Its packets to and from the API server (the API server's: to everybody) are dropped.
    Cut,
    /// No packet passes between the node and the others.
    Sever,
    /// No byte is left on the store's disk.
    Fill,
    /// Its clock jumps by so many seconds, and back after the hold.
    Jump(i32),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blow {
    pub(super) fault: Fault,
    pub(super) part: &'static str,
    pub(super) hold: Duration,
}

/// Blows that strike at once, after the cluster had `rest` since the last ones ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) rest: Duration,
    pub(super) blows: Vec<Blow>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Store {
    Embedded,
    Etcd,
}

impl Store {
    /// The program that writes to the store's disk.
    pub(super) fn part(self) -> &'static str {
        match self {
            Self::Embedded => "kube-apiserver",
            Self::Etcd => "etcd",
        }
    }
}

/// The name of the node beside the first, and of what is struck when the network between them is cut.
pub(super) const SECOND: &str = "second";
/// Not started by the drill, but by `skiff up`.
pub(super) const CONTAINERD: &str = "containerd";
/// One in so many steps strikes two parts at once.
const DOUBLE_EVERY: u64 = 3;
/// Seconds of a jump. Certificates and tokens of a cluster live longer, and its leases shorter.
const JUMPS: [i32; 4] = [-600, -45, 45, 600];

/// The steps of a run: as many as fit into `duration`.
pub(super) fn plan(seed: u64, store: Store, jumps: bool, duration: Duration) -> Vec<Step> {
    let random = Random::seeded(seed);
    let mut deck = Vec::new();
    let mut steps = Vec::new();
    let mut used = Duration::ZERO;
    loop {
        let step = step(&random, &mut deck, store, jumps);
        used += step.length();
        if used > duration && !steps.is_empty() {
            return steps;
        }
        steps.push(step);
    }
}

fn step(random: &Random, deck: &mut Vec<(Fault, &'static str)>, store: Store, jumps: bool) -> Step {
    let rest = between(random, 500, 2500);
    let wanted = if random.below(DOUBLE_EVERY) == 0 { 2 } else { 1 };
    let mut blows: Vec<Blow> = Vec::new();
    while blows.len() < wanted {
        if deck.is_empty() {
            *deck = shuffled(random, store, jumps);
        }
        // A part can bear one fault at a time: a killed one cannot be paused.
        let Some(at) = deck.iter().rposition(|(_, part)| blows.iter().all(|blow| blow.part != *part)) else { break };
        let (fault, part) = deck.remove(at);
        blows.push(Blow { fault, part, hold: hold(random, fault) });
    }
    Step { rest, blows }
}

/// Every fault of every part once, the kinds taking turns: so a short run meets each kind, and a long one everything.
fn shuffled(random: &Random, store: Store, jumps: bool) -> Vec<(Fault, &'static str)> {
    let mut parts: Vec<&'static str> = PARTS.to_vec();
    parts.extend((store == Store::Etcd).then_some("etcd"));
    let all = |fault: Fault| parts.iter().map(|part| (fault, *part)).collect::<Vec<_>>();
    let mut kinds = vec![all(Fault::Kill), all(Fault::Restart), all(Fault::Pause), all(Fault::Cut)];
    // It speaks with no API server, and `skiff up` starts it again.
    kinds[..3]
        .iter_mut()
        .zip([Fault::Kill, Fault::Restart, Fault::Pause])
        .for_each(|(kind, it)| kind.push((it, CONTAINERD)));
    kinds.push(vec![(Fault::Fill, store.part())]);
    kinds.push(vec![(Fault::Sever, SECOND)]);
    if jumps {
        let jump = |part: &&'static str| (Fault::Jump(JUMPS[random.below(JUMPS.len() as u64) as usize]), *part);
        kinds.push(PARTS.iter().map(jump).collect());
    }
    kinds.iter_mut().for_each(|kind| random.shuffle(kind));
    random.shuffle(&mut kinds);
    let mut deck = Vec::new();
    while kinds.iter().any(|kind| !kind.is_empty()) {
        deck.extend(kinds.iter_mut().filter_map(Vec::pop));
    }
    // Dealt from the end.
    deck.reverse();
    deck
}

fn hold(random: &Random, fault: Fault) -> Duration {
    match fault {
        Fault::Restart => Duration::ZERO,
        Fault::Kill => between(random, 0, 2000),
        Fault::Pause | Fault::Cut | Fault::Sever | Fault::Jump(_) => between(random, 500, 6000),
        // Long enough to use up the room that a store has made for itself.
        Fault::Fill => between(random, 4000, 6000),
    }
}

/// In milliseconds.
fn between(random: &Random, least: u64, most: u64) -> Duration {
    Duration::from_millis(least + random.below(most - least + 1))
}

impl Step {
    fn length(&self) -> Duration {
        self.rest + self.blows.iter().map(|blow| blow.hold).max().unwrap_or_default()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill => f.write_str("kill -9"),
            Self::Restart => f.write_str("restart"),
            Self::Pause => f.write_str("pause"),
            Self::Cut => f.write_str("cut off"),
            Self::Sever => f.write_str("sever the node"),
            Self::Fill => f.write_str("fill the disk of"),
            Self::Jump(seconds) => write!(f, "move by {seconds:+} s the clock of"),
        }
    }
}

impl fmt::Display for Blow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.fault, self.part)?;
        if self.hold.is_zero() { Ok(()) } else { write!(f, " for {:.1} s", self.hold.as_secs_f64()) }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blows: Vec<String> = self.blows.iter().map(Blow::to_string).collect();
        write!(f, "after {:.1} s: {}", self.rest.as_secs_f64(), blows.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn minutes(seed: u64, store: Store, minutes: u64) -> Vec<Step> {
        plan(seed, store, true, Duration::from_secs(60 * minutes))
    }

    #[test]
    fn a_seed_is_a_plan() {
        assert_eq!(minutes(7, Store::Embedded, 5), minutes(7, Store::Embedded, 5));
        assert_ne!(minutes(7, Store::Embedded, 5), minutes(8, Store::Embedded, 5));
    }

    #[test]
    fn a_plan_fits_its_time_and_strikes_each_part_once_at_a_time() {
        for seed in 0..50 {
            let steps = minutes(seed, Store::Etcd, 2);
            assert!(steps.iter().map(Step::length).sum::<Duration>() <= Duration::from_secs(120));
            for step in &steps {
                let parts: BTreeSet<&str> = step.blows.iter().map(|blow| blow.part).collect();
                assert_eq!(parts.len(), step.blows.len(), "{step}");
            }
        }
    }

    #[test]
    fn a_short_plan_has_every_kind_and_a_long_one_everything() {
        for seed in 0..50 {
            let kinds = |steps: &[Step]| -> BTreeSet<String> {
                let blows = steps.iter().flat_map(|step| &step.blows);
                blows.map(|blow| format!("{}", blow.fault).split(' ').next().unwrap_or_default().to_owned()).collect()
            };
            assert!(kinds(&minutes(seed, Store::Embedded, 1)).len() >= 7, "seed {seed}");
            let long = minutes(seed, Store::Etcd, 10);
            let struck: BTreeSet<(Fault, &str)> = long
                .iter()
                .flat_map(|step| &step.blows)
                .filter(|blow| !matches!(blow.fault, Fault::Jump(_)))
                .map(|blow| (blow.fault, blow.part))
                .collect();
            assert_eq!(
                struck.len(),
                4 * 8 + 3 + 2,
                "seed {seed}: of eight programs, containerd, the disk and the network"
            );
        }
    }

    #[test]
    fn what_a_store_does_not_have_is_not_struck() {
        let steps = minutes(3, Store::Embedded, 10);
        assert!(steps.iter().flat_map(|step| &step.blows).all(|blow| blow.part != "etcd"));
        let still = plan(3, Store::Embedded, false, Duration::from_secs(600));
        assert!(still.iter().flat_map(|step| &step.blows).all(|blow| !matches!(blow.fault, Fault::Jump(_))));
    }
}
