//! Several nodes: a machine joins with one line, and then it makes no difference where a pod is.

use anyhow::{Context as _, Result, ensure};
use testbed::{Cluster, Machine, Output, SOON, eventually, images};

use crate::support::SKIFF;

const NODES: [&str; 2] = ["node", "second"];

/// A server that logs whom it answers, and a client, on each node; a Service of both servers.
fn workloads() -> String {
    let pods = NODES.map(|node| {
        format!(
            r#"{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "web-{node}", "labels": {{"app": "web"}}}}, "spec": {{
                "nodeName": "{node}", "containers": [{{"name": "web", "image": "nginx"}}]}}}},
            {{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "client-{node}", "labels": {{"client": "{node}"}}}}, "spec": {{
                "nodeName": "{node}", "terminationGracePeriodSeconds": 0,
                "containers": [{{"name": "client", "image": "tools", "command": ["sleep", "100000"]}}]}}}}"#
        )
    });
    let service = r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {
        "type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 80, "nodePort": 30080}]}}"#;
    format!(r#"{{"apiVersion": "v1", "kind": "List", "items": [{}, {service}]}}"#, pods.join(", "))
}

/// The server on the second node answers the first node's client only.
const POLICY: &str = r#"{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "first-only"},
    "spec": {"podSelector": {"matchLabels": {"app": "web"}},
    "ingress": [{"from": [{"podSelector": {"matchLabels": {"client": "node"}}}]}]}}"#;

fn cluster(name: &str, options: &[&str]) -> Result<Option<Cluster>> {
    let Some(cluster) = Cluster::prepare(name, SKIFF)? else { return Ok(None) };
    cluster.push(&images::tools("docker.io/library/tools:latest")?, "tools:latest")?;
    cluster.skiff_up(options)?;
    Ok(Some(cluster))
}

#[test]
fn a_machine_joins_works_and_leaves() -> Result<()> {
    let Some(cluster) = cluster("nodes", &[])? else { return Ok(()) };
    what_cannot_be_believed_is_not_joined(&cluster)?;
    let second = cluster.join("second")?;
    the_second_node_is_a_node(&cluster, &second)?;
    start(&cluster)?;
    pods_meet_without_translation(&cluster)?;
    services_answer_everywhere(&cluster, &second)?;
    the_outside_sees_nodes(&cluster)?;
    policies_hold_between_nodes(&cluster)?;
    a_stop_and_a_start_change_nothing(&cluster, &second)?;
    pods_move_away_and_back(&cluster)?;
    nothing_is_left_of_it(&cluster, &second)
}

#[test]
fn nodes_that_are_no_neighbours_meet_by_a_tunnel() -> Result<()> {
    let Some(cluster) = cluster("tunnel", &["--router-backend=vxlan"])? else { return Ok(()) };
    let second = cluster.join("second")?;
    start(&cluster)?;
    pods_meet_without_translation(&cluster)?;
    services_answer_everywhere(&cluster, &second)?;
    let mtu = in_client(&cluster, "second", "cat /sys/class/net/eth0/mtu")?;
    ensure!(mtu.trim() == "1450", "a packet of a pod fits into the tunnel: {mtu}");
    let tunnel = || cluster.bed.run(&["bridge", "fdb", "show", "dev", "skiff-vxlan"]);
    ensure!(tunnel()?.contains(&second.bed.address().to_string()), "the second node is in the tunnel");
    second.skiff(&["reset"])?;
    ensure!(!second.bed.run(&["ip", "-br", "link"])?.contains("skiff-vxlan"), "reset removes the tunnel");
    cluster.kubectl(&["delete", "node", "second"])?;
    eventually("the tunnel forgets the node", SOON, || {
        ensure!(!tunnel()?.contains(&second.bed.address().to_string()), "{}", tunnel()?);
        Ok(())
    })
}

fn what_cannot_be_believed_is_not_joined(cluster: &Cluster) -> Result<()> {
    let stranger = cluster.neighbour("stranger")?;
    let command =
        cluster.skiff(&["token", "create", "abcdef.0123456789abcdef", "--ttl=1h", "--description=for tests"])?;
    ensure!(cluster.skiff(&["token", "list"])?.contains("abcdef.0123456789abcdef"), "the token is listed");
    let refused = |wrong: &str| -> Result<String> {
        let words: Vec<&str> = wrong.split_whitespace().skip(1).collect();
        stranger.refused(&words)
    };
    let why = refused(&command.replace("0123456789abcdef", "0123456789abcdee"))?;
    ensure!(why.contains("not signed with this token"), "{why}");
    let (line, hash) = command.trim().rsplit_once("sha256:").context("a hash in the command")?;
    let why = refused(&format!("{line}sha256:{}", hash.chars().rev().collect::<String>()))?;
    ensure!(why.contains("none of those given"), "{why}");
    ensure!(!stranger.data().join("cluster.json").exists(), "nothing was joined");
    cluster.skiff(&["token", "delete", "abcdef"])?;
    ensure!(!cluster.skiff(&["token", "list"])?.contains("abcdef"), "the token is gone");
    Ok(())
}

