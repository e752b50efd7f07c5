//! One connection as one task.
//!
//! Over HTTP/2 each answer is a future of its own. Were each a task too, every event of a watch would wake two, and one
//! core would write a list that another encrypts. So they are polled with their connection, and only the handlers, who
//! may compute for long, are tasks.
//!
//! A library's set of futures wakes its task even for what one of them asks of another while they are polled, as an
//! answer does of its connection: after every event there would be a turn with nothing to do.

use std::{
    future::{Future, poll_fn},
    mem,
    ops::ControlFlow,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker, ready},
};

use futures::{FutureExt, future::BoxFuture};
use slab::Slab;
use tower::BoxError;

use super::outlet::Outlet;

/// How often one that others call again is polled in a turn, before other tasks have theirs: an answer and its connection
/// call each other.
const PASSES: usize = 4;

/// What a connection's task polls: the connection, whose end this is, and its streams.
type Part = BoxFuture<'static, ControlFlow<Result<(), BoxError>>>;

/// Takes the futures of a connection's streams, to be polled with it.
#[derive(Clone, Default)]
pub(super) struct Streams(Arc<Mutex<Calls>>);

/// Who is to be polled.
#[derive(Default)]
struct Calls {
    begun: Vec<Part>,
    /// By their keys.
    called: Vec<usize>,
    /// The connection's task.
    task: Option<Waker>,
    /// It has had its turn, so that the next call wakes it.
    is_waiting: bool,
}

impl Calls {
    fn wake(&mut self) {
        if mem::take(&mut self.is_waiting)
            && let Some(task) = &self.task
        {
            task.wake_by_ref();
        }
    }

    fn wait(&mut self, task: &Waker) {
        self.is_waiting = true;
        match &mut self.task {
            Some(known) => known.clone_from(task),
            unknown => *unknown = Some(task.clone()),
        }
    }
}

/// Calls one part; its waker.
struct Call {
    key: usize,
    is_called: AtomicBool,
    streams: Streams,
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_called.swap(true, Ordering::AcqRel) {
            let mut calls = self.streams.calls();
            calls.called.push(self.key);
            calls.wake();
        }
    }
}

/// The parts of a connection.
#[derive(Default)]
struct Parts {
    all: Slab<(Part, Arc<Call>, Waker)>,
    /// Those of one pass.
    called: Vec<usize>,
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        // One that panics takes no other with it.
        let stream = AssertUnwindSafe(stream).catch_unwind().map(|_| ControlFlow::Continue(()));
        let mut calls = self.calls();
        calls.begun.push(stream.boxed());
        calls.wake();
    }
}

impl Streams {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until the connection has ended; what streams it leaves are given up with it.
    pub(super) async fn drive(
        self,
        connection: impl Future<Output = Result<(), BoxError>> + Send + 'static,
        outlet: Outlet,
    ) -> Result<(), BoxError> {
        self.calls().begun.push(connection.map(ControlFlow::Break).boxed());
        let mut parts = Parts::default();
        let ended = poll_fn(|context| {
            if let Poll::Ready(ended) = self.turn(&mut parts, context.waker()) {
                return Poll::Ready(ended);
            }
            ready!(outlet.poll_send(context))?;
            Poll::Pending
        })
        .await;
        // One that begins as the connection ends would be kept for ever: it holds this very list.
        let begun = mem::take(&mut self.calls().begun);
        drop(begun);
        ended
    }

    /// Polls who is called, and whom these call.
    fn turn(&self, parts: &mut Parts, task: &Waker) -> Poll<Result<(), BoxError>> {
        for pass in 0.. {
            let mut calls = self.calls();
            if calls.begun.is_empty() && calls.called.is_empty() {
                calls.wait(task);
                break;
            }
            if pass == PASSES {
                task.wake_by_ref();
                break;
            }
            mem::swap(&mut calls.called, &mut parts.called);
            let begun = mem::take(&mut calls.begun);
            drop(calls);
            for part in begun {
                self.insert(parts, part);
            }
            if let Poll::Ready(ended) = parts.pass() {
                return Poll::Ready(ended);
            }
        }
        Poll::Pending
    }

    fn insert(&self, parts: &mut Parts, part: Part) {
        let place = parts.all.vacant_entry();
        let call = Arc::new(Call { key: place.key(), is_called: AtomicBool::new(true), streams: self.clone() });
        parts.called.push(call.key);
        let waker = call.clone().into();
        place.insert((part, call, waker));
    }
}

impl Parts {
    fn pass(&mut self) -> Poll<Result<(), BoxError>> {
        for key in self.called.drain(..) {
            // A call may come too late.
            let Some((part, call, waker)) = self.all.get_mut(key) else { continue };
            // Order: what is called from now on is not seen by this poll.
            call.is_called.swap(false, Ordering::AcqRel);
            match part.as_mut().poll(&mut Context::from_waker(waker)) {
                Poll::Pending => {}
                Poll::Ready(ControlFlow::Continue(())) => drop(self.all.remove(key)),
                Poll::Ready(ControlFlow::Break(ended)) => return Poll::Ready(ended),
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, sync::atomic::AtomicUsize};

    use futures::channel::oneshot;
    use hyper::rt::Executor;
    use tokio_util::either::Either;

    use super::*;

    /// A task that counts how often it is woken.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_parts_ask_of_each_other_wakes_no_task() {
        let (streams, mut parts, task) = (Streams::default(), Parts::default(), Arc::new(Task::default()));
        let waker = task.clone().into();
        let (event, told) = oneshot::channel::<()>();
        let (written, to_send) = oneshot::channel();
        streams.execute(async { to_send.await.unwrap() });
        streams.execute(async {
            told.await.unwrap();
            written.send(()).unwrap();
        });
        assert!(streams.turn(&mut parts, &waker).is_pending());
        assert_eq!((parts.all.len(), task.0.load(Ordering::Relaxed)), (2, 0));
        event.send(()).unwrap();
        assert!(streams.turn(&mut parts, &waker).is_pending());
        assert_eq!((parts.all.len(), task.0.load(Ordering::Relaxed)), (0, 1));
    }

    #[test]
    fn a_part_that_always_calls_itself_leaves_others_their_turn() {
        let (streams, mut parts, task) = (Streams::default(), Parts::default(), Arc::new(Task::default()));
        let polls = Arc::new(AtomicUsize::new(0));
        let counted = polls.clone();
        streams.execute(poll_fn(move |context| {
            counted.fetch_add(1, Ordering::Relaxed);
            context.waker().wake_by_ref();
            Poll::Pending
        }));
        assert!(streams.turn(&mut parts, &task.clone().into()).is_pending());
        assert_eq!((polls.load(Ordering::Relaxed), task.0.load(Ordering::Relaxed)), (PASSES, 1));
    }

    #[tokio::test]
    async fn a_stream_that_begins_as_its_connection_ends_is_let_go() {
        let (streams, held) = (Streams::default(), Arc::new(()));
        let (executor, of_stream) = (streams.clone(), held.clone());
        let connection = async move {
            let own = executor.clone();
            executor.execute(async move {
                let _both = (own, of_stream);
                pending().await
            });
            Ok(())
        };
        let (io, _other_end) = tokio::io::duplex(1);
        streams.drive(connection, Outlet::new(Either::Right(Either::Right(io)))).await.unwrap();
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
