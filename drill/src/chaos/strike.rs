//! Carries a plan out, and notes when what was broken.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use testbed::eventually;

use super::cut;
use super::ground::Ground;
use super::plan::{Blow, CONTAINERD, Fault, Step};

/// A program that has ended by itself is started again after so long, as a service manager would.
const RESTART_DELAY: Duration = Duration::from_millis(500);
/// How long the cluster has to answer again after a step.
const RECOVERY: Duration = Duration::from_secs(60);

/// A blow, and from when until when what it broke was broken.
#[derive(Clone, Debug)]
pub(super) struct Wound {
    pub(super) blow: Blow,
    pub(super) from: Instant,
    pub(super) to: Instant,
}

/// Strikes step after step, and prints each. Returns what was broken when.
pub(super) fn all(ground: &mut Ground<'_>, steps: &[Step], start: Instant) -> Result<Vec<Wound>> {
    let mut wounds = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        std::thread::sleep(step.rest);
        println!("  {:6.1} s  {}", start.elapsed().as_secs_f64(), names(step));
        let struck = strike(ground, step).and_then(|wounds| ground.has_recovered(RECOVERY).map(|()| wounds));
        let struck = struck.with_context(|| format!("step {} ({step})", number + 1))?;
        // Who was hurt is whole again when it answers, not when it was let go.
        let now = Instant::now();
        wounds.extend(struck.into_iter().map(|wound| Wound { to: now, ..wound }));
        revive(ground)?;
    }
    Ok(wounds)
}

fn names(step: &Step) -> String {
    step.blows.iter().map(Blow::to_string).collect::<Vec<_>>().join(", ")
}

/// All blows of a step begin together and end each in its time. Once one fails the others end at once: what is left of the
/// drill speaks with this cluster, and looks at what it left behind.
fn strike(ground: &mut Ground<'_>, step: &Step) -> Result<Vec<Wound>> {
    let (mut wounds, mut result) = (Vec::new(), Ok(()));
    for blow in &step.blows {
        let from = Instant::now();
        result = begin(ground, blow).with_context(|| blow.to_string());
        // Also one that failed, which may have begun by half.
        wounds.push(Wound { blow: blow.clone(), from, to: from });
        if result.is_err() {
            break;
        }
    }
    wounds.sort_by_key(|wound| wound.from + wound.blow.hold);
    for wound in &mut wounds {
        if result.is_ok() {
            std::thread::sleep((wound.from + wound.blow.hold).saturating_duration_since(Instant::now()));
        }
        let ended = end(ground, &wound.blow).with_context(|| format!("the end of: {}", wound.blow));
        wound.to = Instant::now();
        result = match (result, ended) {
            (Err(first), Err(more)) => Err(first.context(format!("{more:#}"))),
            (result, ended) => result.and(ended),
        };
    }
    result.map(|()| wounds)
}

fn begin(ground: &mut Ground<'_>, blow: &Blow) -> Result<()> {
    if blow.part == CONTAINERD {
        let signal = match blow.fault {
            Fault::Kill => "KILL",
            Fault::Restart => "TERM",
            _ => "STOP",
        };
        return signal_containerd(ground, signal);
    }
    match blow.fault {
        Fault::Kill => ground.apart.kill(blow.part),
        Fault::Restart => ground.apart.stop(blow.part),
        Fault::Pause => ground.apart.pause(blow.part),
        Fault::Cut | Fault::Sever => cut::begin(&ground.cluster.bed, blow),
        Fault::Fill => fill(ground),
        Fault::Jump(seconds) => ground.set_clock(blow.part, seconds),
    }
}

fn end(ground: &mut Ground<'_>, blow: &Blow) -> Result<()> {
    if blow.part == CONTAINERD {
        return match blow.fault {
            Fault::Pause => signal_containerd(ground, "CONT"),
            // Whose containerd it is starts it again.
            _ => eventually("containerd answers again", RECOVERY, || ground.cluster.containers()).map(drop),
        };
    }
    match blow.fault {
        Fault::Kill | Fault::Restart => ground.apart.start(blow.part),
        Fault::Pause => ground.apart.resume(blow.part),
        Fault::Cut | Fault::Sever => cut::end(&ground.cluster.bed, blow),
        Fault::Fill => ground.cluster.bed.run(&["rm", "--force", &ballast(ground)]).map(drop),
        Fault::Jump(_) => ground.set_clock(blow.part, 0),
    }?;
    revive(ground)
}

/// Some programs end when they cannot go on: etcd on a full disk. That is theirs to choose; to come back is what counts.
fn revive(ground: &mut Ground<'_>) -> Result<()> {
    for (part, how) in ground.apart.ended()? {
        println!("            {part} has ended by itself ({how}) and is started again");
        std::thread::sleep(RESTART_DELAY);
        ground.apart.start(&part)?;
    }
    Ok(())
}

/// Within the bed, where it is the only one of its name.
fn signal_containerd(ground: &Ground<'_>, signal: &str) -> Result<()> {
    ground.cluster.bed.run(&["pkill", "--signal", signal, "--exact", CONTAINERD]).map(drop)
}

/// The file that takes all room on the disk.
fn ballast(ground: &Ground<'_>) -> String {
    ground.disk().join("ballast").display().to_string()
}

fn fill(ground: &Ground<'_>) -> Result<()> {
    let ballast = ballast(ground);
    let script =
        "fallocate --length $(df --output=avail --block-size=1 \"$1\" | tail -1) \"$2\"; cat /dev/zero >>\"$2\"";
    let disk = ground.disk().display().to_string();
    let output = ground.cluster.bed.output(&["sh", "-c", script, "fill", &disk, &ballast])?;
    anyhow::ensure!(output.stderr.contains("No space left"), "the disk could not be filled: {}", output.stderr);
    Ok(())
}
