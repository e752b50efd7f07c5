//! Certificates that end soon: a node's kubelet gets new ones from the controller manager's signer, and goes on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use testbed::{Cluster, SOON, eventually};

use crate::support::SKIFF;

/// Renewed between 8 and 96 seconds after it was signed: the signer sets the beginning five minutes back.
const LIFE: &str = "--cluster-signing-duration=140s";
const RENEWAL: Duration = Duration::from_secs(200);
const PURPOSES: [&str; 2] = ["client", "server"];

const POD: &str = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "late"}, "spec": {"nodeName": "second",
    "containers": [{"name": "c", "image": "busybox", "command": ["sh", "-c", "echo still here; sleep 3600"]}]}}"#;

#[test]
fn a_nodes_certificates_are_renewed_and_it_goes_on() -> Result<()> {
    let Some(cluster) = Cluster::prepare("rotation", SKIFF)? else { return Ok(()) };
    cluster.skiff_up(&["--without=kube-controller-manager"])?;
    let flags = std::fs::read_to_string(cluster.data().join("flags/kube-controller-manager"))?;
    let mut command = cluster.bed.command(SKIFF);
    command.arg("kube-controller-manager").args(flags.lines()).arg(LIFE);
    let _manager = cluster.bed.start("kube-controller-manager", &mut command)?;
    // With a part left out, `up` does not wait for everything that joining needs.
    eventually("machines may join", SOON, || {
        let bindings = ["kubeadm:node-proxier", "skiff:joined:skiff-router", "skiff:joined:skiff-dns"];
        cluster.kubectl(&[&["get", "clusterrolebinding"], &bindings[..]].concat())?;
        // As a machine that has nothing but a token reads it.
        let nobody = ["--as=system:anonymous", "--as-group=system:unauthenticated"];
        cluster.kubectl(&["get", "configmap", "cluster-info", "-n", "kube-public", nobody[0], nobody[1]])
    })?;
    let second = cluster.join("second")?;
    let file = |purpose: &str| second.data().join(format!("pki/kubelet/kubelet-{purpose}-current.pem"));
    let mut firsts: Vec<(PathBuf, PathBuf, Timestamp)> = Vec::new();
    for purpose in PURPOSES {
        let current = file(purpose);
        let signed = eventually("it is signed", SOON, || {
            let end = end_of(&current)?;
            ensure!(end < Timestamp::now().checked_add(Duration::from_secs(141))?, "a stand-in until {end}");
            Ok(end)
        })?;
        firsts.push((current.clone(), std::fs::read_link(&current)?, signed));
    }
    for (current, first, _) in &firsts {
        eventually("it is renewed", RENEWAL, || {
            ensure!(std::fs::read_link(current)? != *first, "{} is still in use", first.display());
            Ok(())
        })?;
    }
    let end = firsts.iter().map(|(_, _, end)| *end).max().context("two certificates")?;
    eventually("the node is heard of after its first certificates have ended", RENEWAL, || {
        let lease = ["get", "lease", "second", "-n", "kube-node-lease", "-o", "jsonpath={.spec.renewTime}"];
        let heard: Timestamp = cluster.kubectl(&lease)?.parse()?;
        ensure!(heard > end, "last at {heard}, they ended at {end}");
        Ok(())
    })?;
    ensure!(cluster.kubectl(&["get", "node", "second"])?.contains(" Ready "), "the node is Ready");
    cluster.create(POD)?;
    cluster.kubectl(&["wait", "pod/late", "--for=condition=Ready", "--timeout=90s"])?;
    let log = cluster.kubectl(&["logs", "late"])?;
    ensure!(log == "still here\n", "the API server believes the node's new certificate: {log}");
    Ok(())
}

fn end_of(file: &Path) -> Result<Timestamp> {
    let text = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
    let (_, block) = x509_parser::pem::parse_x509_pem(&text).context("PEM")?;
    let certificate = block.parse_x509().context("a certificate")?;
    Ok(Timestamp::from_second(certificate.validity().not_after.timestamp())?)
}
