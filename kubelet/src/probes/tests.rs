//! Each kind of check against something that really answers, and upstream's words for what does not.

use std::{sync::Arc, time::Duration};

use component::tls;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodStatus, Probe};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    sync::mpsc,
};

use super::handlers::{Outcome, Target, check};
use crate::{
    pod::{
        inbox::Inbox,
        memory::Probed,
        worker_tests::{Bed, PATIENCE},
    },
    runtime::{
        ContainerRecord, ContainerState, Observed,
        fake::FakeRuntime,
        fake_grpc::{Answers, Messages},
    },
};

/// Answers one request: by its path, and with its own headers as the body.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, host: String) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).await.is_ok_and(|size| size == 1) {
        head.push(byte[0]);
        if !head[0].is_ascii_uppercase() {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
            return;
        }
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let (status, location) = match path.as_str() {
        "/fine" => ("200 OK", String::new()),
        "/headers" if head.contains("x-asked: yes\r\n") && head.contains("host: other\r\n") => {
            ("200 OK", String::new())
        }
        "/agent" if head.contains("user-agent: kube-probe/1.36\r\n") => ("204 No Content", String::new()),
        "/here" => ("302 Found", "Location: /fine\r\n".to_owned()),
        "/away" => ("302 Found", "Location: http://elsewhere.example/\r\n".to_owned()),
        "/round" => ("302 Found", format!("Location: http://{host}/round\r\n")),
        "/silent" => return std::future::pending().await,
        _ => ("500 Internal Server Error", String::new()),
    };
    let text = format!("HTTP/1.1 {status}\r\n{location}Content-Length: 0\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// The port of a server, which speaks TLS where a certificate is given.
pub(crate) async fn server(with_tls: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let acceptor = with_tls.then(|| {
        let made = tls::self_signed(vec!["nobody-knows".into()]).expect("a certificate");
        let config = tls::server_config(Arc::new(made.key), tls::MinVersion::default()).expect("a configuration");
        tokio_rustls::TlsAcceptor::from(Arc::new(config))
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, host) = (acceptor.clone(), address.to_string());
            tokio::spawn(async move {
                match acceptor {
                    None => answer(stream, host).await,
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            answer(stream, host).await;
                        }
                    }
                }
            });
        }
    });
    address.port()
}

async fn checked(probe: Value, port: u16) -> Outcome {
    checked_within(Duration::from_secs(20), probe, port).await
}

async fn checked_within(timeout: Duration, probe: Value, port: u16) -> Outcome {
    let container = json!({"name": "c", "ports": [{"name": "web", "containerPort": port}]});
    let container: Container = serde_json::from_value(container).expect("a container");
    let target = Target { container: &container, container_id: "id", pod_ip: "127.0.0.1" };
    let probe: Probe = serde_json::from_value(probe).expect("a probe");
    check(&FakeRuntime::default(), &probe, &target, timeout).await
}

#[tokio::test]
async fn http_checks_follow_status_headers_and_redirects() {
    let port = server(false).await;
    let get = |path: &str| json!({"httpGet": {"path": path, "port": "web"}});
    let failed = |text: String| Outcome::Failure(text);
    for (probe, wanted) in [
        (get("/fine"), Outcome::Success),
        (get("fine"), Outcome::Success),
        (get("/agent"), Outcome::Success),
        (
            json!({"httpGet": {"path": "/headers", "port": port, "httpHeaders":
                [{"name": "X-Asked", "value": "yes"}, {"name": "Host", "value": "other"}]}}),
            Outcome::Success,
        ),
        (get("/headers"), failed("HTTP probe failed with statuscode: 500".into())),
        (get("/here"), Outcome::Success),
        (get("/away"), Outcome::Warning("Probe terminated redirects, Response body: ".into())),
        (get("/round"), failed(format!("Get \"http://127.0.0.1:{port}/round\": stopped after 10 redirects"))),
        (
            json!({"httpGet": {"port": "nameless"}}),
            Outcome::Errored("couldn't find port: \"nameless\" in container".into()),
        ),
    ] {
        assert_eq!(checked(probe.clone(), port).await, wanted, "{probe}");
    }
    let words = format!(
        "Get \"http://127.0.0.1:{port}/silent\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    );
    assert_eq!(checked_within(Duration::from_secs(2), get("/silent"), port).await, failed(words));
}

/// A probe does not ask who serves, only whether.
#[tokio::test]
async fn https_checks_take_any_certificate() {
    let port = server(true).await;
    let get = json!({"httpGet": {"path": "/fine", "port": port, "scheme": "HTTPS"}});
    assert_eq!(checked(get, port).await, Outcome::Success);
    let plain = json!({"httpGet": {"path": "/fine", "port": port}});
    assert!(!checked(plain, port).await.is_success());
    let port = server(false).await;
    let words = format!("Get \"https://127.0.0.1:{port}/fine\": http: server gave HTTP response to HTTPS client");
    let get = json!({"httpGet": {"path": "/fine", "port": port, "scheme": "HTTPS"}});
    assert_eq!(checked(get, port).await, Outcome::Failure(words));
}

#[tokio::test]
async fn tcp_and_grpc_checks_need_somebody_who_listens() {
    let port = server(false).await;
    let socket = |port: Value| json!({"tcpSocket": {"port": port}});
    assert_eq!(checked(socket(json!("web")), port).await, Outcome::Success);
    // Nobody is given this number, and nobody has it.
    let closed = 1;
    let refused = Outcome::Failure(format!("dial tcp 127.0.0.1:{closed}: connect: connection refused"));
    assert_eq!(checked(socket(json!(closed)), closed).await, refused);
    let grpc = checked(json!({"grpc": {"port": closed, "service": "s"}}), closed).await;
    let words =
        format!("timeout: failed to connect service \"127.0.0.1:{closed}\" within 20s: context deadline exceeded");
    assert_eq!(grpc, Outcome::Failure(words));
}

#[tokio::test]
async fn commands_are_run_in_the_container() {
    assert_eq!(checked(json!({"exec": {"command": ["true"]}}), 1).await, Outcome::Success);
    let none = checked(json!({}), 1).await;
    assert_eq!(none, Outcome::Errored("missing probe handler for c".into()));
}

/// A service that tells its health once, by the number of its state.
async fn health(path: &'static str, state: u8) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let answer = || -> Messages {
        let (sender, messages) = mpsc::unbounded_channel();
        sender.send(vec![8, state]).expect("is open");
        messages
    };
    let answers = Answers::new(path, vec![answer()]);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            answers.serve(stream);
        }
    });
    port
}

