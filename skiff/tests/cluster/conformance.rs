//! The acceptance program against a cluster of ours: its quick cases in every run of the tests, all by `make conformance`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, ensure};
use testbed::{Cluster, Machine, SOON, eventually, images};

use crate::support::SKIFF;
use crate::walkthrough::the_page_of_conformance_says_what_happens;

/// A cluster of one node with the images of the cases.
fn prepared(name: &str) -> Result<Option<Cluster>> {
    let Some(cluster) = Cluster::prepare(name, SKIFF)? else { return Ok(None) };
    cluster.push(&images::tools("docker.io/library/tools:latest")?, "tools:latest")?;
    cluster.skiff_up(&[])?;
    Ok(Some(cluster))
}

/// The same with two nodes, which is where some cases prove anything at all.
fn prepared_with_two(name: &str) -> Result<Option<(Cluster, Machine)>> {
    let Some(cluster) = prepared(name)? else { return Ok(None) };
    let second = cluster.join("second")?;
    eventually("both nodes take pods", SOON, || {
        let taints = cluster.value("nodes", ".items[*].spec.taints")?;
        ensure!(taints.is_empty(), "{taints}");
        Ok(())
    })?;
    Ok(Some((cluster, second)))
}

/// The program's command line against the cluster.
fn program(cluster: &Cluster, verb: &str) -> Result<Command> {
    let mut command = cluster.bed.command(cluster.program("skiff-conformance")?);
    command.arg(verb).arg("--kubeconfig").arg(cluster.data().join("admin.kubeconfig"));
    command.args(["--image-tools", "tools"]);
    Ok(command)
}

fn known() -> [&'static str; 2] {
    ["--known", concat!(env!("CARGO_MANIFEST_DIR"), "/../conformance/known.txt")]
}

fn succeeds(cluster: &Cluster, mut command: Command) -> Result<()> {
    let status = command.status()?;
    ensure!(status.success(), "{command:?}: {status}\n{}", cluster.log());
    Ok(())
}

#[test]
fn the_quick_cases_pass_and_notice_faults() -> Result<()> {
    let Some(cluster) = prepared("conformance")? else { return Ok(()) };
    let mut cases = program(&cluster, "run")?;
    cases.args(known()).args(["--tag", "quick", "--timeout", "120", "--parallel", "6"]);
    succeeds(&cluster, cases)?;
    let mut breaks = program(&cluster, "breaks")?;
    breaks.args(["--timeout", "60", "^(discovery|lists|watch|objects|fields|patches|apply|events|access)/"]);
    succeeds(&cluster, breaks)?;
    the_page_of_conformance_says_what_happens(&cluster.bed, &cluster.data())
}

/// `make conformance`, on two nodes, which gives further arguments of the program in a variable, one a line, and names in
/// another the folder for the results.
#[test]
#[ignore = "takes many minutes: make conformance"]
fn all_cases_pass() -> Result<()> {
    let Some((cluster, _second)) = prepared_with_two("conformance-all")? else { return Ok(()) };
    let mut cases = program(&cluster, "run")?;
    let more = std::env::var("CONFORMANCE_ARGUMENTS").unwrap_or_default();
    cases.args(known()).args(more.lines().filter(|line| !line.is_empty()));
    let [json, junit] = ["conformance.json", "conformance.xml"].map(|name| cluster.bed.folder().join(name));
    cases.arg("--json").arg(&json).arg("--junit").arg(&junit);
    let run = succeeds(&cluster, cases);
    // The bed's own folder is what inside and outside see alike; and a run that failed has results, too.
    match std::env::var_os("CONFORMANCE_RESULTS") {
        Some(folder) => keep(run, &[json, junit], Path::new(&folder)),
        None => run,
    }
}

/// Copies what there is of a run's results; why the run failed is told whatever becomes of them.
fn keep(run: Result<()>, results: &[PathBuf], folder: &Path) -> Result<()> {
    let kept = results.iter().filter(|file| file.exists()).try_for_each(|file| {
        let copy = folder.join(file.file_name().unwrap_or_default());
        std::fs::copy(file, &copy).map(drop).with_context(|| format!("keep the results as {}", copy.display()))
    });
    match (run, kept) {
        (Err(run), Err(kept)) => Err(run.context(format!("{kept:#}"))),
        (run, kept) => run.and(kept),
    }
}

#[test]
fn a_failed_run_says_so_when_its_results_are_lost() {
    let there = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/conformance.rs");
    let nowhere = Path::new("/nowhere");
    let told = |run: Result<()>| format!("{:#}", keep(run, std::slice::from_ref(&there), nowhere).unwrap_err());
    assert!(told(Err(anyhow!("2 cases failed"))).contains("2 cases failed"));
    assert!(told(Ok(())).contains("keep the results as /nowhere/conformance.rs"));
    assert!(keep(Ok(()), &["/nowhere/at-all".into()], nowhere).is_ok());
}

/// The other half of `make conformance`.
#[test]
#[ignore = "takes some minutes: make conformance"]
fn every_group_notices_its_fault() -> Result<()> {
    let Some(cluster) = prepared("conformance-breaks")? else { return Ok(()) };
    let mut breaks = program(&cluster, "breaks")?;
    breaks.args(["--timeout", "45"]);
    succeeds(&cluster, breaks)
}
