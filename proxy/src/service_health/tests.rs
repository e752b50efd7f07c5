//! Ports of a Service on addresses of the loopback link: opened, refused, given up, asked. With real sockets, and no rules.
//! Each test has addresses of its own: others give its port up and take it meanwhile.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use component::clock::Clock;
use component::context::Context;
use component::recorder::Source;
use component::testing::FakeApi;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use serde_json::json;
use tokio::time::Instant;

use super::*;
use crate::testkit::{ports_of, service, settings};

/// What is asked, with an API for its events.
struct World {
    api: FakeApi,
    health: ServiceHealth,
    shutdown: Shutdown,
}

impl World {
    fn new() -> World {
        let (api, shutdown) = (FakeApi::new(), Shutdown::new());
        let context = Context::new(api.client(), Source::new("kube-proxy"), shutdown.clone());
        let health = Health::new(Clock::simulated(Timestamp::UNIX_EPOCH), Duration::from_secs(60));
        health.updated(Family::V4);
        let health = ServiceHealth::new(Family::V4, "here", health, context.recorder, shutdown.clone());
        World { api, health, shutdown }
    }

    /// The Service `ns/web` with its port open on these addresses, and so many endpoints here.
    fn set(&mut self, port: u16, endpoints: &[&str], on: &[&str]) {
        self.take("web", port, endpoints);
        self.listen(on);
    }

    fn take(&mut self, name: &str, port: u16, endpoints: &[&str]) {
        let spec = json!({"type": "LoadBalancer", "clusterIP": "172.30.0.1", "externalTrafficPolicy": "Local",
            "healthCheckNodePort": port});
        let (object, slices) = service(name, spec, endpoints);
        let ports = ports_of(&settings(Family::V4), &object, &slices);
        self.health.shared.take(&BTreeMap::from([(format!("ns/{name}"), ports)]));
    }

    fn listen(&mut self, on: &[&str]) {
        self.health.listen(Ok(on.iter().map(|ip| ip.parse().unwrap()).collect()));
    }

    /// The messages of events that are written.
    fn written(&self, reason: &str) -> Vec<String> {
        let events = self.api.list::<Event>().into_iter();
        let of_reason = events.filter(|event| event.reason.as_deref() == Some(reason));
        of_reason.filter_map(|event| event.message.clone()).collect()
    }

    /// What was told until now: events are written in turn, so that one more says when all before it are.
    async fn told(&self) -> Vec<String> {
        let (asked, number) = ("Asked", self.written("Asked").len());
        let recorder = &self.health.shared.recorder;
        recorder.event_about(&ObjectReference::default(), Type::Normal, asked, number.to_string());
        until(|| async { (self.written(asked).len() > number).then_some(()) }).await;
        self.written(NOT_STARTED)
    }

    async fn until_told(&self, service: &str) -> String {
        let is_of = |message: &String| message.contains(&format!("{service:?}"));
        until(|| async { self.written(NOT_STARTED).into_iter().find(is_of) }).await
    }
}

/// A port that is free on an address, and on the others that only the same test listens on.
fn free_port(on: &str) -> u16 {
    let one = std::net::TcpListener::bind((on, 0)).unwrap();
    one.local_addr().unwrap().port()
}

/// An answer's first line and its body, or nothing.
async fn ask(ip: &'static str, port: u16) -> Option<(String, serde_json::Value)> {
    let asked = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect((ip, port)).ok()?;
        read(&mut stream, "close")
    });
    asked.await.unwrap()
}

