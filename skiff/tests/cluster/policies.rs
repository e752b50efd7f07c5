//! NetworkPolicies in a cluster: what is denied does not get through, what is allowed does.

use anyhow::{Result, ensure};
use testbed::{Cluster, SOON, eventually, images};

use crate::support::{SKIFF, web};

const CLIENT: &str = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client", "labels": {"app": "client"}},
    "spec": {"terminationGracePeriodSeconds": 0,
    "containers": [{"name": "client", "image": "tools", "command": ["sleep", "100000"]}]}}"#;

const DENY: &str = r#"{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "deny"},
    "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}}"#;

const ALLOW: &str = r#"{"apiVersion": "v1", "kind": "List", "items": [
    {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "web"}, "spec": {
        "podSelector": {"matchLabels": {"app": "web"}},
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "client"}}}], "ports": [{"port": 80}]}]}},
    {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "client"}, "spec": {
        "podSelector": {"matchLabels": {"app": "client"}}, "policyTypes": ["Egress"],
        "egress": [
            {"to": [{"podSelector": {"matchLabels": {"app": "web"}}}]},
            {"to": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}],
             "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}]}}]}"#;

#[test]
fn a_default_deny_denies_and_policies_add_up() -> Result<()> {
    let Some(cluster) = Cluster::prepare("policies", SKIFF)? else { return Ok(()) };
    cluster.push(&images::tools("docker.io/library/tools:latest")?, "tools:latest")?;
    cluster.skiff_up(&[])?;
    cluster.create(CLIENT)?;
    let address = web(&cluster)?;
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/client", "--timeout=90s"])?;
    let by_name = || {
        let line = "curl -sS --max-time 3 http://web/";
        cluster.kubectl_output(&["exec", "client", "--", "sh", "-c", line]).map(|output| output.success)
    };
    let until = |what: &str, wanted: bool| {
        eventually(what, SOON, || {
            ensure!(by_name()? == wanted, "{what}");
            Ok(())
        })
    };
    until("no policy lets all through", true)?;
    cluster.create(DENY)?;
    until("a default deny denies", false)?;
    ensure!(cluster.curl(&format!("http://{address}")).is_ok(), "the node itself is never denied");
    cluster.create(ALLOW)?;
    until("what is allowed gets through, its name too", true)?;
    cluster.kubectl(&["delete", "networkpolicies", "--all"])?;
    until("no policy lets all through again", true)?;
    cluster.skiff(&["reset"])?;
    ensure!(!cluster.bed.run(&["nft", "list", "tables"])?.contains("skiff"), "reset removes the rules");
    Ok(())
}
