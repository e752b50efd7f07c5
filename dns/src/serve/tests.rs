//! The whole server on loopback: a fake API, a scripted resolver, and questions by UDP and TCP.

use std::net::SocketAddr;
use std::time::Duration;

use component::random::Random;
use component::shutdown::Shutdown;
use component::testing::FakeApi;
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::{Options, Seams, flags, run};

const DEADLINE: Duration = Duration::from_secs(30);

/// A server whose resolver is the one given, at any port.
struct World {
    api: FakeApi,
    address: SocketAddr,
    shutdown: Shutdown,
    _folder: tempfile::TempDir,
}

impl World {
    async fn start(resolver: SocketAddr, more: &[&str]) -> World {
        let folder = tempfile::tempdir().unwrap();
        let resolv_conf = folder.path().join("resolv.conf");
        std::fs::write(&resolv_conf, format!("nameserver {}\nsearch corp.example\n", resolver.ip())).unwrap();
        let mut line = vec![
            format!("--resolv-conf={}", resolv_conf.display()),
            "--metrics-bind-address=".to_owned(),
            "--forward-timeout=20s".to_owned(),
        ];
        line.extend(more.iter().map(|flag| (*flag).to_owned()));
        let mut options = Options::from_flags(&flags().parse(line).unwrap()).unwrap();
        options.forward.resolver_port = resolver.port();
        let api = FakeApi::new();
        api.put(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns"}}));
        api.put(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "ns", "name": "web"},
            "spec": {"clusterIP": "10.96.0.7", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}}));
        let (datagrams, listener) = sockets().await;
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let mut seams = Seams::system(shutdown.clone());
        (seams.client, seams.sockets, seams.random) =
            (Some(api.client()), Some((datagrams, listener)), Random::seeded(1));
        tokio::spawn(run(options, seams));
        let world = World { api, address, shutdown, _folder: folder };
        world.until("web.ns.svc.cluster.local.", "NoError 10.96.0.7").await;
        world
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Message {
        ask(self.address, name, kind).await
    }

    /// Waits until a name has this answer.
    async fn until(&self, name: &str, wanted: &str) {
        let all = async {
            while shown(&self.ask(name, RecordType::A).await) != wanted {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, all).await.unwrap_or_else(|_| panic!("{name} is not {wanted}"));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

/// Both ways to one port: a number that is free for TCP may be taken for UDP.
async fn sockets() -> (UdpSocket, TcpListener) {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        match UdpSocket::bind(listener.local_addr().unwrap()).await {
            Ok(datagrams) => return (datagrams, listener),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse, "{error}"),
        }
    }
}

async fn ask(server: SocketAddr, name: &str, kind: RecordType) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.queries = vec![Query::query(Name::from_ascii(name).unwrap(), kind)];
    let mut buffer = [0; 4096];
    socket.send_to(&message.to_vec().unwrap(), server).await.unwrap();
    let length = tokio::time::timeout(DEADLINE, socket.recv(&mut buffer)).await.expect("an answer").unwrap();
    let reply = Message::from_vec(&buffer[..length]).unwrap();
    assert_eq!(reply.metadata.id, message.metadata.id);
    reply
}

fn shown(reply: &Message) -> String {
    let answers: Vec<String> = reply.answers.iter().map(|record| record.data.to_string()).collect();
    format!("{:?} {}", reply.metadata.response_code, answers.join(" "))
}

/// A resolver that knows `www.example.com` and answers with TC by UDP for `big.example.com`.
async fn resolver() -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let (socket, listener) = sockets().await;
    let address = listener.local_addr().unwrap();
    let (sender, asked) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            let request = Message::from_vec(&buffer[..length]).unwrap();
            let _ = sender.send(request.queries[0].name.to_ascii());
            let mut reply = resolved(&request);
            if request.queries[0].name.to_ascii() == "big.example.com." {
                reply.answers.clear();
                reply.metadata.truncation = true;
            }
            socket.send_to(&reply.to_vec().unwrap(), client).await.unwrap();
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut buffer).await.unwrap();
            let reply = resolved(&Message::from_vec(&buffer).unwrap()).to_vec().unwrap();
            stream.write_u16(reply.len() as u16).await.unwrap();
            stream.write_all(&reply).await.unwrap();
        }
    });
    (address, asked)
}

