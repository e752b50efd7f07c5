//! exec and attach of a client that speaks WebSocket v5, over SPDY/3.1 to the kubelet.
//!
//! Enter at [`start`]. Two loops, one each way, hold at most one message each: who is slow slows the other side. Neither
//! ever waits for the other, so a command that stops reading while nobody reads its output cannot stop both.

use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use http::{Request, Uri};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use machinery::channel::{self, Protocol};
use machinery::spdy::Frame;
use machinery::status::Status;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};

use super::kubelet::Endpoint;
use super::session::{Receiver, Sender, Session};
use super::websocket::{self, Socket};
use super::{outcome, pod};
use crate::api::Api;
use crate::http_body::{Body, Response};
use crate::rest::Call;

/// The kubelet's side of the translation: exit codes on the error stream, and a resize stream.
const KUBELET_PROTOCOL: &str = "v4.channel.k8s.io";
/// How long the kubelet may take to reply to all streams.
const STREAMS_DEADLINE: Duration = Duration::from_secs(30);
/// How long either side may take to hear of the end.
const END_DEADLINE: Duration = Duration::from_secs(10);
/// Most of an error stream that is kept, in bytes.
const ERROR_BYTES_MAX: usize = 1 << 20;
/// Frames that the reading loop asks the writing loop to send.
const REPLIES_MAX: usize = 8;

type Kubelet = TokioIo<Upgraded>;
type ToClient = futures::stream::SplitSink<Socket, Message>;
type FromClient = futures::stream::SplitStream<Socket>;

/// The streams that the client asked for.
#[derive(Clone, Copy)]
struct Wanted {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

impl Wanted {
    fn of(call: &Call) -> Self {
        let is = |name| call.query.is_true(name);
        Self { stdin: is("stdin"), stdout: is("stdout"), stderr: is("stderr"), tty: is("tty") }
    }

    /// Channels with the types of their streams, in the order in which upstream opens them.
    fn streams(self) -> Vec<(u8, &'static str)> {
        let all = [
            (true, channel::ERROR, "error"),
            (self.stdin, channel::STDIN, "stdin"),
            (self.stdout, channel::STDOUT, "stdout"),
            // A terminal has one output.
            (self.stderr && !self.tty, channel::STDERR, "stderr"),
            (self.tty, channel::RESIZE, "resize"),
        ];
        all.into_iter().filter(|(wanted, ..)| *wanted).map(|(_, channel, kind)| (channel, kind)).collect()
    }

    fn lowest_writable(self) -> u8 {
        match self {
            Self { stdout: true, .. } => channel::STDOUT,
            Self { stderr: true, .. } => channel::STDERR,
            _ => channel::ERROR,
        }
    }
}

/// Opened streams: their channels and ids.
struct Streams(Vec<(u8, u32)>);

impl Streams {
    fn id(&self, channel: u8) -> Option<u32> {
        self.0.iter().find(|one| one.0 == channel).map(|one| one.1)
    }

    fn channel(&self, id: u32) -> Option<u8> {
        self.0.iter().find(|one| one.1 == id).map(|one| one.0)
    }
}

/// Answers the client, then asks the kubelet for the streams. A kubelet's refusal is told on the error channel, as upstream
/// does: kubectl shows what comes there, and only "bad handshake" of a refused opening.
pub fn start(
    api: &Arc<Api>,
    mut call: Call,
    endpoint: Endpoint,
    uri: Uri,
    protocol: Protocol,
) -> Result<Response, Status> {
    let response = websocket::accept(&call.headers, Some(protocol.name))?;
    let client = call.upgrade.take().ok_or_else(|| Status::bad_request("the connection cannot be upgraded"))?;
    let request = pod::spdy_request(uri, &[KUBELET_PROTOCOL])?;
    let (wanted, api) = (Wanted::of(&call), api.clone());
    tokio::spawn(async move {
        let socket = match websocket::open(client).await {
            Ok(socket) => socket,
            Err(error) => return tracing::debug!(%error, "a client did not switch protocols"),
        };
        tokio::select! {
            ended = serve(socket, connect(&api, &endpoint, request, wanted), wanted, protocol) => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "stream ended");
                }
            }
            () = api.shutdown.cancelled() => {}
        }
    });
    Ok(response)
}

