//! A scripted kubelet that speaks SPDY/3.1 and WebSocket on loopback.

use std::sync::Arc;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use machinery::spdy::{Decoder, Encoder, Frame, RST_CANCEL};
use rustls::pki_types::PrivateKeyDer;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::tls_server;

/// Starts the scripted kubelet and tells its port.
pub(super) async fn start() -> u16 {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("protocol versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a configuration");
    tls_server::start(config, answer).await
}

async fn answer(mut request: Request<Incoming>) -> Response<Full<Bytes>> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (upgrade, protocol) = (header("upgrade").to_owned(), header("x-stream-protocol-version").to_owned());
    let uri = request.uri().to_string();
    if upgrade.eq_ignore_ascii_case("websocket") && uri.contains("command=echo") {
        return echo(request);
    }
    if uri.starts_with("/containerLogs/") {
        return Response::new(Full::new(Bytes::from_static(b"alive\n")));
    }
    if uri.contains("command=never") {
        return std::future::pending().await;
    }
    let mut response = Response::new(Full::new(Bytes::from_static(b"not now\n")));
    if upgrade != "SPDY/3.1" || uri.contains("refuse") {
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
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
    response
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