fn the_second_node_is_a_node(cluster: &Cluster, second: &Machine) -> Result<()> {
    let nodes = cluster.kubectl(&["get", "nodes", "--no-headers", "-o", "wide"])?;
    let line = nodes.lines().find(|line| line.starts_with("second ")).context("a second node")?;
    ensure!(line.contains(" Ready ") && line.contains(&second.bed.address().to_string()), "{nodes}");
    ensure!(cluster.value("node/second", ".spec.podCIDR")? == "10.244.1.0/24", "a range of its own");
    ensure!(!second.data().join("bootstrap.kubeconfig").exists(), "the token it joined with is forgotten");
    let status = second.skiff(&["status"])?;
    ensure!(status.contains("second is Ready") && status.contains("192.168.77.2:6443"), "{status}");
    let again = second.refused(&[
        "join",
        "192.168.77.2:6443",
        "--token",
        "abcdef.0123456789abcdef",
        "--discovery-token-ca-cert-hash",
        &format!("sha256:{}", "00".repeat(32)),
    ])?;
    ensure!(again.contains("runs already"), "{again}");
    Ok(())
}

fn start(cluster: &Cluster) -> Result<()> {
    cluster.create(&workloads())?;
    cluster.kubectl(&["wait", "--for=condition=Ready", "pods", "--all", "--timeout=90s"]).map(|_| ())
}

fn in_client(cluster: &Cluster, node: &str, line: &str) -> Result<String> {
    cluster.kubectl(&["exec", &format!("client-{node}"), "--", "sh", "-c", line])
}

/// The servers log the clients' own addresses.
fn pods_meet_without_translation(cluster: &Cluster) -> Result<()> {
    for (from, to) in [("node", "second"), ("second", "node"), ("second", "second")] {
        eventually("pods reach pods", SOON, || {
            // They may have new ones: their node was stopped and started.
            let server = cluster.value(&format!("pod/web-{to}"), ".status.podIP")?;
            let client = cluster.value(&format!("pod/client-{from}"), ".status.podIP")?;
            in_client(cluster, from, &format!("curl -sSf --max-time 3 http://{server}/?{from}-asks; true"))?;
            let log = cluster.kubectl(&["logs", &format!("web-{to}")])?;
            let mut asked = log.lines().filter(|line| line.contains(&format!("/?{from}-asks")));
            ensure!(asked.any(|line| line.starts_with(&format!("{client} "))), "{from} is {client}: {log}");
            Ok(())
        })?;
    }
    Ok(())
}

fn services_answer_everywhere(cluster: &Cluster, second: &Machine) -> Result<()> {
    let address = cluster.value("service/web", ".spec.clusterIP")?;
    let is_page = |page: String| -> Result<()> {
        ensure!(page.contains("Welcome to nginx"), "{page}");
        Ok(())
    };
    let first = cluster.bed.address();
    let ports = [first, second.bed.address()].map(|node| format!("http://{node}:30080"));
    // Often enough that both servers are asked.
    for _ in 0..4 {
        is_page(eventually("from the first node", SOON, || cluster.curl(&format!("http://{address}")))?)?;
        is_page(eventually("from the second node", SOON, || second.curl(&format!("http://{address}")))?)?;
        for node in NODES {
            let page = eventually("by name, from a pod", SOON, || {
                in_client(cluster, node, "curl -sSf --max-time 5 http://web/")
            })?;
            is_page(page)?;
        }
        for url in &ports {
            is_page(eventually("the other node's port", SOON, || second.curl(url))?)?;
            is_page(eventually("the other node's port", SOON, || cluster.curl(url))?)?;
            let stranger = Output::of(cluster.bed.stranger("curl").args(["-sSf", "--max-time", "5", url.as_str()]))?;
            is_page(stranger.stdout + &stranger.stderr)?;
        }
    }
    Ok(())
}

