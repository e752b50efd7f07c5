//! A connection's bytes.
//!
//! What is said in one turn of its task goes out together: HTTP/2 asks after every frame of 16 KiB that it be sent, which
//! by itself would be a system call for each.

use std::{
    io::{self, IoSlice, Write},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

/// A connection of any kind: one type, so that what serves it is built once for each service.
pub(super) type Io = Either<TcpStream, Either<TlsStream<TcpStream>, DuplexStream>>;

/// As much as is copied at a time: from about 2 KiB on the C library leaves a copy to an instruction (`rep movsb`) that on
/// some processors (AMD's of the Zen 3 and 4 kind) takes several times as long where the two places lie awkwardly in
/// their pages.
pub const COPY_BYTES: usize = 2048;
/// Parts of one write: as many as TLS keeps.
const PARTS: usize = 64 * 1024 / COPY_BYTES;

fn fill<'a, 'p>(parts: &'a mut [IoSlice<'p>], slices: impl Iterator<Item = &'p [u8]>) -> &'a [IoSlice<'p>] {
    let mut count = 0;
    for (part, slice) in parts.iter_mut().zip(slices) {
        *part = IoSlice::new(slice);
        count += 1;
    }
    &parts[..count]
}

/// A connection's bytes. Those of HTTP/2 over TLS are kept, encrypted, until the turn ends or as many as TLS keeps are
/// there.
#[derive(Clone)]
pub(super) struct Outlet {
    held: Arc<Mutex<Held>>,
    gathers: bool,
}

struct Held {
    io: Io,
    /// Who writes waits until more can be sent: the socket wakes but one, and must not wake another.
    is_full: bool,
}

impl Outlet {
    pub(super) fn new(io: Io) -> Self {
        let gathers = match &io {
            Either::Right(Either::Left(stream)) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
            _ => false,
        };
        Self { held: Arc::new(Mutex::new(Held { io, is_full: false })), gathers }
    }

    /// Asked for by its one task, and once it is upgraded by those who took it.
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what was kept.
    pub(super) fn poll_send(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self.held() {
            Held { io: Either::Right(Either::Left(stream)), is_full: false } if self.gathers => {
                poll_send(stream, context)
            }
            _ => Poll::Ready(Ok(())),
        }
    }
}

/// The same as to flush the stream, on a shorter way: a watch's event is hardly more than this.
fn poll_send(stream: &mut TlsStream<TcpStream>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
    let (socket, session) = stream.get_mut();
    while session.wants_write() {
        match session.write_tls(&mut Socket(socket)) {
            Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(socket.poll_write_ready(context))?,
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
    Poll::Ready(Ok(()))
}

/// A socket to write to as far as it takes it at once. One part alone is sent: to write a list of one costs the system a
/// tenth more.
struct Socket<'a>(&'a TcpStream);

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match slices {
            [alone] => self.0.try_write(alone),
            many => self.0.try_write_vectored(many),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Outlet {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut held = self.held();
        if let Either::Right(Either::Left(stream)) = &held.io {
            let (socket, session) = stream.get_ref();
            // Asked after every event of a watch; TLS would make room before it finds that there is nothing to read.
            if session.wants_read() && socket.poll_read_ready(context).is_pending() {
                return Poll::Pending;
            }
        }
        Pin::new(&mut held.io).poll_read(context, buffer)
    }
}

impl AsyncWrite for Outlet {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Held { io, is_full } = &mut *self.held();
        let Either::Right(Either::Left(stream)) = io else {
            return Pin::new(io).poll_write_vectored(context, slices);
        };
        let mut parts = [IoSlice::new(&[]); PARTS];
        let slices = fill(&mut parts, slices.iter().flat_map(|slice| slice.chunks(COPY_BYTES)));
        if !self.gathers {
            return Pin::new(stream).poll_write_vectored(context, slices);
        }
        loop {
            let taken = stream.get_mut().1.writer().write_vectored(slices)?;
            if taken > 0 || slices.iter().all(|slice| slice.is_empty()) {
                return Poll::Ready(Ok(taken));
            }
            let sent = poll_send(stream, context);
            *is_full = sent.is_pending();
            ready!(sent)?;
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gathers { Poll::Ready(Ok(())) } else { Pin::new(&mut self.held().io).poll_flush(context) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.held().io).poll_shutdown(context)
    }
}
