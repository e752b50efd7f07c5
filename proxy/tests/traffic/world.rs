//! A kube-proxy on an isolated host, in either mode, and what it is told.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use component::shutdown::Shutdown;
use component::testing::FakeApi;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

use crate::net::{DEADLINE, PORT, ask_for, isolated, on_thread, pod, sh};

/// Where nobody answers, a connection is given up after this.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(700);
/// Between two looks whether something came true.
const PAUSE: Duration = Duration::from_millis(5);
/// The Service `web`.
pub(crate) const IP: &str = "10.96.0.5";
pub(crate) const VIP: &str = "10.96.0.5:80";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Iptables,
    Nftables,
}

pub(crate) struct World {
    pub(crate) api: FakeApi,
    pub(crate) mode: Mode,
    proxy: Option<(Shutdown, tokio::task::JoinHandle<Result<(), proxy::Error>>)>,
    stop: Arc<AtomicBool>,
}

/// Runs a test in each mode, with pods `a` (10.1.1.2) and `b` (10.1.1.3).
pub(crate) fn in_each_mode<F: Future<Output = ()>>(test: impl Fn(World) -> F + Clone + Send + 'static) {
    for mode in [Mode::Iptables, Mode::Nftables] {
        in_mode(mode, test.clone());
    }
}

pub(crate) fn in_mode<F: Future<Output = ()>>(mode: Mode, test: impl FnOnce(World) -> F + Send + 'static) {
    println!("mode {mode:?}");
    isolated(move || {
        let world = World { api: FakeApi::new(), mode, proxy: None, stop: Arc::default() };
        world.api.put(&json!({"apiVersion": "v1", "kind": "Node",
            "metadata": {"name": "here", "labels": {"topology.kubernetes.io/zone": "zone-here"}},
            "status": {"addresses": [{"type": "InternalIP", "address": "10.1.1.1"}]}}));
        pod("a", "10.1.1.2", &world.stop);
        pod("b", "10.1.1.3", &world.stop);
        test(world)
    });
}

pub(crate) fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| name.to_string()).collect()
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl World {
    pub(crate) fn start(&mut self, flags: &[&str]) {
        let mode = if self.mode == Mode::Iptables { "--proxy-mode=iptables" } else { "--proxy-mode=nftables" };
        let common =
            ["--hostname-override=here", "--healthz-bind-address=127.0.0.1:10256", "--conntrack-max-per-core=0", mode];
        let values = proxy::flags().parse(common.iter().chain(flags).map(|flag| flag.to_string())).unwrap();
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

    /// How it ends by itself.
    pub(crate) async fn ended(&mut self) -> Result<(), proxy::Error> {
        let (_, task) = self.proxy.take().expect("it was started");
        tokio::time::timeout(DEADLINE, task).await.expect("it ends").expect("without a panic")
    }

    /// The rules that CNI's bridge plugin makes for `ipMasq`.
    pub(crate) fn cni_masquerade(&self, ip: &str) {
        let chain = format!("CNI-{}", ip.replace('.', "-"));
        sh(&format!(
            "iptables -t nat -N {chain}; iptables -t nat -A {chain} -d 10.1.1.0/24 -j ACCEPT; \
             iptables -t nat -A {chain} ! -d 224.0.0.0/4 -j MASQUERADE; iptables -t nat -A POSTROUTING -s {ip}/32 -j {chain}"
        ));
    }

    /// A Service named `web` with port 80, and what `extra` says beside. A load balancer's addresses are in `ingress`.
    pub(crate) fn service(&self, cluster_ip: &str, extra: Value) {
        let mut service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "ns", "name": "web"},
            "spec": {"clusterIP": cluster_ip, "ports": [{"port": 80, "protocol": "TCP"}, {"name": "u", "port": 80, "protocol": "UDP"}]}});
        for (key, value) in extra.as_object().unwrap() {
            match key.as_str() {
                "ingress" => service["status"]["loadBalancer"]["ingress"] = value.clone(),
                _ => service["spec"][key] = value.clone(),
            }
        }
        self.api.put(&service);
    }

    /// Endpoints of `web` that are ready, on this node.
    pub(crate) fn endpoints(&self, ips: &[&str]) {
        let ready = |ip: &&str| json!({"addresses": [ip], "nodeName": "here", "conditions": {"ready": true}});
        self.slice(&ips.iter().map(ready).collect::<Vec<_>>());
    }

    /// Endpoints of `web` as the API has them, all of one family.
    pub(crate) fn slice(&self, endpoints: &[Value]) {
        let is_v6 = endpoints.iter().any(|endpoint| endpoint["addresses"].to_string().contains(':'));
        let family = if is_v6 { "IPv6" } else { "IPv4" };
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

    /// Another Service, with two endpoints that do not answer.
    pub(crate) fn put_other(&self, at: usize) {
        let (name, ip) = (format!("other-{at}"), format!("10.97.{}.{}", at / 250, at % 250 + 1));
        self.api.put(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "ns", "name": name},
            "spec": {"clusterIP": ip, "ports": [{"port": 80}]}}));
        self.api.put(&json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"namespace": "ns", "name": name, "labels": {"kubernetes.io/service-name": name}},
            "ports": [{"name": "", "port": 80}],
            "endpoints": [{"addresses": ["10.1.9.1"]}, {"addresses": ["10.1.9.2"]}]}));
    }

    pub(crate) fn remove_other(&self, at: usize) {
        let name = format!("other-{at}");
        self.api.remove::<Service>("ns", &name);
        self.api.remove::<EndpointSlice>("ns", &name);
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
            assert!(start.elapsed() < DEADLINE, "{from} to {to}: {seen} instead of {wanted}\n{}", self.rules());
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Our rules, as they are.
    pub(crate) fn rules(&self) -> String {
        sh(if self.mode == Mode::Iptables { "iptables-save" } else { "nft list ruleset" })
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
            tokio::time::sleep(PAUSE).await;
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
            tokio::time::sleep(PAUSE).await;
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
        tokio::time::sleep(PAUSE).await;
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
