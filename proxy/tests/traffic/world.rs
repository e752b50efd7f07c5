//! A host with a bridge and pods, and a kube-proxy that runs on it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use component::shutdown::Shutdown;
use component::testing::FakeApi;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use serde_json::{Value, json};

/// The longest that anything here may take to come true.
const DEADLINE: Duration = Duration::from_secs(90);
/// What nobody answers is given up after this.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(700);
pub(crate) const PORT: u16 = 8080;

pub(crate) struct World {
    pub(crate) api: FakeApi,
    proxy: Option<(Shutdown, tokio::task::JoinHandle<Result<(), proxy::Error>>)>,
    stop: Arc<AtomicBool>,
}

/// Runs a test on a thread of its own, in namespaces of its own, on a runtime that has no other thread.
pub(crate) fn run<F: Future<Output = ()>>(test: impl FnOnce(World) -> F + Send + 'static) {
    let inside = move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("needs root");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).unwrap();
        sh("ip link set lo up; ip link add cni0 type bridge; ip addr add 10.1.1.1/24 dev cni0; ip link set cni0 up; \
            ip addr add fd00:1::1/64 dev cni0 nodad; sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1; \
            ip route add default dev cni0; ip -6 route add default dev cni0");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World { api: FakeApi::new(), proxy: None, stop: Arc::default() };
            world.api.put(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "here"},
                "status": {"addresses": [{"type": "InternalIP", "address": "10.1.1.1"}]}}));
            test(world).await;
        });
    };
    thread::spawn(inside).join().unwrap();
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl World {
    pub(crate) fn start(&mut self, flags: &[&str]) {
        let flags =
            ["--hostname-override=here", "--healthz-bind-address=127.0.0.1:10256", "--conntrack-max-per-core=0"]
                .iter()
                .chain(flags);
        let values = proxy::flags().parse(flags.map(|flag| flag.to_string())).unwrap();
        let shutdown = Shutdown::new();
        let seams = proxy::Seams { client: Some(self.api.client()), ..proxy::Seams::system(shutdown.clone()) };
        let task = tokio::spawn(proxy::run(proxy::Options::from_flags(&values).unwrap(), seams));
        self.proxy = Some((shutdown, task));
    }

    /// Ends it without a chance to clean up, as a kill does: the rules stay.
    pub(crate) async fn kill(&mut self) {
        if let Some((shutdown, task)) = self.proxy.take() {
            task.abort();
            let _ = task.await;
            shutdown.trigger();
        }
    }

    /// A pod on the bridge, answering on TCP and UDP with its name; 10.1.1.2 is fd00:1::2, too.
    pub(crate) fn pod(&self, name: &'static str, ip: &str) {
        let last = ip.rsplit('.').next().unwrap();
        sh(&format!(
            "ip netns add {name}; ip link add v{name} type veth peer name eth0 netns {name}; ip link set v{name} up master cni0; \
             bridge link set dev v{name} hairpin on; ip -n {name} addr add {ip}/24 dev eth0; ip -n {name} link set eth0 up; \
             ip -n {name} link set lo up; ip -n {name} route add default via 10.1.1.1; \
             ip -n {name} addr add fd00:1::{last}/64 dev eth0 nodad; ip -n {name} -6 route add default via fd00:1::1"
        ));
        let stop = self.stop.clone();
        let (ready, is_ready) = std::sync::mpsc::channel();
        thread::spawn(move || {
            enter(name);
            let tcp = TcpListener::bind(("::", PORT)).unwrap();
            let udp = UdpSocket::bind(("0.0.0.0", PORT)).unwrap();
            udp.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            let udp_stop = stop.clone();
            thread::spawn(move || serve_udp(&udp, name, &udp_stop));
            ready.send(()).unwrap();
            for stream in tcp.incoming().take_while(|_| !stop.load(Ordering::Relaxed)) {
                let _ = stream.and_then(|mut stream| stream.write_all(name.as_bytes()));
            }
        });
        is_ready.recv().unwrap();
    }

    /// The rules that CNI's bridge plugin makes for `ipMasq`.
    pub(crate) fn cni_masquerade(&self, ip: &str) {
        let chain = format!("CNI-{}", ip.replace('.', "-"));
        sh(&format!(
            "iptables -t nat -N {chain}; iptables -t nat -A {chain} -d 10.1.1.0/24 -j ACCEPT; \
             iptables -t nat -A {chain} ! -d 224.0.0.0/4 -j MASQUERADE; iptables -t nat -A POSTROUTING -s {ip}/32 -j {chain}"
        ));
    }

    /// A Service named `web` with port 80, and its endpoints.
    pub(crate) fn service(&self, cluster_ip: &str, extra: Value) {
        let mut service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "ns", "name": "web"},
            "spec": {"clusterIP": cluster_ip, "ports": [{"port": 80, "protocol": "TCP"}, {"name": "u", "port": 80, "protocol": "UDP"}]}});
        for (key, value) in extra.as_object().unwrap() {
            service["spec"][key] = value.clone();
        }
        self.api.put(&service);
    }

    pub(crate) fn endpoints(&self, ips: &[&str]) {
        let endpoints: Vec<Value> = ips
            .iter()
            .map(|ip| json!({"addresses": [ip], "nodeName": "here", "conditions": {"ready": true}}))
            .collect();
        let family = if ips.iter().any(|ip| ip.contains(':')) { "IPv6" } else { "IPv4" };
        let name = format!("web-{}", family.to_lowercase());
        self.api.put(&json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family,
            "metadata": {"namespace": "ns", "name": name, "labels": {"kubernetes.io/service-name": "web"}},
            "ports": [{"name": "", "port": PORT, "protocol": "TCP"}, {"name": "u", "port": PORT, "protocol": "UDP"}],
            "endpoints": endpoints}));
    }

    pub(crate) fn remove_service(&self) {
        self.api.remove::<Service>("ns", "web");
        self.api.remove::<EndpointSlice>("ns", "web-ipv4");
    }

    /// Waits until a request from `from` (a pod, or "host") to `to` has this outcome.
    pub(crate) async fn until(&self, from: &'static str, to: &str, wanted: &str) {
        let start = Instant::now();
        loop {
            // A lost SYN is sent again only after a second: asking anew shows sooner that the rules are there.
            let patience = if wanted == "timeout" { CONNECT_TIMEOUT } else { Duration::from_millis(40) };
            let seen = ask_for(from, to, patience).await;
            if seen == wanted {
                return;
            }
            assert!(start.elapsed() < DEADLINE, "{from} to {to}: {seen} instead of {wanted}\n{}", sh("iptables-save"));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until a command prints what is wanted.
    pub(crate) async fn until_text(&self, command: &str, is_wanted: impl Fn(&str) -> bool) {
        let start = Instant::now();
        loop {
            let text = sh(command);
            if is_wanted(&text) {
                return;
            }
            assert!(start.elapsed() < DEADLINE, "{command}:\n{text}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until any of the pods answers, and says which.
    pub(crate) async fn until_answered(&self, from: &'static str, to: &str) -> String {
        let start = Instant::now();
        loop {
            let seen = ask_for(from, to, Duration::from_millis(40)).await;
            if seen != "timeout" && seen != "refused" {
                return seen;
            }
            assert!(start.elapsed() < DEADLINE, "{from} to {to}: {seen}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Who answers in so many requests.
    pub(crate) async fn answers(&self, from: &'static str, to: &str, count: usize) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        for _ in 0..count {
            seen.insert(ask(from, to).await);
        }
        seen
    }
}

/// The answer to a TCP connection: a pod's name, "refused" or "timeout".
pub(crate) async fn ask(from: &'static str, to: &str) -> String {
    ask_for(from, to, CONNECT_TIMEOUT).await
}

async fn ask_for(from: &'static str, to: &str, patience: Duration) -> String {
    let to: SocketAddr = to.parse().unwrap();
    on_thread(from, move || {
        let mut stream = match TcpStream::connect_timeout(&to, patience) {
            Ok(stream) => stream,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => return "refused".to_string(),
            Err(_) => return "timeout".to_string(),
        };
        let mut text = String::new();
        let _ = stream.set_read_timeout(Some(CONNECT_TIMEOUT));
        let _ = stream.read_to_string(&mut text);
        text
    })
    .await
}

/// The answer to one datagram from a fixed port.
pub(crate) async fn ask_udp(from: &'static str, port: u16, to: &str) -> String {
    let to: SocketAddr = to.parse().unwrap();
    on_thread(from, move || {
        let any: IpAddr = [0, 0, 0, 0].into();
        let socket = UdpSocket::bind((any, port)).unwrap();
        socket.set_read_timeout(Some(CONNECT_TIMEOUT)).unwrap();
        let mut buffer = [0; 64];
        let sent = socket.send_to(b"?", to).and_then(|_| socket.recv(&mut buffer));
        sent.map_or("timeout".to_string(), |length| String::from_utf8_lossy(&buffer[..length]).into_owned())
    })
    .await
}

/// Waits until an HTTP server on the host answers with this status line.
pub(crate) async fn until_http(to: &str, wanted: &str) {
    let start = Instant::now();
    loop {
        let seen = http(to).await;
        if seen == wanted {
            return;
        }
        assert!(start.elapsed() < DEADLINE, "{to}: {seen} instead of {wanted}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn http(to: &str) -> String {
    let to: SocketAddr = to.parse().unwrap();
    on_thread("host", move || {
        let Ok(mut stream) = TcpStream::connect_timeout(&to, CONNECT_TIMEOUT) else {
            return "no connection".to_string();
        };
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        text.lines().next().unwrap_or_default().to_string()
    })
    .await
}

async fn on_thread<T: Send + 'static>(netns: &'static str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    thread::spawn(move || {
        enter(netns);
        let _ = sender.send(work());
    });
    receiver.await.unwrap()
}

/// A thread starts in its parent's namespace: the host's.
fn enter(netns: &str) {
    if netns != "host" {
        setns(File::open(format!("/run/netns/{netns}")).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
    }
}

fn serve_udp(socket: &UdpSocket, name: &str, stop: &AtomicBool) {
    let mut buffer = [0; 64];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((_, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(name.as_bytes(), from);
        }
    }
}

pub(crate) fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-c", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