fn resolved(request: &Message) -> Message {
    let query = &request.queries[0];
    let mut reply = crate::message::reply(request, ResponseCode::NXDomain);
    if ["www.example.com.", "big.example.com."].contains(&query.name.to_ascii().as_str()) {
        reply.metadata.response_code = ResponseCode::NoError;
        reply.answers = vec![Record::from_rdata(query.name.clone(), 60, RData::A(A::new(192, 0, 2, 80)))];
    }
    reply
}

#[tokio::test]
async fn names_inside_and_outside() {
    let (resolver, mut asked) = resolver().await;
    let world = World::start(resolver, &[]).await;
    let ask = async |name| shown(&world.ask(name, RecordType::A).await);
    assert_eq!(ask("www.example.com.").await, "NoError 192.0.2.80");
    assert_eq!(ask("WWW.example.com.").await, "NoError 192.0.2.80", "from the cache");
    assert_eq!(ask("big.example.com.").await, "NoError 192.0.2.80", "by TCP");
    assert_eq!(ask("missing.example.com.").await, "NXDomain ");
    assert_eq!(ask("www.example.com.ns.svc.cluster.local.").await, "NoError www.example.com. 192.0.2.80");
    let mut names = Vec::new();
    while let Ok(name) = asked.try_recv() {
        names.push(name);
    }
    let count = |wanted: &str| names.iter().filter(|name| name.eq_ignore_ascii_case(wanted)).count();
    assert_eq!((count("www.example.com."), count("www.example.com.corp.example.")), (1, 1), "{names:?}");
}

#[tokio::test]
async fn changes_of_services_are_followed() {
    let (resolver, _asked) = resolver().await;
    let world = World::start(resolver, &[]).await;
    world.api.put(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "ns", "name": "db"},
        "spec": {"clusterIP": "None"}}));
    world.api.put(&json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"namespace": "ns", "name": "db-1", "labels": {"kubernetes.io/service-name": "db"}},
        "endpoints": [{"addresses": ["10.1.0.2"], "hostname": "db-0"}], "ports": []}));
    world.until("db-0.db.ns.svc.cluster.local.", "NoError 10.1.0.2").await;
    world.api.remove::<k8s_openapi::api::core::v1::Service>("ns", "db");
    world.until("db.ns.svc.cluster.local.", "NXDomain ").await;
}

#[tokio::test]
async fn a_connection_serves_many_questions() {
    let (resolver, _asked) = resolver().await;
    let world = World::start(resolver, &[]).await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    for _ in 0..3 {
        let mut message = Message::query();
        message.queries = vec![Query::query(Name::from_ascii("web.ns.svc.cluster.local.").unwrap(), RecordType::A)];
        let bytes = message.to_vec().unwrap();
        stream.write_u16(bytes.len() as u16).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let mut buffer = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut buffer).await.unwrap();
        assert_eq!(shown(&Message::from_vec(&buffer).unwrap()), "NoError 10.96.0.7");
    }
}

#[tokio::test]
async fn a_resolver_that_leads_back_is_not_asked() {
    // The resolver is the server itself, at its own port.
    let relay = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let world = World::start(relay.local_addr().unwrap(), &["--forward-timeout=500ms"]).await;
    let server = world.address;
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((length, client)) = relay.recv_from(&mut buffer).await {
            let onward = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            onward.send_to(&buffer[..length], server).await.unwrap();
            let mut back = [0; 4096];
            if let Ok(Ok(length)) = tokio::time::timeout(DEADLINE, onward.recv(&mut back)).await {
                relay.send_to(&back[..length], client).await.unwrap();
            }
        }
    });
    world.until("looped.example.com.", "ServFail ").await;
}

#[tokio::test]
async fn broken_packets_are_refused() {
    let (resolver, _asked) = resolver().await;
    let world = World::start(resolver, &["--client-cidrs=10.244.0.0/16"]).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut packet = vec![0x12, 0x34, 1, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0xff];
    socket.send_to(&packet, world.address).await.unwrap();
    let mut buffer = [0; 512];
    let length = tokio::time::timeout(DEADLINE, socket.recv(&mut buffer)).await.unwrap().unwrap();
    let reply = Message::from_vec(&buffer[..length]).unwrap();
    assert_eq!((reply.metadata.id, reply.metadata.response_code), (0x1234, ResponseCode::FormErr));
    // Neither a reply nor half a header is answered; the question after them is.
    packet[2] = 0x80;
    socket.send_to(&packet, world.address).await.unwrap();
    socket.send_to(&packet[..5], world.address).await.unwrap();
    assert_eq!(shown(&world.ask("web.ns.svc.cluster.local.", RecordType::A).await), "NoError 10.96.0.7");
}