/// Nobody outside knows a way to pods: an answer comes back only to a node's address.
fn the_outside_sees_nodes(cluster: &Cluster) -> Result<()> {
    let mut server = cluster.bed.stranger("busybox");
    server.args(["httpd", "-f", "-p", "8080", "-h", "/usr/share/nginx/html"]);
    let _server = cluster.bed.start("outside", &mut server)?;
    for node in NODES {
        eventually("pods reach the outside", SOON, || {
            in_client(cluster, node, "curl -sSf --max-time 3 -o /dev/null http://192.168.77.1:8080/index.html")
        })?;
    }
    Ok(())
}

fn policies_hold_between_nodes(cluster: &Cluster) -> Result<()> {
    let servers = NODES.map(|node| cluster.value(&format!("pod/web-{node}"), ".status.podIP"));
    cluster.create(POLICY)?;
    for server in servers {
        let line = format!("curl -sSf --max-time 2 -o /dev/null http://{}/", server?);
        for (node, allowed) in [("second", false), ("node", true)] {
            eventually("the policy holds", SOON, || {
                ensure!(in_client(cluster, node, &line).is_ok() == allowed, "from {node}: {line}");
                Ok(())
            })?;
        }
    }
    cluster.kubectl(&["delete", "networkpolicy", "first-only"]).map(|_| ())
}

fn a_stop_and_a_start_change_nothing(cluster: &Cluster, second: &Machine) -> Result<()> {
    let uid = cluster.value("node/second", ".metadata.uid")?;
    second.skiff(&["down"])?;
    second.skiff(&["up"])?;
    ensure!(cluster.value("node/second", ".metadata.uid")? == uid, "the same Node");
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/web-second", "--timeout=60s"])?;
    pods_meet_without_translation(cluster)
}

fn pods_move_away_and_back(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["create", "deployment", "moving", "--image=nginx", "--replicas=2"])?;
    cluster.rolled_out("moving")?;
    let places = || -> Result<Vec<String>> {
        let path = "jsonpath={.items[*].spec.nodeName}";
        let list = cluster.kubectl(&["get", "pods", "-l", "app=moving", "-o", path])?;
        Ok(list.split_whitespace().map(String::from).collect())
    };
    ensure!(places()?.contains(&"second".to_owned()), "pods are spread: {:?}", places()?);
    cluster.kubectl(&["drain", "second", "--force", "--delete-emptydir-data", "--timeout=60s"])?;
    cluster.rolled_out("moving")?;
    eventually("all are on the first node", SOON, || {
        ensure!(places()? == ["node", "node"], "{:?}", places()?);
        Ok(())
    })?;
    cluster.kubectl(&["uncordon", "second"])?;
    cluster.kubectl(&["scale", "deployment", "moving", "--replicas=4"])?;
    cluster.rolled_out("moving")?;
    ensure!(places()?.contains(&"second".to_owned()), "pods come back: {:?}", places()?);
    Ok(())
}

/// On the machine that leaves, and on the one that stays.
fn nothing_is_left_of_it(cluster: &Cluster, second: &Machine) -> Result<()> {
    let routes = || cluster.bed.run(&["ip", "route", "show", "proto", "86"]);
    ensure!(routes()?.contains("10.244.1.0/24"), "{}", routes()?);
    let told = second.skiff(&["reset"])?;
    ensure!(told.contains("kubectl delete node second"), "{told}");
    ensure!(!second.data().exists(), "the data folder is gone");
    let links = second.bed.run(&["ip", "-br", "link"])?;
    ensure!(links.lines().count() == 2, "lo and eth0: {links}");
    ensure!(second.bed.run(&["ip", "route", "show", "proto", "86"])?.is_empty(), "routes are left");
    let rules = second.bed.run(&["sh", "-c", "iptables-save; nft list tables"])?;
    ensure!(!["KUBE-", "CNI-", "SKIFF-", "skiff"].iter().any(|mark| rules.contains(mark)), "{rules}");
    let processes = second.processes()?;
    ensure!(!processes.contains("containerd") && !processes.contains("nginx: "), "{processes}");
    cluster.kubectl(&["delete", "node", "second"])?;
    eventually("the route to it goes", SOON, || {
        ensure!(routes()?.is_empty(), "{}", routes()?);
        Ok(())
    })?;
    eventually("its pods go", SOON, || {
        let left = cluster.kubectl(&["get", "pods", "--field-selector=spec.nodeName=second", "-o", "name"])?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })
}
