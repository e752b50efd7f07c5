//! Serving over real sockets: TLS, HTTP/1.1 and HTTP/2, endpoints, shutdown.

use std::{collections::BTreeMap, convert::Infallible, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use component::{
    clock::Clock,
    delegated::{Delegated, Settings},
    flags::{self, FlagSet},
    informer::Informers,
    pipes::Pipes,
    random::Random,
    serve::{self, Endpoints, Gate, zpages::ZPages},
    shutdown::Shutdown,
    testing::{Descriptor, FakeApi},
    tls::{self, Trust},
};
use futures::{StreamExt, stream};
use http::{HeaderMap, Request, Response, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::support::soon;

fn start(endpoints: Endpoints) -> SocketAddr {
    let (listener, address) = listen();
    tokio::spawn(serve::accept(listener, None, endpoints, Shutdown::new()));
    address
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// The page, as a client that accepts this reads it: code, type and text.
async fn z_page(endpoints: &Endpoints, path: &str, accept: &str) -> (u16, String, String) {
    let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]);
    let answer = endpoints.zpage(path, &headers).expect("a page");
    let kind = answer.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
    let code = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (code, kind, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn z_pages_are_text_or_what_is_asked_for_by_its_name() {
    let plain = Endpoints::new(Gate::Open);
    assert!(plain.zpage("/flagz", &HeaderMap::new()).is_none());
    let zpages = ZPages { component: "kube-test", flags: [("v", "2".to_owned())].into(), clock: Clock::system() };
    let endpoints = plain.with_zpages(zpages);
    assert!(endpoints.zpage("/pods", &HeaderMap::new()).is_none());
    let (code, kind, text) = z_page(&endpoints, "/flagz", "").await;
    assert_eq!((code, kind.as_str()), (200, "text/plain; charset=utf-8"));
    assert!(text.starts_with("\nkube-test flagz\nWarning: ") && text.ends_with("\nv=2\n"), "{text}");
    let (_, _, text) = z_page(&endpoints, "/statusz", "text/plain").await;
    assert!(text.ends_with("\nPaths: /flagz /healthz /livez /metrics /readyz /version\n"), "{text}");
    let named = |media_type: &str| format!("application/{media_type};as=Flagz;v=v1beta1;g=config.k8s.io");
    let (_, kind, json) = z_page(&endpoints, "/flagz", &named("json")).await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let wanted = serde_json::json!({
        "kind": "Flagz", "apiVersion": "config.k8s.io/v1beta1", "metadata": {"name": "kube-test"}, "flags": {"v": "2"},
    });
    assert_eq!((kind.as_str(), json), ("application/json", wanted));
    let (_, kind, yaml) = z_page(&endpoints, "/flagz", &named("yaml")).await;
    assert!(kind == "application/yaml" && yaml.contains("kind: Flagz\n"), "{yaml}");
    let (code, _, refused) = z_page(&endpoints, "/flagz", "application/json").await;
    assert!(code == 406 && refused.contains("NotAcceptable"), "{refused}");
}

#[tokio::test]
async fn the_endpoints_of_every_component() {
    let endpoints = Endpoints::new(Gate::Open).with_configz(serde_json::json!({"kubeletconfig": {"port": 1}}));
    endpoints.readyz.add("informers", || Err("not synced".to_owned()));
    let (listener, address) = listen();
    let (shutdown, listening) = (Shutdown::new(), Descriptor::of(&listener));
    let serving = tokio::spawn(serve::accept(listener, None, endpoints, shutdown.clone()));
    assert_eq!(get(address, "/healthz").await, (200, "ok".to_owned()));
    assert_eq!(get(address, "/livez?verbose").await, (200, "[+]ping ok\nlivez check passed\n".to_owned()));
    assert_eq!(get(address, "/readyz").await.0, 500);
    assert_eq!(get(address, "/readyz/ping").await, (200, "ok".to_owned()));
    assert_eq!(get(address, "/readyz/none").await.0, 404);
    assert_eq!(get(address, "/debug/pprof/").await.0, 404);
    assert!(get(address, "/configz").await.1.contains("kubeletconfig"));
    assert!(get(address, "/version").await.1.contains("\"gitVersion\": \"v1."));
    let metrics = get(address, "/metrics").await.1;
    for family in [
        "kubernetes_build_info{",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "process_open_fds",
    ] {
        assert!(metrics.contains(family), "{family}\n{metrics}");
    }
    shutdown.trigger();
    soon(serving).await.unwrap();
    assert_eq!(listening.count(), 0);
}

#[tokio::test]
async fn behind_the_gate_only_the_probes_are_open() {
    let delegated = Delegated::new(None, Settings::default(), Clock::system()).unwrap();
    let zpages = ZPages { component: "kube-test", flags: BTreeMap::new(), clock: Clock::system() };
    let address = start(Endpoints::new(Gate::Delegated(Arc::clone(&delegated))).with_zpages(zpages));
    assert_eq!(get(address, "/healthz").await.0, 200);
    for (path, shown) in [("/metrics", "metrics"), ("/flagz", "flagz"), ("/statusz", "statusz"), ("/&", "&amp;")] {
        let (code, refusal) = get(address, path).await;
        assert_eq!(code, 403, "{path}");
        let why = format!(r#"forbidden: User \"system:anonymous\" cannot get path \"/{shown}\""#);
        assert!(refusal.contains(&why), "{refusal}");
    }
    let closed = Settings { anonymous: false, ..Settings::default() };
    let delegated = Delegated::new(None, closed, Clock::system()).unwrap();
    let address = start(Endpoints::new(Gate::Delegated(delegated)));
    let (code, refusal) = get(address, "/metrics").await;
    assert!(code == 401 && refusal.contains(r#""reason":"Unauthorized""#), "{refusal}");
    assert_eq!(get(address, "/readyz").await.0, 200);
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let listener = serve::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let why = |again: std::io::Result<TcpListener>| again.unwrap_err().to_string();
    assert_eq!(why(serve::bind(address)), format!("listen tcp {address}: bind: address already in use"));
    assert_eq!(why(serve::bind_family(address)), format!("listen tcp4 {address}: bind: address already in use"));
}

#[tokio::test]
async fn both_families_can_have_one_port() {
    if std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default().is_empty() {
        println!("SKIPPED: this host has no IPv6");
        return;
    }
    // In this order: of IPv4 more ports are in use, by the tests beside this one.
    let listener = serve::bind_family("0.0.0.0:0".parse().unwrap()).unwrap();
    let port = listener.local_addr().unwrap().port();
    serve::bind_family(format!("[::]:{port}").parse().unwrap()).unwrap();
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = serve::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tokio::test]
async fn running_requests_end_well_after_shutdown() {
    let (listener, address) = listen();
    let (shutdown, gate) = (Shutdown::new(), Arc::new(Notify::new()));
    let (stop, open) = (shutdown.clone(), gate.clone());
    let service = tower::service_fn(move |_: Request<Incoming>| {
        let (stop, open) = (stop.clone(), open.clone());
        async move {
            stop.trigger();
            open.notified().await;
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("done"))))
        }
    });
    let serving = tokio::spawn(serve::accept(listener, None, service, shutdown.clone()));
    let asking = tokio::spawn(async move { get(address, "/").await });
    soon(shutdown.cancelled()).await;
    gate.notify_one();
    assert_eq!(soon(asking).await.unwrap(), (200, "done".to_owned()));
    soon(serving).await.unwrap();
}

#[tokio::test]
async fn a_connection_can_be_taken_over() {
    let (listener, address) = listen();
    let service = tower::service_fn(|request: Request<Incoming>| async {
        tokio::spawn(async move {
            let mut io = TokioIo::new(hyper::upgrade::on(request).await.unwrap());
            let mut bytes = [0; 4];
            io.read_exact(&mut bytes).await.unwrap();
            io.write_all(&bytes).await.unwrap();
            io.shutdown().await.unwrap();
        });
        let response = Response::builder().status(101).header("connection", "Upgrade").header("upgrade", "echo");
        Ok::<_, Infallible>(response.body(Full::<Bytes>::default()).unwrap())
    });
    tokio::spawn(serve::accept(listener, None, service, Shutdown::new()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nping").await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 101") && answer.ends_with("\r\n\r\nping"), "{answer}");
}

#[tokio::test]
async fn a_component_serves_securely_by_its_flags_alone() {
    let set = FlagSet::new("test", "A test.").include(flags::logging());
    let set = flags::secure_serving("0").into_iter().fold(set, FlagSet::include);
    let values = set.parse(["--bind-address=127.0.0.1"]).unwrap();
    assert_eq!(serve::secure_address(&values).unwrap(), None, "port 0 is no port");
    let values = set.parse(["--secure-port=10257", "--bind-address=127.0.0.1"]).unwrap();
    assert_eq!(serve::secure_address(&values).unwrap(), Some("127.0.0.1:10257".parse().unwrap()));
    assert!(serve::secure_address(&set.parse(["--secure-port=70000"]).unwrap()).is_err());

    let (fake, (listener, address)) = (FakeApi::new(), listen());
    let informers = Informers::new(fake.client(), Random::seeded(1), Shutdown::new());
    let (own, pipes) = (fake.client(), Pipes::default());
    let endpoints = serve::secure_endpoints("test", &values, &own, &informers, Clock::system(), pipes).unwrap();
    let (_, _, flags) = z_page(&endpoints, "/flagz", "").await;
    assert!(flags.starts_with("\ntest flagz\n") && flags.contains("\nsecure-port=10257\n"), "{flags}");
    let tls = serve::secure_tls("test", &values).unwrap();
    tokio::spawn(serve::accept(listener, Some(tls), endpoints, Shutdown::new()));
    let config = tls::client_config(&Trust::Anyone, None).unwrap();
    let tcp = TcpStream::connect(address).await.unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect("localhost".try_into().unwrap(), tcp).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    let _ = soon(stream.read_to_string(&mut answer)).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"), "{answer}");
    let half = set.parse(["--tls-cert-file=x"]).unwrap();
    assert!(serve::secure_tls("test", &half).unwrap_err().to_string().contains("given together"));

    let folder = tempfile::tempdir().unwrap();
    let kept = set.parse([format!("--cert-dir={}/pki", folder.path().display())]).unwrap();
    let certificate = || std::fs::read(folder.path().join("pki/test.crt")).unwrap();
    serve::secure_tls("test", &kept).unwrap();
    let first = certificate();
    serve::secure_tls("test", &kept).unwrap();
    assert_eq!(first, certificate(), "made once");
}

/// Asks over one connection of HTTP/2.
async fn speak_http2(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (client, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test]
async fn what_fails_takes_no_other_answer_of_its_connection_with_it() {
    type Body = UnsyncBoxBody<Bytes, Infallible>;
    let (listener, address) = listen();
    let (gate, ask) =
        (Arc::new(Notify::new()), |path: &str| Request::get(format!("http://x{path}")).body(Full::default()));
    let open = gate.clone();
    let service = tower::service_fn(move |request: Request<Incoming>| {
        let open = open.clone();
        async move {
            let frames = stream::once(async move {
                match request.uri().path() {
                    "/waits" => open.notified().await,
                    path => panic!("the body of {path} panics"),
                }
                Ok::<_, Infallible>(Frame::data(Bytes::from("done")))
            });
            Ok::<_, Infallible>(Response::new(Body::new(StreamBody::new(frames))))
        }
    });
    let service = tower::service_fn(move |request: Request<Incoming>| {
        assert_ne!(request.uri().path(), "/handler", "its handler panics");
        tower::ServiceExt::oneshot(service.clone(), request)
    });
    tokio::spawn(serve::accept(listener, None, service, Shutdown::new()));
    let stream = TcpStream::connect(address).await.unwrap();
    let mut client = soon(speak_http2(stream)).await;
    let waits = soon(client.send_request(ask("/waits").unwrap())).await.unwrap();
    let panics = soon(client.send_request(ask("/body").unwrap())).await.unwrap();
    assert!(soon(panics.into_body().collect()).await.is_err());
    assert!(soon(client.send_request(ask("/handler").unwrap())).await.is_err());
    gate.notify_one();
    assert_eq!(soon(waits.into_body().collect()).await.unwrap().to_bytes(), "done");
}

/// A server over TLS that answers everything with this, in parts.
fn serve_over_tls(body: &Bytes) -> SocketAddr {
    let (listener, address) = listen();
    let body = body.clone();
    let service = tower::service_fn(move |_: Request<Incoming>| {
        let parts: Vec<Bytes> =
            (0..body.len()).step_by(70_001).map(|at| body.slice(at..body.len().min(at + 70_001))).collect();
        let frames = stream::iter(parts).map(|part| Ok::<_, Infallible>(Frame::data(part)));
        std::future::ready(Ok::<_, Infallible>(Response::new(StreamBody::new(frames))))
    });
    let made = tls::self_signed(vec!["localhost".to_owned()]).unwrap();
    let config = tls::server_config(Arc::new(made.key), tls::MinVersion::Tls12).unwrap();
    tokio::spawn(serve::accept(listener, Some(Arc::new(config)), service, Shutdown::new()));
    address
}

async fn connect_by_tls(address: SocketAddr, protocol: &str) -> TlsStream<TcpStream> {
    let mut config = tls::client_config(&Trust::Anyone, None).unwrap();
    config.alpn_protocols = vec![protocol.into()];
    let tcp = TcpStream::connect(address).await.unwrap();
    TlsConnector::from(Arc::new(config)).connect("localhost".try_into().unwrap(), tcp).await.unwrap()
}

fn pattern(bytes: u32) -> Bytes {
    (0..bytes).map(|at| (at % 251) as u8).collect::<Vec<u8>>().into()
}

fn ask_localhost() -> Request<Full<Bytes>> {
    Request::get("https://localhost/").header("host", "localhost").body(Full::default()).unwrap()
}

#[tokio::test]
async fn an_answer_larger_than_what_is_kept_arrives_whole_over_tls() {
    let sent = pattern(3_000_000);
    let address = serve_over_tls(&sent);
    for protocol in ["h2", "http/1.1"] {
        let stream = connect_by_tls(address, protocol).await;
        let answer = if protocol == "h2" {
            soon(soon(speak_http2(stream)).await.send_request(ask_localhost())).await.unwrap()
        } else {
            let (mut client, connection) =
                soon(hyper::client::conn::http1::handshake(TokioIo::new(stream))).await.unwrap();
            tokio::spawn(connection);
            soon(client.send_request(ask_localhost())).await.unwrap()
        };
        assert!(soon(answer.into_body().collect()).await.unwrap().to_bytes() == sent, "{protocol}");
    }
}

#[tokio::test]
async fn an_answer_goes_on_when_its_client_reads_again() {
    let sent = pattern(24 << 20);
    let mut stream = connect_by_tls(serve_over_tls(&sent), "h2").await;
    // It reads less at a time than the server writes, and has so much room that it never needs to say that it has more.
    let (near, mut far) = tokio::io::duplex(8 << 10);
    tokio::spawn(async move { tokio::io::copy_bidirectional(&mut stream, &mut far).await });
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(64 << 20).initial_connection_window_size(64 << 20);
    let (mut client, connection) = soon(builder.handshake(TokioIo::new(near))).await.unwrap();
    tokio::spawn(connection);
    let answer = soon(client.send_request(ask_localhost())).await.unwrap();
    assert!(soon(answer.into_body().collect()).await.unwrap().to_bytes() == sent);
}
