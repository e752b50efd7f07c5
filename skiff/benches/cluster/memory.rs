//! Memory and CPU at rest: proportional set size, so that pages shared between processes count once.

use std::time::Duration;

use anyhow::Result;
use figures::process::{Cpu, field_mib};
use figures::{Figure, Sheet};
use testbed::eventually;

use crate::{Place, SKIFF, crowd};

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

pub(crate) fn one_process(place: &Place, sheet: &mut Sheet) -> Result<()> {
    let pid = std::fs::read_to_string(place.bed.folder().join("data/skiff.pid"))?.trim().to_owned();
    let cpu = rest(place, &pid)?;
    let memory = Figure::new("whole cluster at rest, one process, PSS", "MiB", [pss_mib(place, &pid)?]);
    sheet.add(memory.most(64.0).beside("upstream, once", [740.0]));
    sheet.add(Figure::new("whole cluster at rest, CPU of one core", "%", [cpu]).most(0.5));
    Ok(())
}

/// Each part a process of its own, with the arguments that `skiff up --without` leaves.
pub(crate) fn by_part(sheet: &mut Sheet) -> Result<()> {
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
        sheet.add(Figure::new(format!("{part} alone at rest, PSS"), "MiB", [mib]));
    }
    sheet.add(Figure::new("all parts apart, PSS", "MiB", [total]));
    full_node(&place, sheet)?;
    for mut child in running {
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}

/// The kubelet at rest with a hundred pods.
fn full_node(place: &Place, sheet: &mut Sheet) -> Result<()> {
    place.kubectl(&["create", "deployment", "crowd", "--image=nginx", &format!("--replicas={}", crowd::PODS)])?;
    place.kubectl(&["rollout", "status", "deployment/crowd", "--timeout=120s"])?;
    let pid = place.bed.run(&["pgrep", "--full", "skiff kubelet --"])?.trim().to_owned();
    let cpu = rest(place, &pid)?;
    sheet.add(Figure::new("kubelet at rest with 100 pods, PSS", "MiB", [pss_mib(place, &pid)?]).most(40.0));
    let own = memory_mib(place, &pid, "Anonymous")?;
    sheet.add(Figure::new("  its own memory: anonymous pages, that no other process shares", "MiB", [own]));
    sheet.add(Figure::new("kubelet at rest with 100 pods, CPU of one core", "%", [cpu]).most(1.0));
    Ok(())
}

/// Lets a process settle, and tells what percentage of a core it uses then.
fn rest(place: &Place, pid: &str) -> Result<f64> {
    std::thread::sleep(REST);
    let before = cpu(place, pid)?;
    std::thread::sleep(REST);
    Ok((cpu(place, pid)? - before).own.as_secs_f64() / REST.as_secs_f64() * 100.0)
}

fn pss_mib(place: &Place, pid: &str) -> Result<f64> {
    memory_mib(place, pid, "Pss")
}

/// A field of `/proc/PID/smaps_rollup`.
fn memory_mib(place: &Place, pid: &str, field: &str) -> Result<f64> {
    field_mib(&place.bed.run(&["cat", &format!("/proc/{pid}/smaps_rollup")])?, field)
}

/// By a PID of the bed's.
fn cpu(place: &Place, pid: &str) -> Result<Cpu> {
    Cpu::parse(&place.bed.run(&["cat", &format!("/proc/{pid}/stat")])?)
}
