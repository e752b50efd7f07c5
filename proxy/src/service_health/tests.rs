//! Ports of a Service on addresses of the loopback link: opened, refused, given up, asked. With real sockets, and no rules.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use component::clock::Clock;
use component::context::Context;
use component::recorder::Source;
use component::testing::FakeApi;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use serde_json::json;

use super::*;
use crate::testkit::{ports_of, service, settings};

/// Addresses of the loopback link that every host has.
const ONE: &str = "127.0.0.1";
const OTHER: &str = "127.0.0.2";

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
        let health = Health::new(Clock::simulated(Timestamp::UNIX_EPOCH), std::time::Duration::from_secs(60));
        health.updated(Family::V4);
        let health = ServiceHealth::new(Family::V4, "here", health, context.recorder, shutdown.clone());
        World { api, health, shutdown }
    }

    /// The Service `ns/web` with its port open on these addresses, and so many endpoints here.
    fn set(&mut self, port: u16, endpoints: &[&str], on: &[&str]) {
        let spec = json!({"type": "LoadBalancer", "clusterIP": "172.30.0.1", "externalTrafficPolicy": "Local",
            "healthCheckNodePort": port});
        let (object, slices) = service("web", spec, endpoints);
        let ports = ports_of(&settings(Family::V4), &object, &slices);
        self.health.shared.take(&BTreeMap::from([("ns/web".to_owned(), ports)]));
        self.listen(on);
    }

    fn listen(&mut self, on: &[&str]) {
        let ports = self.health.shared.with(|open| open.values().map(|open| open.port).collect());
        self.health.listen(&ports, &on.iter().map(|ip| ip.parse().unwrap()).collect::<Vec<_>>());
    }

    fn events(&self) -> Vec<String> {
        self.api.list::<Event>().into_iter().filter_map(|event| event.message.clone()).collect()
    }
}

/// A port that is free on both addresses.
fn free_port() -> u16 {
    let one = std::net::TcpListener::bind((ONE, 0)).unwrap();
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
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(std::time::Instant::now() < deadline, "it does not come true");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn it_answers_how_many_endpoints_are_here() {
    let (mut world, port) = (World::new(), free_port());
    world.set(port, &["10.1.0.2*", "10.1.0.3*", "10.1.0.4"], &[ONE]);
    let (line, body) = until(|| ask(ONE, port)).await;
    assert_eq!(line, "HTTP/1.1 200 OK");
    let service = json!({"namespace": "ns", "name": "web"});
    assert_eq!(body, json!({"service": service, "localEndpoints": 2, "serviceProxyHealthy": true}));
    world.set(port, &["10.1.0.4"], &[ONE]);
    let (line, body) = ask(ONE, port).await.unwrap();
    assert_eq!((line.as_str(), &body["localEndpoints"]), ("HTTP/1.1 503 Service Unavailable", &json!(0)));
    world.set(0, &["10.1.0.2*"], &[ONE]);
    until(|| async { ask(ONE, port).await.is_none().then_some(()) }).await;
}

#[tokio::test]
async fn an_address_that_stays_is_not_disturbed_by_others() {
    let (mut world, port) = (World::new(), free_port());
    world.set(port, &["10.1.0.2*"], &[ONE]);
    until(|| ask(ONE, port)).await;
    let mut kept = TcpStream::connect((ONE, port)).unwrap();
    world.listen(&[ONE, OTHER]);
    until(|| ask(OTHER, port)).await;
    let answer = tokio::task::spawn_blocking(move || read(&mut kept, "keep-alive")).await.unwrap();
    assert!(answer.is_some(), "who was connected before is answered");
    world.listen(&[OTHER]);
    until(|| async { ask(ONE, port).await.is_none().then_some(()) }).await;
    assert!(ask(OTHER, port).await.is_some());
    // What comes back at once finds its port as it was left.
    world.listen(&[]);
    world.listen(&[ONE, OTHER]);
    until(|| ask(ONE, port)).await;
    until(|| ask(OTHER, port)).await;
    assert!(world.events().is_empty(), "{:?}", world.events());
}

#[tokio::test]
async fn an_address_that_cannot_be_had_is_told_and_tried_again() {
    let mut world = World::new();
    let taken = std::net::TcpListener::bind((OTHER, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    world.set(port, &["10.1.0.2*"], &[ONE, OTHER]);
    until(|| ask(ONE, port)).await;
    let event = until(|| async { world.events().pop() }).await;
    let why = format!("listen tcp4 {OTHER}:{port}: bind: address already in use");
    assert_eq!(event, format!("node here failed to start healthcheck \"ns/web\" on port {port}: {why}"));
    drop(taken);
    until(|| ask(OTHER, port)).await;
    assert_eq!(world.events().len(), 1, "told once");
    world.shutdown.trigger();
}
