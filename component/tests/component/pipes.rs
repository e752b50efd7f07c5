//! Connections in memory: who is taken for whom, when they are used, and what becomes of them.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use component::{
    client::{self, ClientConfig, ServiceAccountClients},
    delegated::ClientAuthority,
    pipes::{self, Pipes},
    random::Random,
    serve::{self, Leave, Ways},
    shutdown::Shutdown,
    testing::FakeApi,
    tls::{self, FixedKey, MinVersion},
};
use futures::future::join_all;
use http::{Request, Response};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use k8s_openapi::api::core::v1::ServiceAccount;
use rustls::ServerConfig;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    client::{ask, data, kubeconfig, mirror},
    support::{Authority, soon},
};

/// What a connection without a wire has for a port.
const PIPED: &str = "0";
const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// A server with a port and pipes, and clients of it. It answers with what it saw, or with what it was sent.
struct World {
    authority: Authority,
    tls: ServerConfig,
    pipes: Pipes,
    address: SocketAddr,
}

struct Running {
    shutdown: Shutdown,
    task: JoinHandle<()>,
}

impl World {
    /// Not served yet; the port is nobody else's meanwhile.
    fn new() -> (Self, TcpListener) {
        let authority = Authority::new("ca");
        let key = FixedKey(authority.issue("server", "", &["127.0.0.1"]).certified());
        let tls = tls::server_config(Arc::new(key), MinVersion::Tls12).unwrap();
        let listener = serve::bind(SocketAddr::new(LOOPBACK, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        (Self { authority, tls, pipes: Pipes::default(), address }, listener)
    }

    fn served() -> (Self, Running) {
        let (world, listener) = Self::new();
        let running = world.serve(listener, None);
        (world, running)
    }

    fn listen(&self) -> pipes::Listener {
        let listener = self.pipes.listen(self.address, LOOPBACK);
        listener.speak(Arc::new(self.tls.clone()));
        listener
    }

    fn serve(&self, listener: TcpListener, leave: Option<Leave>) -> Running {
        self.serve_on(listener, Ways { pipes: Some(self.listen()), leave })
    }

    fn serve_on(&self, listener: TcpListener, ways: Ways) -> Running {
        let pem = self.authority.pem();
        let authority = ClientAuthority::new(tls::certificates_from_pem(pem.as_bytes(), "ca").unwrap());
        let service = tower::service_fn(move |request: Request<Incoming>| {
            let seen = mirror(&request, Some(&authority)).to_string();
            async move {
                let is_echo = request.method() == http::Method::POST;
                let body = if is_echo { Either::Left(request.into_body()) } else { Either::Right(Full::from(seen)) };
                Ok::<_, std::convert::Infallible>(Response::new(body))
            }
        });
        let (tls, shutdown) = (Arc::new(self.tls.clone()), Shutdown::new());
        let serving = serve::accept_from(listener, Some(tls), service, shutdown.clone(), ways);
        Running { shutdown, task: tokio::spawn(serving) }
    }

    fn config(&self, user: Value) -> (ClientConfig, NamedTempFile) {
        let cluster = json!({"certificate-authority-data": data(&self.authority.pem())});
        let file = kubeconfig(&format!("https://{}", self.address), cluster, user);
        (ClientConfig::from_kubeconfig("test", file.path()).through(self.pipes.clone()), file)
    }

    fn client(&self) -> kube::Client {
        client::connect(self.config(json!({})).0).unwrap()
    }
}

async fn port(client: &kube::Client) -> String {
    ask(client).await.unwrap().remove("port").unwrap()
}

#[tokio::test]
async fn who_comes_before_the_server_can_speak_waits_and_comes_by_a_pipe() {
    let (world, listener) = World::new();
    let pipes = world.pipes.listen(world.address, LOOPBACK);
    let client = world.client();
    let asking = tokio::spawn(async move { port(&client).await });
    tokio::task::yield_now().await;
    pipes.speak(Arc::new(world.tls.clone()));
    let _running = world.serve_on(listener, Ways { pipes: Some(pipes), leave: None });
    assert_eq!(asking.await.unwrap(), PIPED);
}

#[tokio::test]
async fn who_asks_by_a_pipe_is_who_its_certificate_says() {
    let (world, _running) = World::served();
    let pair = world.authority.issue("system:kube-scheduler", "some:group", &[]);
    let user = json!({"client-certificate-data": data(&pair.certificate), "client-key-data": data(&pair.key)});
    let seen = ask(&client::connect(world.config(user).0).unwrap()).await.unwrap();
    assert_eq!((&*seen["port"], &*seen["h2"]), (PIPED, "true"));
    assert_eq!((&*seen["user"], &*seen["groups"]), ("system:kube-scheduler", "some:group"));

    let stranger = Authority::new("other").issue("system:kube-scheduler", "", &[]);
    let user = json!({"client-certificate-data": data(&stranger.certificate), "client-key-data": data(&stranger.key)});
    let seen = ask(&client::connect(world.config(user).0).unwrap()).await.unwrap();
    assert_eq!((&*seen["port"], &*seen["user"]), (PIPED, ""), "judged by who serves, as over TCP");

    let seen = ask(&client::connect(world.config(json!({"token": "secret"})).0).unwrap()).await.unwrap();
    assert_eq!((&*seen["port"], &*seen["authorization"]), (PIPED, "Bearer secret"));
}

#[tokio::test]
async fn a_key_that_is_not_the_certificates_proves_nothing() {
    let (world, _running) = World::served();
    let (pair, other) = (world.authority.issue("admin", "", &[]), world.authority.issue("user", "", &[]));
    let user = json!({"client-certificate-data": data(&pair.certificate), "client-key-data": data(&other.key)});
    let (config, _file) = world.config(user);
    let over_tcp = ask(&client::connect(config.clone().through(Pipes::default())).unwrap()).await.unwrap_err();
    let piped = ask(&client::connect(config).unwrap()).await.unwrap_err();
    assert!(format!("{piped:?}").contains("received fatal alert"), "{piped:?}");
    assert!(format!("{over_tcp:?}").contains("received fatal alert"), "{over_tcp:?}");
}

#[tokio::test]
async fn a_server_that_is_not_trusted_is_refused_in_the_same_words() {
    let (world, _running) = World::served();
    let theirs = data(&Authority::new("ca").pem());
    let ours = data(&world.authority.pem());
    for cluster in [
        json!({"certificate-authority-data": theirs}),
        json!({"certificate-authority-data": ours, "tls-server-name": "another.name"}),
    ] {
        let file = kubeconfig(&format!("https://{}", world.address), cluster, json!({}));
        let config = ClientConfig::from_kubeconfig("test", file.path());
        let over_tcp = ask(&client::connect(config.clone()).unwrap()).await.unwrap_err();
        let piped = ask(&client::connect(config.through(world.pipes.clone())).unwrap()).await.unwrap_err();
        assert!(format!("{piped:?}").contains("invalid peer certificate"), "{piped:?}");
        assert_eq!(format!("{piped:?}"), format!("{over_tcp:?}"));
    }
}

#[tokio::test]
async fn other_servers_are_reached_by_tcp() {
    let (world, _running) = World::served();
    let (elsewhere, _other) = World::served();
    assert_eq!(port(&world.client()).await, PIPED);
    let client = |config: ClientConfig| client::connect(config).unwrap();
    let (config, _file) = elsewhere.config(json!({}));
    assert_ne!(port(&client(config.through(world.pipes.clone()))).await, PIPED, "another port");
    let (config, _file) = world.config(json!({}));
    assert_ne!(port(&client(config.through(Pipes::default()))).await, PIPED, "other pipes");
    let (config, _file) = world.config(json!({}));
    let error = ask(&client(ClientConfig { master: Some("https://127.0.0.2".into()), ..config })).await.unwrap_err();
    assert!(format!("{error:?}").contains("tcp connect error"), "another address and port: {error:?}");
}

#[tokio::test]
async fn a_server_that_ends_is_refused_and_found_again_by_a_pipe() {
    let (world, first) = World::served();
    let client = world.client();
    assert_eq!(port(&client).await, PIPED);
    // A server that stops, and one whose task is gone as after a panic.
    let mut running = first;
    for is_stopped in [true, false] {
        match is_stopped {
            true => running.shutdown.trigger(),
            false => running.task.abort(),
        }
        let ended = soon(running.task).await;
        assert_eq!(ended.is_ok(), is_stopped);
        let gone = soon(async {
            loop {
                if let Err(error) = ask(&client).await {
                    return format!("{error:?}");
                }
            }
        });
        assert!(gone.await.contains("tcp connect error"), "as over TCP");
        running = world.serve(serve::bind(world.address).unwrap(), None);
        assert_eq!(port(&client).await, PIPED);
    }
}

/// A client that was started has come as far as it can: nothing on its way waits for anything but its turn.
async fn it_comes() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn who_comes_before_the_server_takes_anybody_waits() {
    let (world, listener) = World::new();
    let early = world.listen();
    let client = world.client();
    let waiting = tokio::spawn(async move { ask(&client).await });
    it_comes().await;
    drop(early);
    assert!(soon(waiting).await.unwrap().is_err(), "a server that does not get so far sends it away");

    let early = world.listen();
    let client = world.client();
    let waiting = tokio::spawn(async move { ask(&client).await });
    it_comes().await;
    let _running = world.serve_on(listener, Ways { pipes: Some(early), leave: None });
    assert_eq!(soon(waiting).await.unwrap().unwrap()["port"], PIPED);
}

#[tokio::test]
async fn another_certificate_makes_another_connection() {
    let (world, _running) = World::served();
    let folder = tempfile::tempdir().unwrap();
    let write = |user: &str| {
        let pair = world.authority.issue(user, "", &[]);
        std::fs::write(folder.path().join("crt"), &pair.certificate).unwrap();
        std::fs::write(folder.path().join("key"), &pair.key).unwrap();
    };
    write("a");
    let file = |name: &str| json!(folder.path().join(name));
    let (config, _file) = world.config(json!({"client-certificate": file("crt"), "client-key": file("key")}));
    let client = client::connect(config).unwrap();
    let first = ask(&client).await.unwrap();
    assert_eq!((&*first["user"], &*first["port"]), ("a", PIPED));

    write("second-user");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    let second = ask(&client).await.unwrap();
    assert_eq!((&*second["user"], &*second["port"]), ("second-user", PIPED));
}

#[tokio::test]
async fn who_is_sent_away_comes_again() {
    let (world, listener) = World::new();
    let _running = world.serve(listener, Some(Leave { chance: 1.0, random: Random::seeded(1) }));
    let client = world.client();
    for _ in 0..5 {
        assert_eq!(port(&client).await, PIPED);
    }
}

#[tokio::test]
async fn a_server_without_http2_is_spoken_to_as_it_can() {
    let (mut world, listener) = World::new();
    world.tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let _running = world.serve(listener, None);
    let client = world.client();
    for seen in join_all((0..5).map(|_| ask(&client))).await {
        let seen = seen.unwrap();
        assert_eq!((&*seen["h2"], &*seen["port"]), ("false", PIPED));
    }
}

#[tokio::test]
async fn much_goes_both_ways_at_once() {
    let (world, _running) = World::served();
    let client = world.client();
    let sent = "x".repeat(3 << 20);
    let echoes = (0..20).map(|_| async {
        let request = Request::post("/echo").body(kube::client::Body::from(sent.clone().into_bytes())).unwrap();
        let answer = client.send(request).await.unwrap();
        answer.into_body().collect().await.unwrap().to_bytes()
    });
    let echoes: Vec<Bytes> = soon(join_all(echoes)).await;
    assert!(echoes.iter().all(|echo| *echo == sent));
}

#[tokio::test]
async fn controllers_act_as_their_service_accounts_by_a_pipe() {
    let (world, _running) = World::served();
    let fake = FakeApi::new();
    fake.react(|request| {
        let token = json!({"spec": {"audiences": []}, "status": {"token": "its", "expirationTimestamp": null}});
        (request.subresource == "token").then_some((201, token))
    });
    let accounts = ServiceAccountClients::new(&world.config(json!({})).0, fake.client()).unwrap();
    let seen = ask(&accounts.client("kube-system", "a").unwrap()).await.unwrap();
    assert_eq!((&*seen["authorization"], &*seen["port"]), ("Bearer its", PIPED));
    assert!(fake.list::<ServiceAccount>().is_empty());
}
