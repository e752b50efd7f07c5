//! Other implementations in the places of parts, in both directions: another's inside ours by `--swap`, ours inside
//! another's by `--all-from` and `--ours`.
//!
//! [`spec`] reads who stands where (pure), [`cluster`] starts it, [`smoke`] is what it must then be able to do. Enter at
//! [`run`]. Nothing is known of another's programs but that they take upstream's flags.

mod cluster;
mod smoke;
mod spec;

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use testbed::{Apart, Cluster};

use self::smoke::Smoke;
use self::spec::{Cast, Swap};
use crate::Failure;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// A program, or for `cni` a folder of plugins, in the place of ours: kube-apiserver, kube-controller-manager,
    /// kube-scheduler, kubelet, kube-proxy, cni, bridge, host-local, loopback, portmap, etcd, coredns, kubectl.
    #[arg(long, value_name = "NAME=PATH")]
    swap: Vec<Swap>,
    /// Every program in this folder that has one of these names.
    #[arg(long, value_name = "FOLDER")]
    all_from: Option<String>,
    /// But not this one; repeat for more.
    #[arg(long, value_name = "NAME", requires = "all_from")]
    ours: Vec<String>,
    /// A command to run in that cluster when the drill's own cases have passed, with KUBECONFIG set; it fails by its
    /// exit status.
    #[arg(last = true, value_name = "COMMAND")]
    then: Vec<String>,
}

pub(crate) fn run(options: &Options, skiff: &Path) -> Result<(), Failure> {
    let exists = |path: &str| Path::new(path).is_file();
    let cast = Cast::new(&options.swap, options.all_from.as_deref(), &options.ours, exists).map_err(Failure::NotUp)?;
    println!("Swapped: {cast}");
    let Some(cluster) = Cluster::prepare("swap", skiff).map_err(Failure::NotUp)? else { return Ok(()) };
    let result = on(&cluster, &cast, &options.then);
    if result.is_err() {
        println!("{}\n{}", cluster.bed.logs(), cluster.log());
    }
    result
}

fn on(cluster: &Cluster, cast: &Cast, then: &[String]) -> Result<(), Failure> {
    let mut apart = cluster::start(cluster, cast).map_err(Failure::NotUp)?;
    let failed = smoke::run(&Smoke { cluster, kubectl: cast.get("kubectl").unwrap_or("kubectl") });
    if failed > 0 {
        return Err(Failure::Wrong(anyhow!("{failed} cases failed with {cast}")));
    }
    run_then(cluster, then).and_then(|()| end(cluster, &mut apart)).map_err(Failure::Wrong)
}

fn run_then(cluster: &Cluster, then: &[String]) -> Result<()> {
    if then.is_empty() {
        return Ok(());
    }
    let environment = cluster.environment();
    let status = cluster.bed.command("env").args(environment).args(then).status();
    let status = status.with_context(|| format!("run {then:?}"))?;
    anyhow::ensure!(status.success(), "{then:?}: {status}");
    Ok(())
}

/// That the cluster can be removed is the last case: another's program, too, ends when it is asked to.
fn end(cluster: &Cluster, apart: &mut Apart<'_>) -> Result<()> {
    apart.ended().and_then(cluster::none_ended)?;
    cluster.skiff(&["reset"])?;
    apart.stop_all()
}
