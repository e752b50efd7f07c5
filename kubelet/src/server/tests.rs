//! The server over HTTP, in front of a node in memory.

use std::{fs, net::SocketAddr, sync::Arc};

use component::{
    serve::{self, Endpoints, Gate, zpages::ZPages},
    shutdown::Shutdown,
};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

use super::{NodeLogs, Offers, service};
use crate::pod::{
    node::Node,
    worker_tests::{Bed, PATIENCE, status, until},
};

const LOG: &str = "2026-01-01T00:00:00.5Z stdout F one\n2026-01-01T00:00:01.5Z stdout F two\n\
                   2026-01-01T00:00:02.5Z stdout F three\n";

struct Served {
    bed: Bed,
    node: Arc<Node>,
    address: SocketAddr,
}

/// A running pod `p` with the container `a`, whose log is [`LOG`], behind a server.
async fn served(offers: impl FnOnce(&Bed) -> Offers) -> Served {
    let mut bed = Bed::new();
    let (node, dispatch) = bed.dispatcher();
    let object = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": {
        "containers": [{"name": "a", "image": "i:1"}]}});
    dispatch.put(Arc::new(serde_json::from_value::<Pod>(object).expect("a pod")));
    until("the pod runs", || status(&node, "u") == "Running").await;
    let log = bed.folder.path().join("a.log");
    fs::write(&log, LOG).expect("a log");
    for (_, container) in bed.runtime.state().containers.values_mut() {
        container.log_path = log.display().to_string();
    }
    let listener = serve::bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let address = listener.local_addr().expect("an address");
    let flags = [("node-ip", "192.0.2.1".to_owned())].into();
    let zpages = ZPages { component: "kubelet", flags, clock: node.clock };
    let endpoints = Endpoints::new(Gate::Open).with_configz(json!({"kubeletconfig": {"maxPods": 7}}));
    let endpoints = endpoints.with_zpages(zpages);
    let service = service(node.clone(), endpoints, None, offers(&bed));
    tokio::spawn(serve::accept(listener, None, service, Shutdown::new()));
    Served { bed, node, address }
}

fn all(bed: &Bed) -> Offers {
    let folder = bed.folder.path().join("var-log");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("kubelet.log"), "hello\n").expect("a file");
    let journal = Some("/nowhere/journalctl".into());
    Offers { debugging: true, node_logs: Some(NodeLogs { folder, journal }) }
}

impl Served {
    async fn begin(&self, method: &str, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.expect("connects");
        let request = format!("{method} {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("asks");
        stream
    }

    /// Status code and the rest of the answer.
    async fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let mut text = String::new();
        let read = async { self.begin(method, path).await.read_to_string(&mut text).await };
        tokio::time::timeout(PATIENCE, read).await.expect("in time").expect("an answer");
        let code = text.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
        (code, text)
    }
}

#[tokio::test]
async fn every_path_answers_what_it_is_for() {
    let served = served(all).await;
    for (method, path, code, wanted) in [
        ("GET", "/healthz", 200, "ok"),
        ("GET", "/configz", 200, "\"maxPods\": 7"),
        ("GET", "/flagz", 200, "\nkubelet flagz\n"),
        ("POST", "/flagz", 200, "\nnode-ip=192.0.2.1\n"),
        ("GET", "/statusz", 200, "\nPaths: /configz /flagz /healthz /livez /metrics /readyz /version\n"),
        ("GET", "/pods", 200, "\"kind\":\"PodList\""),
        ("GET", "/pods", 200, "\"phase\":\"Running\""),
        ("GET", "/runningpods/", 200, "\"kind\":\"PodList\""),
        ("GET", "/stats/summary", 200, "\"nodeName\":\"node-1\""),
        ("GET", "/metrics", 200, "kubernetes_build_info"),
        ("GET", "/metrics/resource", 200, "node_cpu_usage_seconds_total"),
        ("GET", "/metrics/cadvisor", 200, ""),
        ("GET", "/metrics/probes", 200, "process_start_time_seconds"),
        ("GET", "/logs/", 200, "<a href=\"kubelet.log\">"),
        ("GET", "/logs/kubelet.log", 200, "hello"),
        ("GET", "/logs/none", 404, ""),
        ("GET", "/logs/?query=kubelet", 200, "hello"),
        ("GET", "/logs/?query=kubelet&boot=1", 406, "boot: Invalid value: 1: must be less than 1"),
        ("POST", "/run/ns/p/a?cmd=true", 200, ""),
        ("POST", "/run/ns/p/u/a?cmd=true", 200, ""),
        ("POST", "/run/ns/p/none?cmd=true", 404, "container not found"),
        ("POST", "/run/ns/none/a?cmd=true", 404, "pod does not exist"),
        ("GET", "/run/ns/p/a?cmd=true", 405, ""),
        (
            "POST",
            "/checkpoint/ns/p/a",
            500,
            "checkpointing of ns/p/a failed (rpc error: code = Unimplemented desc = unknown",
        ),
        ("POST", "/checkpoint/ns/p/none", 404, "container none does not exist"),
        ("POST", "/checkpoint/ns/none/a", 404, "pod does not exist"),
        ("POST", "/checkpoint/ns/p/a?timeout=x", 404, "cannot parse value of timeout parameter"),
        ("GET", "/checkpoint/ns/p/a", 405, ""),
        ("DELETE", "/pods", 405, ""),
        ("POST", "/exec/ns/none/a?command=true&output=1", 404, "pod does not exist"),
        ("POST", "/exec/ns/p/a?command=true&output=1", 500, "Upgrade request required"),
        ("GET", "/nothing", 404, "404 page not found"),
    ] {
        let (found, text) = served.ask(method, path).await;
        assert!(found == code && text.contains(wanted), "{method} {path}: {text}");
    }
}

