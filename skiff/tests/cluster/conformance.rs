//! The acceptance program against a cluster of ours: its quick cases in every run of the tests, all by `make conformance`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
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
    if let Some(folder) = std::env::var_os("CONFORMANCE_RESULTS").map(PathBuf::from) {
        for file in [json, junit].iter().filter(|file| file.exists()) {
            std::fs::copy(file, folder.join(file.file_name().unwrap_or_default()))?;
        }
    }
    run
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
