//! Memory and CPU at rest: proportional set size, so that pages shared between processes count once.

use std::time::Duration;

use anyhow::Result;
use figures::process::{Cpu, field_mib};
use figures::{Figure, Sheet};
use testbed::{Apart, Cluster, PARTS, eventually};

use crate::{SKIFF, crowd};

/// A cluster settles, and is then watched for as long again.
const REST: Duration = Duration::from_secs(60);
pub(crate) fn one_process(cluster: &Cluster, sheet: &mut Sheet) -> Result<()> {
    let pid = std::fs::read_to_string(cluster.data().join("skiff.pid"))?.trim().to_owned();
    let cpu = rest(cluster, &pid)?;
    let memory = Figure::new("whole cluster at rest, one process, PSS", "MiB", [pss_mib(cluster, &pid)?]);
    sheet.add(memory.most(64.0).beside("upstream, once", [740.0]));
    sheet.add(Figure::new("whole cluster at rest, CPU of one core", "%", [cpu]).most(0.5));
    Ok(())
}

/// Each part a process of its own, with the arguments that `skiff up --without` leaves.
pub(crate) fn by_part(sheet: &mut Sheet) -> Result<()> {
    let Some(cluster) = Cluster::prepare("bench-parts", SKIFF)? else { return Ok(()) };
    let without: Vec<String> = PARTS.iter().map(|part| format!("--without={part}")).collect();
    let mut up = vec!["up", "--node-name=node"];
    up.extend(without.iter().map(String::as_str));
    cluster.skiff(&up)?;
    let mut apart = Apart::new(&cluster);
    for part in PARTS {
        apart.define(part, apart.line(part, &[SKIFF, part])?);
        apart.start(part)?;
    }
    let ready = ["wait", "--for=condition=Ready", "node/node", "--timeout=60s"];
    eventually("the node is Ready", REST, || cluster.kubectl(&ready))?;
    std::thread::sleep(REST);
    let mut total = 0.0;
    for part in PARTS {
        let pid = cluster.bed.run(&["pgrep", "--full", &format!("skiff {part} --")])?;
        let mib = pss_mib(&cluster, pid.trim())?;
        total += mib;
        sheet.add(Figure::new(format!("{part} alone at rest, PSS"), "MiB", [mib]));
    }
    sheet.add(Figure::new("all parts apart, PSS", "MiB", [total]));
    full_node(&cluster, sheet)?;
    apart.stop_all()
}

/// The kubelet at rest with a hundred pods.
fn full_node(cluster: &Cluster, sheet: &mut Sheet) -> Result<()> {
    cluster.kubectl(&["create", "deployment", "crowd", "--image=nginx", &format!("--replicas={}", crowd::PODS)])?;
    cluster.kubectl(&["rollout", "status", "deployment/crowd", "--timeout=120s"])?;
    let pid = cluster.bed.run(&["pgrep", "--full", "skiff kubelet --"])?.trim().to_owned();
    let cpu = rest(cluster, &pid)?;
    sheet.add(Figure::new("kubelet at rest with 100 pods, PSS", "MiB", [pss_mib(cluster, &pid)?]).most(40.0));
    let own = memory_mib(cluster, &pid, "Anonymous")?;
    sheet.add(Figure::new("kubelet at rest with 100 pods, anonymous pages", "MiB", [own]));
    sheet.add(Figure::new("kubelet at rest with 100 pods, CPU of one core", "%", [cpu]).most(1.0));
    Ok(())
}

/// Lets a process settle, and tells what percentage of a core it uses then.
fn rest(cluster: &Cluster, pid: &str) -> Result<f64> {
    std::thread::sleep(REST);
    let before = cpu(cluster, pid)?;
    std::thread::sleep(REST);
    Ok((cpu(cluster, pid)? - before).own.as_secs_f64() / REST.as_secs_f64() * 100.0)
}

fn pss_mib(cluster: &Cluster, pid: &str) -> Result<f64> {
    memory_mib(cluster, pid, "Pss")
}

/// A field of `/proc/PID/smaps_rollup`.
fn memory_mib(cluster: &Cluster, pid: &str, field: &str) -> Result<f64> {
    field_mib(&cluster.bed.run(&["cat", &format!("/proc/{pid}/smaps_rollup")])?, field)
}

/// By a PID of the bed's.
fn cpu(cluster: &Cluster, pid: &str) -> Result<Cpu> {
    Cpu::parse(&cluster.bed.run(&["cat", &format!("/proc/{pid}/stat")])?)
}