#[tokio::test]
async fn logs_come_as_asked_for() {
    let served = served(all).await;
    for (query, code, wanted) in [
        ("", 200, "one|two|three|"),
        ("?tailLines=2", 200, "two|three|"),
        ("?tailLines=0", 200, ""),
        ("?limitBytes=5", 200, "one|t"),
        ("?timestamps=true&tailLines=1", 200, "2026-01-01T00:00:02.5Z three|"),
        ("?sinceTime=2026-01-01T00:00:01Z", 200, "two|three|"),
        ("?sinceSeconds=1", 200, ""),
        ("?previous=true", 400, "previous terminated container \"a\" in pod \"p\" not found"),
        ("?tailLines=-1", 422, ""),
    ] {
        let (found, text) = served.ask("GET", &format!("/containerLogs/ns/p/a{query}")).await;
        assert_eq!(found, code, "{query}: {text}");
        assert_eq!(body(&text, found), wanted, "{query}: {text}");
    }
    assert_eq!(served.ask("GET", "/containerLogs/ns/p/none").await.0, 404);
    assert_eq!(served.ask("GET", "/containerLogs/ns/none/a").await.0, 404);
}

/// The pieces of a chunked body together, `|` for each end of a line; of a refusal only known words.
fn body(text: &str, code: u16) -> String {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let mut rest = body;
    let mut whole = String::new();
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        while let Some((size, after)) = rest.split_once("\r\n") {
            let size = usize::from_str_radix(size, 16).unwrap_or(0);
            whole += after.get(..size).unwrap_or_default();
            rest = after.get(size + 2..).unwrap_or_default();
        }
    } else {
        whole = body.to_owned();
    }
    if code == 422 { String::new() } else { whole.replace('\n', "|") }
}

#[tokio::test]
async fn a_followed_log_ends_with_its_container() {
    let served = served(all).await;
    let stream = served.begin("GET", "/containerLogs/ns/p/a?follow=true&tailLines=1").await;
    let mut lines = BufReader::new(stream).lines();
    let follow = async {
        let mut seen = Vec::new();
        while let Ok(Some(line)) = lines.next_line().await {
            if line == "three" {
                let path = served.bed.folder.path().join("a.log");
                let more = format!("{LOG}2026-01-01T00:00:03.5Z stdout F four\n");
                fs::write(path, more).expect("writes");
            }
            if line == "four" {
                let ids: Vec<String> = served.bed.runtime.state().containers.keys().cloned().collect();
                ids.iter().for_each(|id| served.bed.runtime.exit(id, 0));
            }
            seen.push(line);
        }
        seen
    };
    let seen = tokio::time::timeout(PATIENCE, follow).await.expect("it ends");
    assert!(seen.contains(&"four".to_owned()) && !seen.contains(&"two".to_owned()), "{seen:?}");
}

#[tokio::test]
async fn what_is_turned_off_says_so() {
    let served = served(|_| Offers { debugging: false, node_logs: None }).await;
    for (method, path) in [
        ("POST", "/run/ns/p/a?cmd=true"),
        ("GET", "/containerLogs/ns/p/a"),
        ("GET", "/runningpods/"),
        ("GET", "/logs/"),
        ("POST", "/exec/ns/p/a?command=true"),
        ("POST", "/portForward/ns/p"),
    ] {
        let (code, text) = served.ask(method, path).await;
        assert!(code == 405 && text.contains("Debug endpoints are disabled."), "{method} {path}: {text}");
    }
    for (method, path) in [("POST", "/checkpoint/ns/p/a"), ("GET", "/configz"), ("GET", "/flagz"), ("GET", "/statusz")]
    {
        assert_eq!(served.ask(method, path).await.0, 404, "{path}");
    }
    let (code, pods) = served.ask("GET", "/pods").await;
    let items = pods.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str::<Value>(body).ok());
    assert_eq!((code, items.map(|it| it["items"].as_array().map(Vec::len))), (200, Some(Some(1))));
    assert_eq!(served.node.running.list().len(), 1);
}
