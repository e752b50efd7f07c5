//! exec and port-forward as kubectl asks for them, before a scripted kubelet that speaks SPDY/3.1 on loopback.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use machinery::spdy::{Decoder, Encoder, Frame, RST_CANCEL};
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::client::post;
use crate::pods::{PODS, account, pod};
use crate::support::TestServer;

const SOON: Duration = Duration::from_secs(20);

/// A server with pod `p` on a node whose kubelet is the script.
async fn server() -> TestServer {
    let server = TestServer::start(&["--kubelet-preferred-address-types=InternalIP"]).await;
    account(&server.client).await;
    let node = json!({
        "metadata": {"name": "n"},
        "status": {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet().await}},
        },
    });
    post(&server.client, "/api/v1/nodes", &node).await.expect(201);
    post(&server.client, PODS, &pod("p")).await.expect(201);
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    post(&server.client, &format!("{PODS}/p/binding"), &binding).await.expect(201);
    server
}

/// Starts the scripted kubelet and tells its port.
async fn kubelet() -> u16 {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("protocol versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a configuration");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("its address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let stream = TokioIo::new(acceptor.accept(stream).await.expect("TLS"));
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(stream, service_fn(answer));
                connection.with_upgrades().await
            });
        }
    });
    port
}

async fn answer(mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (upgrade, protocol) = (header("upgrade").to_owned(), header("x-stream-protocol-version").to_owned());
    let uri = request.uri().to_string();
    if upgrade.eq_ignore_ascii_case("websocket") && uri.contains("command=echo") {
        return Ok(echo(request));
    }
    if uri.starts_with("/containerLogs/") {
        return Ok(Response::new(Full::new(Bytes::from_static(b"alive\n"))));
    }
    let mut response = Response::new(Full::new(Bytes::from_static(b"not now\n")));
    if upgrade != "SPDY/3.1" || uri.contains("refuse") {
        *response.status_mut() = StatusCode::NOT_FOUND;
        return Ok(response);
    }
    *response.body_mut() = Full::default();
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    for (name, value) in [("connection", "Upgrade"), ("upgrade", "SPDY/3.1"), ("x-stream-protocol-version", &protocol)]
    {
        response.headers_mut().insert(name, value.parse().expect("a value"));
    }
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let io = TokioIo::new(upgraded.await.expect("an upgrade"));
        match protocol.as_str() {
            "v4.channel.k8s.io" => run_cat(io).await,
            _ => shout(io).await,
        }
    });
    Ok(response)
}

/// A WebSocket of the first protocol that is offered, whose messages come back as they are.
fn echo(mut request: Request<Incoming>) -> Response<Full<Bytes>> {
    let key = request.headers()["sec-websocket-key"].as_bytes();
    let accepted = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key);
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let pairs = [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-accept", &accepted)];
    for (name, value) in pairs {
        response.headers_mut().insert(name, value.parse().expect("a value"));
    }
    if let Some(protocol) = request.headers().get("sec-websocket-protocol") {
        response.headers_mut().insert("sec-websocket-protocol", protocol.clone());
    }
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let io = TokioIo::new(upgraded.await.expect("an upgrade"));
        let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
        while let Some(Ok(message @ (Message::Binary(_) | Message::Text(_)))) = socket.next().await {
            socket.send(message).await.expect("it is sent");
        }
    });
    response
}

/// Replies to streams, and when stdin has ended gives it back on stdout and exits with code 3.
async fn run_cat(mut io: TokioIo<Upgraded>) {
    let (mut encoder, mut decoder, mut out) = (Encoder::default(), Decoder::default(), Vec::new());
    let (mut streams, mut input) = (Vec::new(), Vec::new());
    let mut chunk = vec![0; 4096];
    loop {
        let length = io.read(&mut chunk).await.expect("bytes");
        assert_ne!(length, 0, "stdin ends before the connection does");
        decoder.push(&chunk[..length]);
        while let Some(frame) = decoder.next_frame().expect("a frame") {
            match frame {
                Frame::SynStream { stream, headers, .. } => {
                    streams.push((headers[0].1.clone(), stream));
                    encoder
                        .encode(&Frame::SynReply { stream, fin: false, headers: Vec::new() }, &mut out)
                        .expect("a reply");
                }
                Frame::Data { stream, fin, data } => {
                    let stdin = streams.iter().find(|one| one.0 == "stdin").expect("stdin").1;
                    assert_eq!(stream, stdin);
                    input.extend(data);
                    if fin {
                        return exit(io, encoder, &streams, input).await;
                    }
                }
                other => panic!("{other:?} is not in the script"),
            }
        }
        io.write_all(&out).await.expect("a write");
        out.clear();
    }
}

