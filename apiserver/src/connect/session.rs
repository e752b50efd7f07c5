//! A SPDY/3.1 connection as a client: frames over bytes, and streams opened one after the other.
//!
//! Enter at [`Session::open_stream`], then use both halves side by side. Back-pressure is that of the connection below: who does
//! not read a frame keeps the peer from sending more, on all its streams.

use std::io;

use machinery::spdy::{Decoder, Encoder, Frame};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

const CHUNK_BYTES: usize = 32 << 10;

/// A connection of whose streams this side creates all.
pub struct Session<C> {
    pub sender: Sender<C>,
    pub receiver: Receiver<C>,
    next_stream: u32,
}

pub struct Sender<C> {
    io: WriteHalf<C>,
    encoder: Encoder,
}

pub struct Receiver<C> {
    io: ReadHalf<C>,
    decoder: Decoder,
    chunk: Vec<u8>,
}

impl<C: AsyncRead + AsyncWrite> Session<C> {
    pub fn new(connection: C) -> Self {
        let (read, write) = tokio::io::split(connection);
        let receiver = Receiver { io: read, decoder: Decoder::default(), chunk: vec![0; CHUNK_BYTES] };
        Self { sender: Sender { io: write, encoder: Encoder::default() }, receiver, next_stream: 1 }
    }

    /// Opens a stream and waits for the peer's reply: moby's spdystream throws away data of a stream that it has not
    /// replied to yet. The peer sends no data before it has all the streams that it expects.
    pub async fn open_stream(&mut self, kind: &str) -> io::Result<u32> {
        let stream = self.next_stream;
        self.next_stream += 2;
        let headers = vec![("streamtype".to_owned(), kind.to_owned())];
        self.sender.send(&Frame::SynStream { stream, associated: 0, priority: 0, fin: false, headers }).await?;
        loop {
            match self.receiver.next().await? {
                Some(Frame::SynReply { stream: id, .. }) if id == stream => return Ok(stream),
                Some(Frame::RstStream { stream: id, status }) if id == stream => {
                    return Err(io::Error::other(format!("the {kind} stream was refused with status {status}")));
                }
                Some(ping @ Frame::Ping { .. }) => self.sender.send(&ping).await?,
                Some(_) => {}
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }
}

impl<C: AsyncWrite> Sender<C> {
    /// Not to be cancelled: half a frame leaves the connection of no use.
    pub async fn send(&mut self, frame: &Frame) -> io::Result<()> {
        let mut bytes = Vec::new();
        self.encoder.encode(frame, &mut bytes).map_err(io::Error::other)?;
        self.io.write_all(&bytes).await?;
        self.io.flush().await
    }

    pub async fn shutdown(&mut self) -> io::Result<()> {
        self.io.shutdown().await
    }
}

impl<C: AsyncRead> Receiver<C> {
    /// The next frame; none when the peer has closed. May be cancelled.
    pub async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.decoder.next_frame().map_err(io::Error::other)? {
                return Ok(Some(frame));
            }
            let length = self.io.read(&mut self.chunk).await?;
            if length == 0 {
                return Ok(None);
            }
            self.decoder.push(&self.chunk[..length]);
        }
    }
}