/// The kubelet's session with all its streams open.
async fn connect(
    api: &Api,
    endpoint: &Endpoint,
    request: Request<Body>,
    wanted: Wanted,
) -> Result<(Session<Kubelet>, Streams), Status> {
    let answer = pod::send_spdy(api, endpoint, request).await?;
    let kubelet = hyper::upgrade::on(answer).await.map_err(Status::internal_error)?;
    let mut session = Session::new(TokioIo::new(kubelet));
    match tokio::time::timeout(STREAMS_DEADLINE, open_streams(&mut session, wanted)).await {
        Ok(Ok(streams)) => Ok((session, streams)),
        Ok(Err(error)) => Err(Status::internal_error(error)),
        Err(_) => Err(Status::internal_error("timed out waiting for the kubelet's streams")),
    }
}

async fn serve(
    socket: Socket,
    kubelet: impl Future<Output = Result<(Session<Kubelet>, Streams), Status>>,
    wanted: Wanted,
    protocol: Protocol,
) -> Result<(), SocketError> {
    let (mut to_client, mut from_client) = socket.split();
    let kubelet = kubelet.await;
    // An empty message tells the client that the connection stands. Upstream sends it before it calls the kubelet; but
    // kubectl 1.30 to 1.33 may still be making its streams then, and complains of a message for a stream it does not know.
    to_client.send(binary(protocol, wanted.lowest_writable(), &[])).await?;
    let end = match kubelet {
        Ok((session, streams)) => translate(session, &streams, protocol, &mut to_client, &mut from_client).await,
        Err(status) => Some(outcome::of_status(&status)),
    };
    let Some(status) = end else { return Ok(()) };
    let last_words = async {
        to_client.send(binary(protocol, channel::ERROR, status.to_string().as_bytes())).await?;
        to_client.send(websocket::normal_end()).await?;
        // A connection that is closed with bytes unread is reset, and the client may lose the status.
        while let Some(Ok(_)) = from_client.next().await {}
        Ok(())
    };
    tokio::time::timeout(END_DEADLINE, last_words).await.unwrap_or(Ok(()))
}

fn binary(protocol: Protocol, channel: u8, data: &[u8]) -> Message {
    Message::Binary(protocol.encode(channel, data).into())
}

/// Runs until the command's end, which is told, or the client's.
async fn translate(
    session: Session<Kubelet>,
    streams: &Streams,
    protocol: Protocol,
    to_client: &mut ToClient,
    from_client: &mut FromClient,
) -> Option<Value> {
    let (replies, to_send) = mpsc::channel(REPLIES_MAX);
    let Session { mut sender, mut receiver, .. } = session;
    let end = tokio::select! {
        status = to_the_client(&mut receiver, to_client, streams, protocol, replies) => Some(status),
        () = to_the_kubelet(&mut sender, from_client, streams, protocol, to_send) => None,
    };
    // What the client wrote last has been sent; an orderly end lets the kubelet read it.
    if let Ok(Err(error)) = tokio::time::timeout(END_DEADLINE, sender.shutdown()).await {
        tracing::debug!(%error, "ending the connection to the kubelet");
    }
    end
}

async fn open_streams(session: &mut Session<Kubelet>, wanted: Wanted) -> std::io::Result<Streams> {
    let mut streams = Vec::new();
    for (channel, kind) in wanted.streams() {
        streams.push((channel, session.open_stream(kind).await?));
    }
    Ok(Streams(streams))
}