fn read(stream: &mut TcpStream, connection: &str) -> Option<(String, serde_json::Value)> {
    write!(stream, "GET / HTTP/1.1\r\nHost: x\r\nConnection: {connection}\r\n\r\n").ok()?;
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    while !text.ends_with('}') {
        let length = stream.read(&mut buffer).ok().filter(|length| *length > 0)?;
        text.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some((head.lines().next()?.to_owned(), serde_json::from_str(body).ok()?))
}

/// Waits for what another thread does.
async fn until<T, F: Future<Output = Option<T>>>(mut look: impl FnMut() -> F) -> T {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(std::time::Instant::now() < deadline, "it does not come true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn it_answers_how_many_endpoints_are_here() {
    let one = "127.0.1.1";
    let (mut world, port) = (World::new(), free_port(one));
    world.set(port, &["10.1.0.2*", "10.1.0.3*", "10.1.0.4"], &[one]);
    let (line, body) = until(|| ask(one, port)).await;
    assert_eq!(line, "HTTP/1.1 200 OK");
    let service = json!({"namespace": "ns", "name": "web"});
    assert_eq!(body, json!({"service": service, "localEndpoints": 2, "serviceProxyHealthy": true}));
    world.set(port, &["10.1.0.4"], &[one]);
    let (line, body) = ask(one, port).await.unwrap();
    assert_eq!((line.as_str(), &body["localEndpoints"]), ("HTTP/1.1 503 Service Unavailable", &json!(0)));
    world.set(0, &["10.1.0.2*"], &[one]);
    until(|| async { ask(one, port).await.is_none().then_some(()) }).await;
}

#[tokio::test]
async fn an_address_that_stays_is_not_disturbed_by_others() {
    let (one, other) = ("127.0.1.2", "127.0.2.2");
    let (mut world, port) = (World::new(), free_port(one));
    world.set(port, &["10.1.0.2*"], &[one]);
    until(|| ask(one, port)).await;
    let mut kept = TcpStream::connect((one, port)).unwrap();
    world.listen(&[one, other]);
    until(|| ask(other, port)).await;
    let answer = tokio::task::spawn_blocking(move || read(&mut kept, "keep-alive")).await.unwrap();
    assert!(answer.is_some(), "who was connected before is answered");
    world.listen(&[other]);
    until(|| async { ask(one, port).await.is_none().then_some(()) }).await;
    assert!(ask(other, port).await.is_some());
    // What comes back at once finds its port as it was left.
    world.listen(&[]);
    world.listen(&[one, other]);
    until(|| ask(one, port)).await;
    until(|| ask(other, port)).await;
    assert_eq!(world.told().await, [""; 0]);
}

#[tokio::test]
async fn addresses_that_cannot_be_listed_stay_as_they_were() {
    let one = "127.0.1.3";
    let (mut world, port) = (World::new(), free_port(one));
    world.set(port, &["10.1.0.2*"], &[one]);
    let refused = || Err(std::io::Error::from(std::io::ErrorKind::OutOfMemory));
    world.health.listen(refused());
    assert!(world.health.listeners.keys().eq([&SocketAddr::new(one.parse().unwrap(), port)]));
    until(|| ask(one, port)).await;
    world.take("web", 0, &[]);
    world.health.listen(refused());
    assert!(world.health.listeners.is_empty(), "a port that nobody has any more is closed");
}

/// In simulated time.
#[tokio::test(start_paused = true)]
async fn an_address_that_cannot_be_had_is_told_and_tried_again() {
    let (one, other) = ("127.0.1.4", "127.0.2.4");
    let (mut world, start) = (World::new(), Instant::now());
    let taken = std::net::TcpListener::bind((other, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    world.set(port, &["10.1.0.2*"], &[one, other]);
    until(|| ask(one, port)).await;
    let why = format!("listen tcp4 {other}:{port}: bind: address already in use");
    let message = |service: &str| format!("node here failed to start healthcheck {service:?} on port {port}: {why}");
    assert_eq!(world.until_told("ns/web").await, message("ns/web"));
    assert!(start.elapsed() >= Duration::from_secs(2), "a moment is none's trouble: {:?}", start.elapsed());
    // The port goes over to another Service, which was told nothing yet.
    world.take("web", 0, &[]);
    world.take("other", port, &["10.1.0.2*"]);
    world.listen(&[one, other]);
    assert_eq!(world.until_told("ns/other").await, message("ns/other"));
    drop(taken);
    // The same addresses again are a reason to try again: by itself it would be tried seconds later.
    let freed = Instant::now();
    world.listen(&[one, other]);
    until(|| ask(other, port)).await;
    assert!(freed.elapsed() < Duration::from_secs(1), "{:?}", freed.elapsed());
    let mut told = world.told().await;
    told.sort();
    assert_eq!(told, [message("ns/other"), message("ns/web")], "each is told once");
    world.shutdown.trigger();
}