async fn exit(mut io: TokioIo<Upgraded>, mut encoder: Encoder, streams: &[(String, u32)], input: Vec<u8>) {
    let names: Vec<&str> = streams.iter().map(|one| one.0.as_str()).collect();
    assert_eq!(names, ["error", "stdin", "stdout"]);
    let of = |name: &str| streams.iter().find(|one| one.0 == name).expect("a stream").1;
    let status = json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode", "message": "command failed",
        "details": {"causes": [{"reason": "ExitCode", "message": "3"}]},
    });
    let frames = [
        Frame::Ping { id: 2 },
        Frame::Data { stream: of("stdout"), fin: true, data: input },
        Frame::Data { stream: of("error"), fin: false, data: status.to_string().into_bytes() },
        Frame::RstStream { stream: of("error"), status: RST_CANCEL },
    ];
    let mut out = Vec::new();
    for frame in &frames {
        encoder.encode(frame, &mut out).expect("a frame");
    }
    io.write_all(&out).await.expect("a write");
    io.flush().await.expect("a flush");
    // The other side ends the connection when it has all of it.
    let mut rest = Vec::new();
    let _ = io.read_to_end(&mut rest).await;
}

async fn shout(mut io: TokioIo<Upgraded>) {
    let mut chunk = [0; 64];
    while let Ok(length @ 1..) = io.read(&mut chunk).await {
        let loud = chunk[..length].to_ascii_uppercase();
        if io.write_all(&loud).await.and(io.flush().await).is_err() {
            return;
        }
    }
}

async fn open(server: &TestServer, path: &str, protocols: &'static str) -> (WebSocketStream<TcpStream>, String) {
    let address = server.address;
    let mut request = format!("ws://{address}{PODS}/p/{path}").into_client_request().expect("a request");
    request.headers_mut().insert("sec-websocket-protocol", protocols.parse().expect("protocols"));
    let stream = TcpStream::connect(address).await.expect("a connection");
    let (socket, answer) = tokio_tungstenite::client_async(request, stream).await.expect("a WebSocket");
    let chosen = answer.headers()["sec-websocket-protocol"].to_str().expect("a protocol").to_owned();
    (socket, chosen)
}

/// What comes on each channel until the server closes with the code of an orderly end.
async fn read_all(socket: &mut WebSocketStream<TcpStream>) -> (Vec<u8>, Value) {
    let (mut output, mut status) = (Vec::new(), Vec::new());
    while let Some(message) = socket.next().await {
        match message.expect("a message") {
            Message::Binary(bytes) => match bytes[0] {
                1 => output.extend(&bytes[1..]),
                3 => status.extend(&bytes[1..]),
                other => panic!("channel {other}"),
            },
            Message::Close(frame) => assert_eq!(frame.map(|frame| u16::from(frame.code)), Some(1000)),
            other => panic!("{other:?}"),
        }
    }
    (output, serde_json::from_slice(&status).expect("a status"))
}