/// The command's output, until all its streams have ended; then its status.
async fn to_the_client(
    receiver: &mut Receiver<Kubelet>,
    to_client: &mut ToClient,
    streams: &Streams,
    protocol: Protocol,
    replies: mpsc::Sender<Frame>,
) -> Value {
    let mut open: Vec<u8> = streams.0.iter().map(|one| one.0).filter(|channel| is_output(*channel)).collect();
    let mut told = Vec::new();
    while !open.is_empty() {
        let ended = match receiver.next().await {
            Ok(Some(Frame::Data { stream, fin, data })) => {
                let channel = streams.channel(stream);
                match channel {
                    Some(channel::ERROR) if told.len() < ERROR_BYTES_MAX => told.extend(data),
                    Some(channel @ (channel::STDOUT | channel::STDERR)) if !data.is_empty() => {
                        // The other loop hears of a client that is gone.
                        if let Err(error) = to_client.send(binary(protocol, channel, &data)).await {
                            tracing::debug!(%error, "a client takes no more output");
                        }
                    }
                    _ => {}
                }
                channel.filter(|_| fin)
            }
            Ok(Some(Frame::RstStream { stream, .. })) => streams.channel(stream),
            Ok(Some(ping @ Frame::Ping { .. })) => {
                // A full queue means that the kubelet reads nothing: its ping's answer can wait as well.
                let _ = replies.try_send(ping);
                None
            }
            Ok(Some(_)) => None,
            Ok(None) => return outcome::of_error_stream(&told, false),
            Err(error) => {
                tracing::debug!(%error, "the connection to the kubelet broke");
                return outcome::of_error_stream(&told, false);
            }
        };
        if let (Some(channel::STDIN), Some(stream)) = (ended, streams.id(channel::STDIN)) {
            // The peer waits for this side's end before it goes on.
            let _ = replies.try_send(Frame::Data { stream, fin: true, data: Vec::new() });
        }
        open.retain(|channel| Some(*channel) != ended);
    }
    outcome::of_error_stream(&told, true)
}

fn is_output(channel: u8) -> bool {
    matches!(channel, channel::STDOUT | channel::STDERR | channel::ERROR)
}

/// The client's input, until the client is gone. A kubelet that takes no more does not end it: its last words may still
/// be on their way.
async fn to_the_kubelet(
    sender: &mut Sender<Kubelet>,
    from_client: &mut FromClient,
    streams: &Streams,
    protocol: Protocol,
    mut replies: mpsc::Receiver<Frame>,
) {
    let mut ended = Vec::new();
    let mut broken = false;
    loop {
        let frame = tokio::select! {
            message = from_client.next() => match message {
                Some(Ok(message)) => input_frame(&message, streams, protocol),
                Some(Err(_)) | None => return,
            },
            Some(frame) = replies.recv() => Ok(Some(frame)),
        };
        let frame = match frame {
            Ok(Some(frame)) => frame,
            Ok(None) => continue,
            Err(Gone) => return,
        };
        if let Frame::Data { stream, fin, .. } = &frame {
            // A stream that has ended takes nothing, another end neither.
            if ended.contains(stream) {
                continue;
            }
            ended.extend(fin.then_some(*stream));
        }
        if !broken && let Err(error) = sender.send(&frame).await {
            tracing::debug!(%error, "the kubelet takes no more input");
            broken = true;
        }
    }
}

/// The client has ended the connection, or broken the protocol.
struct Gone;

fn input_frame(message: &Message, streams: &Streams, protocol: Protocol) -> Result<Option<Frame>, Gone> {
    let bytes = match message {
        Message::Binary(bytes) => bytes.as_ref(),
        Message::Text(text) => text.as_bytes(),
        Message::Close(_) => return Err(Gone),
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Ok(None),
    };
    let message = protocol.decode(bytes).map_err(|error| {
        tracing::debug!(%error, "a client broke the channel protocol");
        Gone
    })?;
    let (channel, fin, data) = match message {
        None => return Ok(None),
        Some(channel::Message::Data { channel, data }) => (channel, false, data),
        Some(channel::Message::Close { channel }) => (channel, true, Vec::new()),
    };
    let stream = streams.id(channel).filter(|_| matches!(channel, channel::STDIN | channel::RESIZE));
    Ok(stream.map(|stream| Frame::Data { stream, fin, data }))
}
