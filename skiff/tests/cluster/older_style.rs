//! The older style: an open port of the API server on loopback, and `--master=http://…` on every other part.

use std::process::Child;

use anyhow::{Result, ensure};
use testbed::{Cluster, PARTS, SOON, eventually};

use crate::support::SKIFF;

const MASTER: &str = "--master=http://127.0.0.1:8080";

#[test]
fn every_part_takes_a_master_without_credentials() -> Result<()> {
    let Some(cluster) = Cluster::prepare("older", SKIFF)? else { return Ok(()) };
    let without: Vec<String> = PARTS.iter().map(|part| format!("--without={part}")).collect();
    cluster.skiff_up(&without.iter().map(String::as_str).collect::<Vec<_>>())?;
    let key = cluster.data().join("pki/sa.key").display().to_string();
    let server = [
        "--insecure-port=8080".to_owned(),
        "--storage-backend=embedded".to_owned(),
        format!("--data-dir={}", cluster.bed.folder().join("store").display()),
        "--service-account-issuer=https://kubernetes".to_owned(),
        format!("--service-account-signing-key-file={key}"),
        format!("--service-account-key-file={key}"),
    ];
    let guarded =
        [&[SKIFF.to_owned(), "kube-apiserver".to_owned(), "--authorization-mode=RBAC".to_owned()], &server[..]]
            .concat();
    let refused = cluster.bed.output(&guarded.iter().map(String::as_str).collect::<Vec<_>>())?;
    ensure!(!refused.success && refused.stderr.contains("insecure-port"), "an open port beside RBAC: {refused:?}");

    let start = |part: &str, flags: &[String]| -> Result<Child> {
        cluster.bed.start(part, cluster.bed.command(SKIFF).arg(part).args(flags))
    };
    let mut running = vec![start("kube-apiserver", &server)?];
    let get = ["curl", "--silent", "--fail", "http://127.0.0.1:8080/api/v1/namespaces/default"];
    eventually("the open port answers", SOON, || cluster.bed.run(&get))?;
    for part in ["kube-controller-manager", "kube-scheduler", "kube-proxy"] {
        running.push(start(part, &[MASTER.to_owned()])?);
    }
    let socket = cluster.data().join("containerd/containerd.sock");
    running.push(start(
        "kubelet",
        &[
            MASTER.to_owned(),
            format!("--container-runtime-endpoint=unix://{}", socket.display()),
            // Pods are refused where a disk is nearly full, and this machine's may be.
            "--eviction-hard=memory.available<100Mi".to_owned(),
        ],
    )?);

    let kubectl =
        |arguments: &[&str]| cluster.bed.run(&[&["kubectl", "--server=http://127.0.0.1:8080"], arguments].concat());
    kubectl(&["create", "deployment", "old", "--image=nginx"])?;
    let status = ["rollout", "status", "deployment/old", "--timeout=5s"];
    eventually("the pod runs", SOON, || kubectl(&status))?;
    kubectl(&["expose", "deployment", "old", "--port=80"])?;
    let address = kubectl(&["get", "service", "old", "-o", "jsonpath={.spec.clusterIP}"])?;
    eventually("the Service answers", SOON, || cluster.curl(&format!("http://{address}")))?;
    for mut child in running {
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}
