//! Three nodes and what is outside of them, each a network namespace: pods reach pods without translation, and the rest of
//! the world with the node's address.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use component::testing::FakeApi;
use serde_json::json;

use crate::world::{enter, run, sh, start_router};

const DEADLINE: Duration = Duration::from_secs(60);
const CLUSTER: &str = "10.244.0.0/16";
/// A node, its number, the namespace of its pod, and that pod's address.
type NodeRow = (&'static str, u8, &'static str, &'static str);
const NODES: [NodeRow; 3] =
    [("one", 1, "pod-one", "10.244.1.2"), ("two", 2, "pod-two", "10.244.2.2"), ("three", 3, "pod-three", "10.244.3.2")];

/// Namespaces of the nodes and of a pod on each, on a link with the router's thread, which is `outside` of both: it knows
/// no way to any pod.
fn make() {
    sh("ip link add lan type bridge; ip addr add 192.0.2.254/24 dev lan; ip link set lan up");
    for (node, number, pod, _) in NODES {
        sh(&format!(
            "ip netns add {node}; ip link add l{node} type veth peer name eth0 netns {node}; ip link set l{node} up master lan; \
             ip -n {node} addr add 192.0.2.{number}/24 dev eth0; ip -n {node} link set eth0 up; ip -n {node} link set lo up; \
             ip -n {node} route add default via 192.0.2.254; \
             ip netns add {pod}; ip -n {node} link add cni0 type bridge; ip -n {node} addr add 10.244.{number}.1/24 dev cni0; \
             ip -n {node} link set cni0 up; ip -n {node} link add v0 type veth peer name eth0 netns {pod}; \
             ip -n {node} link set v0 up master cni0; ip -n {pod} addr add 10.244.{number}.2/24 dev eth0; \
             ip -n {pod} link set eth0 up; ip -n {pod} route add default via 10.244.{number}.1"
        ));
    }
}

fn put_node(api: &FakeApi, (node, number, ..): NodeRow) {
    api.put(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node},
        "spec": {"podCIDRs": [format!("10.244.{number}.0/24")]},
        "status": {"addresses": [{"type": "InternalIP", "address": format!("192.0.2.{number}")}]}}));
}

/// A router of a node, on a thread of its own in the node's namespace, until the sender goes.
fn router_on(node: &'static str, api: &FakeApi, backend: &str) -> tokio::sync::oneshot::Sender<()> {
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let (api, backend) = (api.clone(), format!("--backend={backend}"));
    std::thread::spawn(move || {
        enter(node);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let name = format!("--hostname-override={node}");
            let cidr = format!("--cluster-cidr={CLUSTER}");
            let flags = [name, cidr, backend, "--metrics-bind-address=".into(), "--sync-period=100ms".into()];
            let shutdown = start_router(&api, flags.into_iter());
            let _ = stopped.await;
            shutdown.trigger();
        });
    });
    stop
}

/// Answers each connection with the address that it came from.
fn serve(namespace: &'static str, address: String) {
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        enter(namespace);
        let listener = TcpListener::bind(address).unwrap();
        ready.send(()).unwrap();
        for mut stream in listener.incoming().flatten() {
            let from = stream.peer_addr().map(|peer| peer.ip().to_string()).unwrap_or_default();
            let _ = stream.write_all(from.as_bytes());
        }
    });
    is_ready.recv().unwrap();
}

/// The address that a server sees; waits until it answers at all.
fn seen_by(namespace: &'static str, server: &str) -> String {
    let server: SocketAddr = server.parse().unwrap();
    let asked = std::thread::spawn(move || {
        enter(namespace);
        let start = Instant::now();
        loop {
            let patience = Duration::from_millis(300);
            if let Ok(mut stream) = TcpStream::connect_timeout(&server, patience) {
                let mut text = String::new();
                std::io::Read::read_to_string(&mut stream, &mut text).unwrap();
                return text;
            }
            assert!(start.elapsed() < DEADLINE, "{namespace} does not reach {server}");
        }
    });
    asked.join().unwrap()
}

/// All that a node has for others: routes, and the ends of the tunnel with their hardware addresses.
fn ways_of(node: &str) -> String {
    let tunnel = "ip -n NODE neigh show dev skiff-vxlan; bridge -n NODE fdb show dev skiff-vxlan";
    sh(&format!("ip -n NODE route show proto 86; ! ip -n NODE link show skiff-vxlan >&- 2>&- || {{ {tunnel}; }}")
        .replace("NODE", node))
}

fn until(what: &str, node: &str, is_so: impl Fn(&str) -> bool) {
    let start = Instant::now();
    while !is_so(&ways_of(node)) {
        assert!(start.elapsed() < DEADLINE, "{what}: {}", ways_of(node));
    }
}

/// Between pods of these nodes nothing is translated.
fn all_meet(nodes: &[NodeRow]) {
    for (_, _, pod, address) in nodes {
        for (_, _, _, other) in nodes.iter().filter(|(_, _, other, _)| other != pod) {
            assert_eq!(seen_by(pod, &format!("{other}:8080")), *address, "{pod} to {other}");
        }
    }
}

fn pods_meet(backend: &'static str) {
    run(move |_| async move {
        make();
        let api = FakeApi::new();
        let [one, two, three] = NODES;
        put_node(&api, one);
        put_node(&api, two);
        let routers = NODES.map(|(node, ..)| router_on(node, &api, backend));
        NODES.iter().for_each(|(_, _, pod, address)| serve(pod, format!("{address}:8080")));
        serve("host", "192.0.2.254:8080".to_owned());
        all_meet(&[one, two]);
        assert_eq!(seen_by("pod-one", "192.0.2.254:8080"), "192.0.2.1", "outside, with the node's address");
        put_node(&api, three);
        all_meet(&NODES);
        // Somebody removes a route, and it comes back.
        assert!(ways_of("one").contains("10.244.2.0/24"), "{}", ways_of("one"));
        sh("ip -n one route del 10.244.2.0/24");
        assert_eq!(seen_by("pod-one", "10.244.2.2:8080"), "10.244.1.2");
        // A node leaves, and nothing of it is left on the others, which go on.
        api.remove::<k8s_openapi::api::core::v1::Node>("", "two");
        for node in ["one", "three"] {
            until("the node is forgotten", node, |ways| !["10.244.2.", "192.0.2.2"].iter().any(|of| ways.contains(of)));
        }
        all_meet(&[one, three]);
        // Back at another address, it is reached there.
        sh(
            "ip -n two addr del 192.0.2.2/24 dev eth0; ip -n two addr add 192.0.2.22/24 dev eth0; ip -n two route replace default via 192.0.2.254",
        );
        api.put(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "two"},
            "spec": {"podCIDRs": ["10.244.2.0/24"]},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.22"}]}}));
        all_meet(&NODES);
        // What makes packets leave the cluster with the node's address, or lets them through at all, is flushed.
        sh("nft flush ruleset");
        sh("ip netns exec one nft flush ruleset; ip netns exec one iptables -P FORWARD DROP");
        assert_eq!(seen_by("pod-one", "192.0.2.254:8080"), "192.0.2.1", "it comes back");
        all_meet(&NODES);
        drop(routers);
    });
}

#[test]
#[ignore = "needs root"]
fn neighbours_reach_each_others_pods() {
    pods_meet("direct");
}

#[test]
#[ignore = "needs root"]
fn a_tunnel_reaches_pods_of_nodes_that_are_not_neighbours() {
    pods_meet("vxlan");
}