async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(SOON, future).await.expect("it happens soon")
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_over_version_5_ends_stdin_and_tells_the_exit_code() {
    let server = server().await;
    let path = "exec?command=cat&stdin=true&stdout=true";
    let (mut socket, chosen) = soon(open(&server, path, "v5.channel.k8s.io,v4.channel.k8s.io")).await;
    assert_eq!(chosen, "v5.channel.k8s.io");
    let input: Vec<u8> = (0..300_000_u32).map(|number| number as u8).collect();
    for part in input.chunks(30_000) {
        let message = [&[0], part].concat();
        soon(socket.send(Message::Binary(message.into()))).await.expect("it is sent");
    }
    soon(socket.send(Message::Binary(vec![255, 0].into()))).await.expect("it is sent");
    let (output, status) = soon(read_all(&mut socket)).await;
    assert!(output == input, "{} bytes of {}", output.len(), input.len());
    assert_eq!(status["reason"], "NonZeroExitCode");
    assert_eq!(status["message"], "command terminated with non-zero exit code: command terminated with exit code 3");
    assert_eq!(status["details"]["causes"], json!([{"reason": "ExitCode", "message": "3"}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubelets_refusal_comes_on_the_error_channel() {
    let server = server().await;
    let (mut socket, _) = soon(open(&server, "exec?command=refuse&stdout=true", "v5.channel.k8s.io")).await;
    let (output, status) = soon(read_all(&mut socket)).await;
    assert!(output.is_empty());
    assert_eq!(status["message"], "Internal error occurred: unable to upgrade connection: not now");
    assert_eq!((&status["reason"], &status["code"]), (&json!("InternalError"), &json!(500)));
}

/// A WebSocket of an older version is the kubelet's business, and so are the words of its refusal.
#[tokio::test(flavor = "multi_thread")]
async fn a_kubelets_refusal_of_what_is_passed_on_is_passed_on() {
    let server = server().await;
    let address = server.address;
    let mut request =
        format!("ws://{address}{PODS}/p/exec?command=x&stdout=true").into_client_request().expect("a request");
    request.headers_mut().insert("sec-websocket-protocol", "v4.channel.k8s.io".parse().expect("a protocol"));
    let stream = TcpStream::connect(address).await.expect("a connection");
    let refused = soon(tokio_tungstenite::client_async(request, stream)).await;
    let Err(tokio_tungstenite::tungstenite::Error::Http(answer)) = refused else { panic!("the kubelet refuses") };
    assert_eq!(answer.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_carries_bytes_both_ways() {
    let server = server().await;
    let (mut socket, chosen) = soon(open(&server, "portforward", "SPDY/3.1+portforward.k8s.io")).await;
    assert_eq!(chosen, "SPDY/3.1+portforward.k8s.io");
    for word in ["one", "two"] {
        soon(socket.send(Message::Binary(word.as_bytes().to_vec().into()))).await.expect("it is sent");
        let heard = soon(socket.next()).await.expect("a message").expect("it is whole");
        assert_eq!(heard.into_data(), word.to_uppercase().as_bytes());
    }
}

/// The older protocols are the runtime's own: their messages are passed on as they are, binary or base64 text.
#[tokio::test(flavor = "multi_thread")]
async fn older_websockets_are_passed_on() {
    let server = server().await;
    let binary = Message::Binary(vec![0, 1, 2].into());
    let text = Message::text("0aGk=");
    let table = [
        ("v4.channel.k8s.io", &binary),
        ("channel.k8s.io", &binary),
        ("v4.base64.channel.k8s.io", &text),
        ("base64.channel.k8s.io", &text),
    ];
    for (protocol, message) in table {
        let (mut socket, chosen) = soon(open(&server, "exec?command=echo&stdin=1", protocol)).await;
        assert_eq!(chosen, protocol);
        soon(socket.send(message.clone())).await.expect("it is sent");
        let heard = soon(socket.next()).await.expect("a message").expect("it is whole");
        assert_eq!(heard, *message, "{protocol}");
    }
}

/// kubectl of before WebSockets upgrades to SPDY/3.1, and so does the kubelet: the bytes are passed on.
#[tokio::test(flavor = "multi_thread")]
async fn spdy_is_passed_on() {
    let server = server().await;
    for (path, protocol) in [("portforward", "portforward.k8s.io"), ("exec?command=x&stdout=1", "v3.channel.k8s.io")] {
        let mut stream = TcpStream::connect(server.address).await.expect("a connection");
        let head = format!(
            "POST {PODS}/p/{path} HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: SPDY/3.1\r\n\
             x-stream-protocol-version: {protocol}\r\ncontent-length: 0\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.expect("to send");
        let mut heard = Vec::new();
        while !heard.ends_with(b"\r\n\r\n") {
            heard.push(soon(stream.read_u8()).await.expect("an answer"));
        }
        let heard = String::from_utf8_lossy(&heard).to_ascii_lowercase();
        assert!(heard.starts_with("http/1.1 101") && heard.contains("upgrade: spdy/3.1"), "{heard}");
        assert!(heard.contains(&format!("x-stream-protocol-version: {protocol}")), "{heard}");
        stream.write_all(b"frames").await.expect("to send");
        let mut loud = [0; 6];
        soon(stream.read_exact(&mut loud)).await.expect("an echo");
        assert_eq!(&loud, b"FRAMES");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_comes_over_a_websocket_too() {
    let server = server().await;
    let table = [
        ("binary.k8s.io", Message::binary(&b"alive\n"[..]), Message::binary(&b""[..])),
        ("other, base64.binary.k8s.io", Message::text("YWxpdmUK"), Message::text("")),
    ];
    for (protocols, log, stands) in table {
        let (mut socket, chosen) = soon(open(&server, "log?container=c", protocols)).await;
        assert!(protocols.ends_with(&chosen), "{chosen}");
        let mut heard = Vec::new();
        while let Some(message) = soon(socket.next()).await {
            heard.push(message.expect("it is whole"));
        }
        let Some(Message::Close(Some(end))) = heard.pop() else { panic!("an orderly end after {heard:?}") };
        assert_eq!((heard, u16::from(end.code)), (vec![stands, log], 1000));
    }
}

/// What OPTIONS asks is for the server behind to say: the proxy takes it as any other request (and leads nobody to
/// loopback).
#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_takes_every_method() {
    let server = server().await;
    for method in [http::Method::GET, http::Method::OPTIONS, http::Method::PATCH] {
        let answer = server.send(method, "/api/v1/nodes/n/proxy/page", None).await;
        assert_eq!((answer.code, &answer.body["message"]), (400, &json!("address not allowed")));
    }
}
