//! A host with a bridge and pods, and a skiff-router that runs on it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use component::shutdown::Shutdown;
use component::testing::FakeApi;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use serde_json::{Value, json};

/// The longest that anything here may take to come true.
const DEADLINE: Duration = Duration::from_secs(60);
/// Where nobody answers, a connection is given up after this. One that stands is answered, however slow the machine is.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(300);
/// Where each pod answers.
pub(crate) const PORTS: [u16; 2] = [8080, 9090];

pub(crate) struct World {
    pub(crate) api: FakeApi,
}

/// Runs a test on a thread of its own, in namespaces of its own, on a runtime that has no other thread.
pub(crate) fn run<F: Future<Output = ()>>(test: impl FnOnce(World) -> F + Send + 'static) {
    let inside = move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("needs root");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).unwrap();
        sh("ip link set lo up; ip link add cni0 type bridge; ip addr add 10.1.1.1/24 dev cni0; ip link set cni0 up; \
            sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World { api: FakeApi::new() };
            world.namespace("ns", "a");
            world.namespace("other", "b");
            let shutdown = world.start(&[]);
            test(world).await;
            shutdown.trigger();
        });
    };
    thread::spawn(inside).join().unwrap();
}

impl World {
    fn start(&self, flags: &[&str]) -> Shutdown {
        let flags = ["--hostname-override=here", "--metrics-bind-address=", "--sync-period=100ms"].iter().chain(flags);
        start_router(&self.api, flags.map(|flag| flag.to_string()))
    }

    fn namespace(&self, name: &str, team: &str) {
        let labels = json!({"team": team});
        self.api.put(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}));
    }

    /// A pod on the bridge that answers on both ports with its name.
    pub(crate) fn pod(&self, namespace: &str, name: &'static str, ip: &str) {
        sh(&format!(
            "ip netns add {name}; ip link add v{name} type veth peer name eth0 netns {name}; ip link set v{name} up master cni0; \
             bridge link set dev v{name} hairpin on; ip -n {name} addr add {ip}/24 dev eth0; ip -n {name} link set eth0 up; \
             ip -n {name} link set lo up; ip -n {name} route add default via 10.1.1.1"
        ));
        for port in PORTS {
            let (ready, is_ready) = std::sync::mpsc::channel();
            thread::spawn(move || {
                enter(name);
                let listener = TcpListener::bind(("0.0.0.0", port)).unwrap();
                ready.send(()).unwrap();
                for stream in listener.incoming() {
                    let _ = stream.and_then(|mut stream| stream.write_all(name.as_bytes()));
                }
            });
            is_ready.recv().unwrap();
        }
        self.api.put(&json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": namespace, "name": name, "labels": {"app": name}},
            "spec": {"nodeName": "here", "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}]},
            "status": {"phase": "Running", "podIPs": [{"ip": ip}]}}));
    }

    pub(crate) fn policy(&self, name: &str, spec: Value) {
        self.api.put(&json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"namespace": "ns", "name": name}, "spec": spec}));
    }

    pub(crate) fn remove_policy(&self, name: &str) {
        self.api.remove::<k8s_openapi::api::networking::v1::NetworkPolicy>("ns", name);
    }

    /// Waits until a connection from a pod, or "host", gets through, or does not.
    pub(crate) async fn until(&self, from: &'static str, to: &str, is_open: bool) {
        let start = Instant::now();
        while opens(from, to).await != is_open {
            let rules = sh("nft list ruleset; ip -br addr");
            assert!(start.elapsed() < DEADLINE, "{from} to {to}: not {is_open}\n{rules}");
        }
    }
}

/// A router on this thread's network.
pub(crate) fn start_router(api: &FakeApi, flags: impl Iterator<Item = String>) -> Shutdown {
    let values = router::flags().parse(flags).unwrap();
    let shutdown = Shutdown::new();
    let seams = router::Seams { client: Some(api.client()), ..router::Seams::system(shutdown.clone()) };
    tokio::spawn(router::run(router::Options::from_flags(&values).unwrap(), seams));
    shutdown
}

/// Whether a pod's name comes back.
pub(crate) async fn opens(from: &'static str, to: &str) -> bool {
    let to: SocketAddr = to.parse().unwrap();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    thread::spawn(move || {
        enter(from);
        let answer = TcpStream::connect_timeout(&to, CONNECT_TIMEOUT).and_then(|mut stream| {
            stream.set_read_timeout(Some(DEADLINE))?;
            let mut text = String::new();
            stream.read_to_string(&mut text)
        });
        let _ = sender.send(answer.is_ok());
    });
    receiver.await.unwrap()
}

/// A thread starts in its parent's namespace: the host's.
pub(crate) fn enter(netns: &str) {
    if netns != "host" {
        setns(File::open(format!("/run/netns/{netns}")).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
    }
}

pub(crate) fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-c", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
