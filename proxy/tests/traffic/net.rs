//! A host with a bridge and pods on it, in namespaces of a thread's own, and requests from there.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

/// The longest that anything here may take to come true.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);
/// Where pods answer.
pub(crate) const PORT: u16 = 8080;

/// Runs work on a thread of its own, in namespaces of its own, on a runtime that has no other thread.
pub(crate) fn isolated<T: Send + 'static, F: Future<Output = T>>(work: impl FnOnce() -> F + Send + 'static) -> T {
    let inside = move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("needs root");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).unwrap();
        sh("ip link set lo up; ip link add cni0 type bridge; ip addr add 10.1.1.1/24 dev cni0; ip link set cni0 up; \
            ip addr add fd00:1::1/64 dev cni0 nodad; sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1; \
            ip route add default dev cni0; ip -6 route add default dev cni0");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(work())
    };
    thread::spawn(inside).join().unwrap()
}

/// A pod on the bridge, answering on TCP and UDP with its name until `stop`; 10.1.1.2 is fd00:1::2, too.
pub(crate) fn pod(name: &'static str, ip: &str, stop: &Arc<AtomicBool>) {
    let last = ip.rsplit('.').next().unwrap();
    sh(&format!(
        "ip netns add {name}; ip link add v{name} type veth peer name eth0 netns {name}; ip link set v{name} up master cni0; \
         bridge link set dev v{name} hairpin on; ip -n {name} addr add {ip}/24 dev eth0; ip -n {name} link set eth0 up; \
         ip -n {name} link set lo up; ip -n {name} route add default via 10.1.1.1; \
         ip -n {name} addr add fd00:1::{last}/64 dev eth0 nodad; ip -n {name} -6 route add default via fd00:1::1"
    ));
    let stop = stop.clone();
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

/// The answer to a TCP connection: a pod's name, "refused" or "timeout". One that stands is answered, however slow the
/// machine is.
pub(crate) async fn ask_for(from: &'static str, to: &str, patience: Duration) -> String {
    let to: SocketAddr = to.parse().unwrap();
    on_thread(from, move || {
        let mut stream = match TcpStream::connect_timeout(&to, patience) {
            Ok(stream) => stream,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => return "refused".to_string(),
            Err(_) => return "timeout".to_string(),
        };
        let mut text = String::new();
        let _ = stream.set_read_timeout(Some(DEADLINE));
        let _ = stream.read_to_string(&mut text);
        text
    })
    .await
}

/// Does what blocks, in a pod's namespace or on the "host".
pub(crate) async fn on_thread<T: Send + 'static>(netns: &'static str, work: impl FnOnce() -> T + Send + 'static) -> T {
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
