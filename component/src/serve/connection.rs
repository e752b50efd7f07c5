//! One connection as one task.
//!
//! Over HTTP/2 each answer is a future of its own. Were each a task too, every event of a watch would wake two, and one
//! core would write a list that another encrypts. So they are polled with their connection, and only the handlers, who
//! may compute for long, are tasks. What is said in one turn goes out together: HTTP/2 asks after every frame of 16 KiB
//! that it be sent, which by itself would be a system call for each.

use std::{
    future::{Future, poll_fn},
    io::{self, IoSlice, Write},
    mem,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tower::BoxError;

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
    io: Arc<Mutex<Io>>,
    gathers: bool,
}

impl Outlet {
    pub(super) fn new(io: Io) -> Self {
        let gathers = match &io {
            Either::Right(Either::Left(stream)) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
            _ => false,
        };
        Self { io: Arc::new(Mutex::new(io)), gathers }
    }

    /// Asked for by its one task, and once it is upgraded by those who took it.
    fn io(&self) -> MutexGuard<'_, Io> {
        self.io.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what was kept.
    fn poll_send(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gathers { Pin::new(&mut *self.io()).poll_flush(context) } else { Poll::Ready(Ok(())) }
    }
}

impl AsyncRead for Outlet {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io()).poll_read(context, buffer)
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
        let mut io = self.io();
        let Either::Right(Either::Left(stream)) = &mut *io else {
            return Pin::new(&mut *io).poll_write_vectored(context, slices);
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
            ready!(Pin::new(&mut *stream).poll_flush(context))?;
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gathers { Poll::Ready(Ok(())) } else { Pin::new(&mut *self.io()).poll_flush(context) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io()).poll_shutdown(context)
    }
}

/// What a connection's task polls: the connection, whose end this is, and its streams.
type Part = BoxFuture<'static, Option<Result<(), BoxError>>>;

/// Takes the futures of a connection's streams, to be polled with it.
#[derive(Clone, Default)]
pub(super) struct Streams(Arc<Mutex<Vec<Part>>>);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        // One that panics takes no other with it.
        let stream = AssertUnwindSafe(stream).catch_unwind().map(|_| None);
        self.begun().push(stream.boxed());
    }
}

impl Streams {
    fn begun(&self) -> MutexGuard<'_, Vec<Part>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until the connection has ended; what streams it leaves are given up with it.
    pub(super) async fn drive(
        self,
        connection: impl Future<Output = Result<(), BoxError>> + Send + 'static,
        outlet: Outlet,
    ) -> Result<(), BoxError> {
        let mut parts: FuturesUnordered<Part> = FuturesUnordered::new();
        parts.push(connection.map(Some).boxed());
        let ended = poll_fn(|context| {
            loop {
                while let Poll::Ready(over) = parts.poll_next_unpin(context) {
                    match over {
                        Some(None) => {}
                        Some(Some(ended)) => return Poll::Ready(ended),
                        None => return Poll::Ready(Ok(())),
                    }
                }
                let begun = mem::take(&mut *self.begun());
                if begun.is_empty() {
                    break;
                }
                parts.extend(begun);
            }
            ready!(outlet.poll_send(context))?;
            Poll::Pending
        })
        .await;
        // One that begins as the connection ends would be kept for ever: it holds this very list.
        drop(mem::take(&mut *self.begun()));
        ended
    }
}

#[tokio::test]
async fn a_stream_that_begins_as_its_connection_ends_is_let_go() {
    let (streams, held) = (Streams::default(), Arc::new(()));
    let (executor, of_stream) = (streams.clone(), held.clone());
    let connection = async move {
        let own = executor.clone();
        hyper::rt::Executor::execute(&executor, async move {
            let _both = (own, of_stream);
            std::future::pending().await
        });
        Ok(())
    };
    let (io, _other_end) = tokio::io::duplex(1);
    streams.drive(connection, Outlet::new(Either::Right(Either::Right(io)))).await.unwrap();
    assert_eq!(Arc::strong_count(&held), 1);
}