#[tokio::test]
async fn grpc_checks_take_the_services_own_word() {
    const CHECK: &str = "/grpc.health.v1.Health/Check";
    let unhealthy = |state: &str| Outcome::Failure(format!("service unhealthy (responded with {state:?})"));
    for (path, state, wanted) in [
        (CHECK, 1, Outcome::Success),
        (CHECK, 2, unhealthy("NOT_SERVING")),
        (CHECK, 0, unhealthy("UNKNOWN")),
        (
            "/other",
            1,
            Outcome::Failure(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): ".into(),
            ),
        ),
    ] {
        let port = health(path, state).await;
        assert_eq!(checked(json!({"grpc": {"port": port}}), port).await, wanted, "{path} {state}");
    }
}

/// What the probes of a container come to that has a startup probe, and by the API's word has started or has not.
async fn probed(startup: Value, has_started: bool) -> Probed {
    let object = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": {"containers": [{"name": "c",
        "startupProbe": startup, "readinessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 1000}}]}});
    let pod: Arc<Pod> = Arc::new(serde_json::from_value(object).expect("a pod"));
    let known = json!({"containerStatuses": [{"name": "c", "containerID": "fake://c", "image": "", "imageID": "",
        "ready": false, "restartCount": 0, "started": has_started}]});
    let known: PodStatus = serde_json::from_value(known).expect("a status");
    let (bed, inbox) = (Bed::new(), Inbox::default());
    let node = bed.node();
    let mut record = ContainerRecord::for_test("c", ContainerState::Running);
    record.started_at_ns = i64::try_from(Timestamp::now().as_nanosecond()).expect("in range");
    let observed = Observed { sandboxes: Vec::new(), containers: vec![record] };
    let mut probes = node.prober.of_pod(inbox.clone());
    let ready = async {
        loop {
            probes.tend(&node, &pod, &known, &observed, false);
            inbox.told().await;
            if let Some(probed) =
                inbox.take().probed.get("c").filter(|it| it.readiness.is_some() || it.startup == Some(false))
            {
                return *probed;
            }
        }
    };
    tokio::time::timeout(PATIENCE, ready).await.expect("in time")
}

#[tokio::test]
async fn what_has_started_is_ready_at_once_and_not_asked_again() {
    let passes = json!({"exec": {"command": ["true"]}, "periodSeconds": 1, "initialDelaySeconds": 1});
    let both = Probed { startup: Some(true), readiness: Some(true), liveness: None };
    assert_eq!(probed(passes, false).await, both, "long before the readiness probe's next period");
    let fails = json!({"tcpSocket": {"host": "127.0.0.1", "port": 1}, "failureThreshold": 1});
    assert_eq!(probed(fails.clone(), false).await.startup, Some(false));
    assert_eq!(probed(fails, true).await, both, "a kubelet that comes back");
}

/// Checks of a server that never answers take longer than their period.
#[tokio::test(start_paused = true)]
async fn periods_count_from_begin_to_begin() {
    let port = server(false).await;
    let started = tokio::time::Instant::now();
    let probe = json!({"httpGet": {"host": "127.0.0.1", "path": "/silent", "port": port},
        "periodSeconds": 4, "timeoutSeconds": 5, "failureThreshold": 3});
    assert_eq!(probed(probe, false).await.startup, Some(false));
    assert_eq!(started.elapsed().as_secs(), 15, "one after the other");
    let started = tokio::time::Instant::now();
    let probe = json!({"httpGet": {"host": "127.0.0.1", "path": "/silent", "port": port},
        "periodSeconds": 6, "timeoutSeconds": 5, "failureThreshold": 3});
    assert_eq!(probed(probe, false).await.startup, Some(false));
    assert_eq!(started.elapsed().as_secs(), 17, "begun at 0, 6 and 12 seconds");
}
