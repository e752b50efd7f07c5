//! Two nodes and what is outside of them, each a network namespace: pods reach pods without translation, and the rest of
//! the world with the node's address.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use component::testing::FakeApi;
use serde_json::json;

use crate::world::{enter, run, sh, start_router};

const DEADLINE: Duration = Duration::from_secs(60);
const CLUSTER: &str = "10.244.0.0/16";

/// Namespaces `one` and `two` with a pod each, on a link with the router's thread, which is `outside` of both: it knows
/// no way to any pod.
fn make() {
    sh("ip link add lan type bridge; ip addr add 192.0.2.254/24 dev lan; ip link set lan up");
    for (node, number) in [("one", 1), ("two", 2)] {
        let pod = format!("pod-{node}");
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

fn api() -> FakeApi {
    let api = FakeApi::new();
    for (node, number) in [("one", 1), ("two", 2)] {
        api.put(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node},
            "spec": {"podCIDRs": [format!("10.244.{number}.0/24")]},
            "status": {"addresses": [{"type": "InternalIP", "address": format!("192.0.2.{number}")}]}}));
    }
    api
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
fn serve(namespace: &'static str, address: &'static str) {
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
fn seen_by(namespace: &'static str, server: &'static str) -> String {
    let asked = std::thread::spawn(move || {
        enter(namespace);
        let start = Instant::now();
        loop {
            let patience = Duration::from_millis(300);
            if let Ok(mut stream) = TcpStream::connect_timeout(&server.parse().unwrap(), patience) {
                let mut text = String::new();
                std::io::Read::read_to_string(&mut stream, &mut text).unwrap();
                return text;
            }
            assert!(start.elapsed() < DEADLINE, "{namespace} does not reach {server}");
        }
    });
    asked.join().unwrap()
}

fn pods_meet(backend: &'static str) {
    run(move |_| async move {
        make();
        let api = api();
        let routers = [router_on("one", &api, backend), router_on("two", &api, backend)];
        serve("pod-two", "10.244.2.2:8080");
        serve("host", "192.0.2.254:8080");
        assert_eq!(seen_by("pod-one", "10.244.2.2:8080"), "10.244.1.2", "pod to pod, without translation");
        assert_eq!(seen_by("pod-one", "192.0.2.254:8080"), "192.0.2.1", "outside, with the node's address");
        let route = |node: &str| sh(&format!("ip -n {node} route show proto 86"));
        assert!(route("one").contains("10.244.2.0/24"), "{}", route("one"));
        // Somebody removes a route, and it comes back; a node leaves, and its route goes.
        sh("ip -n one route del 10.244.2.0/24");
        assert_eq!(seen_by("pod-one", "10.244.2.2:8080"), "10.244.1.2");
        api.remove::<k8s_openapi::api::core::v1::Node>("", "two");
        let start = Instant::now();
        while !route("one").is_empty() {
            assert!(start.elapsed() < DEADLINE, "{}", route("one"));
        }
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
