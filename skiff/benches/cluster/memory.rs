//! Memory and CPU at rest: proportional set size, so that pages shared between processes count once.

use std::time::Duration;

use anyhow::{Context as _, Result};
use testbed::eventually;

use crate::{Place, SKIFF, crowd, row};

/// A cluster settles, and is then watched for as long again.
const REST: Duration = Duration::from_secs(60);
const PARTS: [&str; 7] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "skiff-dns",
    "skiff-router",
];

/// Kernel ticks a second, as `/proc/PID/stat` counts CPU time (USER_HZ, fixed in the ABI).
const TICKS_PER_SECOND: f64 = 100.0;

pub(crate) fn one_process(place: &Place) -> Result<()> {
    let pid = std::fs::read_to_string(place.bed.folder().join("data/skiff.pid"))?.trim().to_owned();
    std::thread::sleep(REST);
    let before = cpu_seconds(place, &pid)?;
    std::thread::sleep(REST);
    let cpu = (cpu_seconds(place, &pid)? - before) / REST.as_secs_f64();
    row(
        "whole cluster at rest, one process, PSS",
        &format!("{:.1} MiB", pss_mib(place, &pid)?),
        "goal 64 MiB; upstream about 740 MiB",
    );
    row("whole cluster at rest, CPU of one core", &format!("{:.2} %", cpu * 100.0), "goal 0.5 %");
    Ok(())
}

/// Each part a process of its own, with the arguments that `skiff up --without` leaves.
pub(crate) fn by_part() -> Result<()> {
    let Some(place) = Place::new("bench-parts")? else { return Ok(()) };
    let without: Vec<String> = PARTS.iter().map(|part| format!("--without={part}")).collect();
    let mut up = vec!["up", "--node-name=node"];
    up.extend(without.iter().map(String::as_str));
    place.skiff(&up)?;
    let mut running = Vec::new();
    for part in PARTS {
        let flags = std::fs::read_to_string(place.bed.folder().join("data/flags").join(part))?;
        running.push(place.bed.start(part, place.bed.command(SKIFF).arg(part).args(flags.lines()))?);
    }
    let ready = ["wait", "--for=condition=Ready", "node/node", "--timeout=60s"];
    eventually("the node is Ready", REST, || place.kubectl(&ready))?;
    std::thread::sleep(REST);
    let mut total = 0.0;
    for part in PARTS {
        let pid = place.bed.run(&["pgrep", "--full", &format!("skiff {part} --")])?;
        let mib = pss_mib(&place, pid.trim())?;
        total += mib;
        row(&format!("{part} alone at rest, PSS"), &format!("{mib:.1} MiB"), "");
    }
    row("all parts apart, PSS", &format!("{total:.1} MiB"), "");
    full_node(&place)?;
    for mut child in running {
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}

/// The kubelet at rest with a hundred pods.
fn full_node(place: &Place) -> Result<()> {
    place.kubectl(&["create", "deployment", "crowd", "--image=nginx", &format!("--replicas={}", crowd::PODS)])?;
    place.kubectl(&["rollout", "status", "deployment/crowd", "--timeout=120s"])?;
    std::thread::sleep(REST);
    let pid = place.bed.run(&["pgrep", "--full", "skiff kubelet --"])?;
    let before = cpu_seconds(place, pid.trim())?;
    std::thread::sleep(REST);
    let cpu = (cpu_seconds(place, pid.trim())? - before) / REST.as_secs_f64();
    row("kubelet at rest with 100 pods, PSS", &format!("{:.1} MiB", pss_mib(place, pid.trim())?), "goal 40 MiB");
    let own = format!("{:.1} MiB", memory_mib(place, pid.trim(), "Anonymous:")?);
    row("kubelet at rest with 100 pods, its own memory", &own, "anonymous pages: what no other process shares");
    row("kubelet at rest with 100 pods, CPU of one core", &format!("{:.2} %", cpu * 100.0), "goal 1 %");
    Ok(())
}

fn pss_mib(place: &Place, pid: &str) -> Result<f64> {
    memory_mib(place, pid, "Pss:")
}

/// A line of `/proc/PID/smaps_rollup`.
fn memory_mib(place: &Place, pid: &str, field: &str) -> Result<f64> {
    let rollup = place.bed.run(&["cat", &format!("/proc/{pid}/smaps_rollup")])?;
    let line = rollup.lines().find_map(|line| line.strip_prefix(field)).with_context(|| format!("no {field}"))?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().with_context(|| format!("{field} in kB"))?;
    Ok(kib / 1024.0)
}

/// User and system time of a process: fields 14 and 15 of its stat, counted behind the name in parentheses.
fn cpu_seconds(place: &Place, pid: &str) -> Result<f64> {
    let stat = place.bed.run(&["cat", &format!("/proc/{pid}/stat")])?;
    let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    Ok(ticks / TICKS_PER_SECOND)
}
