//! A cluster with a cast: `skiff up` leaves the swapped parts out, and their programs are started with the arguments that
//! it leaves for them.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use testbed::{Apart, Cluster, SOON, eventually};

use super::spec::{Cast, PARTS, PLUGINS};

const ETCD: &str = "http://127.0.0.1:2379";
const DNS_PORT: u16 = 10053;
/// The size of the table of connections is the machine's: a network namespace may not change it, and upstream's proxy ends
/// when it cannot.
const NO_CONNTRACK_SETTINGS: [&str; 4] = [
    "--conntrack-max-per-core=0",
    "--conntrack-min=0",
    "--conntrack-tcp-timeout-established=0s",
    "--conntrack-tcp-timeout-close-wait=0s",
];

/// Starts everything; returns when the node is Ready and every swapped program still runs.
pub(super) fn start<'a>(cluster: &'a Cluster, cast: &Cast) -> Result<Apart<'a>> {
    let mut apart = Apart::new(cluster);
    let mut options: Vec<String> = cast.of(&PARTS).map(|(part, _)| format!("--without={part}")).collect();
    if cast.needs_etcd() {
        let folder = cluster.bed.folder().join("etcd").display().to_string();
        let program = cast.get("etcd").unwrap_or("etcd");
        apart.define("etcd", [program, "--data-dir", &folder].map(String::from).into());
        apart.start("etcd")?;
        eventually("etcd answers", SOON, || cluster.curl(&format!("{ETCD}/health")))?;
        options.extend(["--store=etcd", "--etcd-servers", ETCD].map(String::from));
    }
    if cast.get("coredns").is_some() {
        options.push("--without=skiff-dns".to_owned());
    }
    cluster.skiff_up(&options.iter().map(String::as_str).collect::<Vec<_>>())?;
    install_plugins(cluster, cast)?;
    for (part, program) in cast.of(&PARTS) {
        let mut line = apart.line(part, &[program])?;
        if part == "kube-proxy" {
            line.extend(NO_CONNTRACK_SETTINGS.map(String::from));
        }
        apart.define(part, line);
        apart.start(part)?;
        if part == "kube-apiserver" {
            // Upstream's parts end when their roles are not there yet, and leave it to their units to start them again.
            eventually("kube-apiserver is ready", SOON, || cluster.kubectl(&["get", "--raw=/readyz"]))?;
        }
    }
    eventually("the node is Ready", SOON, || {
        // One that has ended will not come up by waiting: a success, so that the waiting ends.
        let ended = apart.ended()?;
        if ended.is_empty() {
            cluster.kubectl(&["wait", "--for=condition=Ready", "node/node", "--timeout=10s"])?;
        }
        Ok(ended)
    })
    .and_then(none_ended)?;
    if let Some(program) = cast.get("coredns") {
        start_coredns(cluster, &mut apart, program)?;
    }
    apart.ended().and_then(none_ended)?;
    Ok(apart)
}

pub(super) fn none_ended(ended: Vec<(String, String)>) -> Result<()> {
    ensure!(ended.is_empty(), "programs have ended by themselves: {ended:?}");
    Ok(())
}

/// Over the links to ours, before the first pod is made.
fn install_plugins(cluster: &Cluster, cast: &Cast) -> Result<()> {
    for (plugin, program) in cast.of(&PLUGINS) {
        let link = cluster.data().join("cni/bin").join(plugin);
        std::fs::remove_file(&link).with_context(|| format!("remove {}", link.display()))?;
        std::fs::copy(program, &link).with_context(|| format!("copy {program}"))?;
    }
    Ok(())
}

/// In the place of skiff-dns: at the node's address, behind the Service that kubeadm's manifest would make.
fn start_coredns(cluster: &Cluster, apart: &mut Apart<'_>, program: &str) -> Result<()> {
    let node = cluster.value("node/node", r#".status.addresses[?(@.type=="InternalIP")].address"#)?;
    let kubeconfig = cluster.data().join("skiff-dns.kubeconfig");
    let corefile = cluster.bed.folder().join("Corefile");
    let text = format!(
        ".:{DNS_PORT} {{\n  bind {node}\n  errors\n  kubernetes cluster.local in-addr.arpa ip6.arpa {{\n    \
         kubeconfig {}\n  }}\n  forward . /etc/resolv.conf\n}}\n",
        kubeconfig.display()
    );
    std::fs::write(&corefile, text).context("write the Corefile")?;
    apart.define("coredns", vec![program.to_owned(), "-conf".to_owned(), corefile.display().to_string()]);
    apart.start("coredns")?;
    let ports = |number: &str, port: u16| json!([{"name": "dns", "protocol": "UDP", number: port}]);
    let labels = json!({"kubernetes.io/service-name": "kube-dns"});
    let address = dns_address(cluster)?;
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "kube-system", "name": "kube-dns"},
         "spec": {"clusterIP": address, "ports": ports("port", 53)}},
        {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
         "metadata": {"namespace": "kube-system", "name": "kube-dns-swapped", "labels": labels},
         "endpoints": [{"addresses": [node], "conditions": {"ready": true}}], "ports": ports("port", DNS_PORT)},
    ]});
    cluster.apply(&objects.to_string()).map(drop)
}

/// What the kubelet tells pods to ask.
fn dns_address(cluster: &Cluster) -> Result<String> {
    let text =
        std::fs::read_to_string(cluster.data().join("kubelet.yaml")).context("read the kubelet's configuration")?;
    let mut lines = text.lines().skip_while(|line| !line.starts_with("clusterDNS:")).skip(1);
    let first = lines.next().and_then(|line| line.trim().strip_prefix("- ")).context("no clusterDNS")?;
    Ok(first.trim_matches(['"', '\'']).to_owned())
}
