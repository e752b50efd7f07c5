//! Whether the cases notice: each group runs behind a [`proxy`] that spoils one thing, and must fail for that reason.
//!
//! [`table::BREAKS`] has the faults, [`run`] runs them. The cluster is a sound one, of anybody's; nothing in it is changed.

mod fault;
mod proxy;
mod table;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use regex::Regex;
use serde_json::json;

use crate::catalogue;
use crate::cluster::{Cluster, Images};
use crate::report::Result as CaseResult;
use crate::runner;
use fault::Fault;
use table::BREAKS;

/// One fault, and the case that has to notice it.
struct Break {
    /// `group/case`
    case: &'static str,
    /// What is wrong with such a cluster.
    what: &'static str,
    /// Requests that are spoilt, as `METHOD path?query`.
    requests: &'static str,
    fault: Fault,
    /// In the reason of the failure, so that it is this fault's.
    says: &'static str,
}

/// A sound cluster, and how to run cases against it.
pub(crate) struct Bench {
    pub(crate) kubeconfig: Option<PathBuf>,
    pub(crate) kubectl: PathBuf,
    pub(crate) images: Images,
    pub(crate) parallel: usize,
    pub(crate) limit: Duration,
}

/// Runs the breaks of the cases that match; returns whether all were noticed.
pub(crate) async fn run(bench: &Bench, patterns: &[Regex]) -> Result<bool> {
    let wanted = |case: &str| patterns.is_empty() || patterns.iter().any(|pattern| pattern.is_match(case));
    let sound = connect(bench, bench.kubeconfig.clone()).await?;
    let sound = Arc::new(sound);
    let work = BREAKS.iter().filter(|one| wanted(one.case)).map(|one| attempt(bench, &sound, one));
    let mut running = futures::stream::iter(work).buffer_unordered(bench.parallel);
    let (mut noticed, mut missed) = (0, 0);
    while let Some((one, result)) = running.next().await {
        match result {
            Ok(reason) => {
                noticed += 1;
                println!("noticed  {:<48} {}\n         {reason}", one.case, one.what);
            }
            Err(error) => {
                missed += 1;
                println!("MISSED   {:<48} {}\n         {error:#}", one.case, one.what);
            }
        }
    }
    println!("\n{noticed} faults noticed, {missed} missed");
    Ok(missed == 0)
}

async fn connect(bench: &Bench, kubeconfig: Option<PathBuf>) -> Result<Cluster> {
    Cluster::connect(kubeconfig, bench.kubectl.clone(), bench.images.clone(), Duration::from_secs(30)).await
}

/// The first line of the case's reason, when it failed by this fault.
async fn attempt<'a>(bench: &Bench, sound: &Arc<Cluster>, one: &'a Break) -> (&'a Break, Result<String>) {
    (one, spoilt(bench, sound, one).await)
}

async fn spoilt(bench: &Bench, sound: &Arc<Cluster>, one: &Break) -> Result<String> {
    let entry = catalogue::all().into_iter().find(|entry| entry.id() == one.case).context("there is no such case")?;
    let requests = Regex::new(one.requests).with_context(|| format!("no regex: {}", one.requests))?;
    let proxy = proxy::start(sound.clone(), requests, one.fault).await?;
    let folder = tempfile::tempdir().context("make a folder")?;
    let path = folder.path().join("kubeconfig");
    let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "spoilt",
        "clusters": [{"name": "spoilt", "cluster": {"server": format!("http://{}", proxy.address)}}],
        "users": [{"name": "spoilt", "user": {}}],
        "contexts": [{"name": "spoilt", "context": {"cluster": "spoilt", "user": "spoilt"}}]});
    std::fs::write(&path, config.to_string()).context("write a kubeconfig")?;
    let cluster = Arc::new(connect(bench, Some(path)).await.context("connect by the proxy")?);
    let outcome = runner::one(&cluster, entry, bench.limit).await;
    let first = outcome.reason.lines().next().unwrap_or_default().to_owned();
    anyhow::ensure!(outcome.result == CaseResult::Failed, "the case passed");
    anyhow::ensure!(outcome.reason.contains(one.says), "it failed for another reason than {:?}: {first}", one.says);
    Ok(first)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_group_has_a_break_of_a_case_of_its_own() {
        let all = catalogue::all();
        let names: BTreeSet<String> = all.iter().map(catalogue::Entry::id).collect();
        for one in BREAKS {
            assert!(names.contains(one.case), "no such case: {}", one.case);
            Regex::new(one.requests).unwrap();
        }
        let broken: BTreeSet<&str> = BREAKS.iter().filter_map(|one| one.case.split('/').next()).collect();
        let without: Vec<&str> =
            all.iter().map(|entry| entry.group.name).filter(|name| !broken.contains(name)).collect();
        assert!(without.is_empty(), "groups that nothing shows to notice anything: {without:?}");
    }
}
