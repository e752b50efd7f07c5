//! exec and port-forward as kubectl asks for them, before a scripted kubelet that speaks SPDY/3.1 on loopback.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::client::{call, get, post};
use crate::pods::{PODS, account, pod};
use crate::support::TestServer;

mod kubelet;

const SOON: Duration = Duration::from_secs(20);

/// A server with pod `p` on a node whose kubelet is the script.
async fn server() -> TestServer {
    let server = TestServer::start(&["--kubelet-preferred-address-types=InternalIP"]).await;
    account(&server.client).await;
    let node = json!({
        "metadata": {"name": "n"},
        "status": {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet::start().await}},
        },
    });
    post(&server.client, "/api/v1/nodes", &node).await.expect(201);
    post(&server.client, PODS, &pod("p")).await.expect(201);
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    post(&server.client, &format!("{PODS}/p/binding"), &binding).await.expect(201);
    server
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

/// kubectl 1.33 complains of a message that comes while it is still making its streams.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_comes_before_the_kubelets_streams_are_open() {
    let server = server().await;
    let (mut socket, _) = soon(open(&server, "exec?command=never&stdout=true", "v5.channel.k8s.io")).await;
    let first = tokio::time::timeout(Duration::from_millis(300), socket.next()).await;
    assert!(first.is_err(), "{first:?}");
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

/// Who names a protocol, and does not ask that the connection be upgraded, asks for a plain answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_named_protocol_is_no_upgrade() {
    let server = server().await;
    let named = [
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", "v5.channel.k8s.io"),
    ];
    let asked = async |path: &str| call(&server.client, http::Method::GET, path, &named, "").await;
    for path in ["exec?command=cat&stdout=1", "portforward"] {
        let refused = asked(&format!("{PODS}/p/{path}")).await;
        assert_eq!((refused.code, &refused.body["message"]), (400, &json!("Upgrade request required")));
    }
    assert_eq!(asked(&format!("{PODS}/p/log?container=c")).await.expect(200), "alive\n");
    asked("/api/v1/namespaces?watch=1&timeoutSeconds=1").await.expect(200);
}

/// Upstream's words, which name the kind that the request is about.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_wrongly_or_of_nobody_is_refused() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    account(client).await;
    let mut lost = pod("lost");
    lost["spec"]["nodeName"] = json!("nowhere");
    for pod in [lost, pod("new")] {
        post(client, PODS, &pod).await.expect(201);
    }
    let nothing = get(client, &format!("{PODS}/new/log?tailLines=5")).await;
    assert_eq!((nothing.code, &nothing.body), (204, &json!("")));
    // Before anything is looked for.
    let refused = get(client, &format!("{PODS}/none/log?tailLines=-1")).await;
    refused.refused(422, "Invalid");
    assert_eq!(
        (&refused.body["details"]["kind"], &refused.body["details"]["name"]),
        (&json!("PodLogOptions"), &json!("none"))
    );
    let refused = post(client, &format!("{PODS}/none/portforward?ports=80,70000"), &Value::Null).await;
    refused.refused(400, "BadRequest");
    let why = "cannot convert to []int32: strconv.ParseUint: parsing \"70000\": value out of range";
    assert_eq!(refused.body["message"], why);
    for asked in ["log", "exec?command=ls", "portforward"] {
        let refused = get(client, &format!("{PODS}/lost/{asked}")).await;
        refused.refused(404, "NotFound");
        assert_eq!(refused.body["message"], "pods \"nowhere\" not found", "{asked}");
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

/// A query is nobody's to rewrite between the client and who it is for.
#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_leads_below_its_slash_with_the_query_as_it_is() {
    let server = TestServer::start(&["--kubelet-preferred-address-types=InternalIP"]).await;
    let addresses = json!([{"type": "InternalIP", "address": "192.0.2.1"}]);
    let node = json!({"metadata": {"name": "n"}, "status": {"addresses": addresses}});
    post(&server.client, "/api/v1/nodes", &node).await.expect(201);
    let led = get(&server.client, "/api/v1/nodes/n/proxy?watch&a=b+c%20d&%zz;e=%ff").await;
    assert_eq!(
        (led.code, &led.headers["location"]),
        (301, &"/api/v1/nodes/n/proxy/?watch&a=b+c%20d&%zz;e=%ff".parse().unwrap())
    );
    let long = get(&server.client, &format!("/api/v1/nodes/n/proxy/{}", "!".repeat(30_000))).await;
    assert_eq!((long.code, &long.body["code"]), (414, &json!(414)));
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
