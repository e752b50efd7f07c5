//! The whole server, watches and sockets too, on a thread of its own, so that the kernel tells what it used.

use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use component::shutdown::Shutdown;
use component::testing::FakeApi;
use serde_json::json;

const SERVICES: usize = 10_000;
const QUESTIONS: usize = 200_000;
/// On the way at a time: as many as a busy node's pods would have.
const AT_ONCE: usize = 64;
const PATIENCE: Duration = Duration::from_secs(2);
const DEADLINE: Duration = Duration::from_secs(60);

/// Answers by each second of processor time, the kernel's for the packets included.
pub(crate) fn answers_a_cpu_second(question: &[u8]) -> f64 {
    let shutdown = Shutdown::new();
    let (sender, started) = mpsc::channel();
    let of_server = shutdown.clone();
    let thread = std::thread::spawn(move || serve(of_server, &sender));
    let (address, clock): (SocketAddr, String) = started.recv().expect("the server starts");
    let client = UdpSocket::bind(("127.0.0.1", 0)).expect("a socket");
    client.connect(address).expect("an address");
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let start = Instant::now();
    while !is_answered(&client, question) {
        assert!(start.elapsed() < DEADLINE, "the server knows no names");
    }
    let before = cpu(&clock);
    let mut buffer = [0; 4096];
    for _ in 0..QUESTIONS / AT_ONCE {
        for _ in 0..AT_ONCE {
            client.send(question).expect("send a question");
        }
        for _ in 0..AT_ONCE {
            client.recv(&mut buffer).expect("an answer");
        }
    }
    let used = cpu(&clock) - before;
    shutdown.trigger();
    thread.join().expect("the server ends");
    QUESTIONS as f64 / used.as_secs_f64()
}

/// Whether there is an answer, and the name is known.
fn is_answered(client: &UdpSocket, question: &[u8]) -> bool {
    let mut buffer = [0; 4096];
    client.send(question).expect("send a question");
    matches!(client.recv(&mut buffer), Ok(length) if length > 7 && buffer[3] & 0xf == 0 && buffer[7] > 0)
}

fn serve(shutdown: Shutdown, started: &mpsc::Sender<(SocketAddr, String)>) {
    let api = FakeApi::new();
    api.put(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}));
    for at in 0..SERVICES {
        let ip = format!("10.96.{}.{}", at / 250, at % 250 + 1);
        api.put(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "default", "name": format!("service-{at}")},
            "spec": {"type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip], "ports": [{"name": "http", "port": 80}]}}));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let datagrams = tokio::net::UdpSocket::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = datagrams.local_addr().expect("an address");
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let flags = ["--metrics-bind-address=", "--resolv-conf=/dev/null"].map(str::to_owned);
        let options = dns::Options::from_flags(&dns::flags().parse(flags).expect("flags")).expect("options");
        let me = std::fs::read_link("/proc/thread-self").expect("a thread");
        started.send((address, format!("/proc/{}/schedstat", me.display()))).expect("somebody waits");
        let sockets = Some((datagrams, listener));
        let seams = dns::Seams { client: Some(api.client()), sockets, ..dns::Seams::system(shutdown) };
        dns::run(options, seams).await.expect("skiff-dns");
    });
}

/// What a thread used of the processor.
fn cpu(schedstat: &str) -> Duration {
    let text = std::fs::read_to_string(schedstat).expect("the thread runs");
    Duration::from_nanos(text.split_whitespace().next().and_then(|field| field.parse().ok()).unwrap_or_default())
}
