//! How those who wait for a group of commits are told that it is durable.
//!
//! The writer's thread tells a task, through the runtime's reactor, as bytes come from a socket; the task tells the rest.
//! A runtime that is woken by a foreign thread wakes a second worker to look for more work, and with one client at a time
//! that one finds none.

use std::io::{self, PipeWriter, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::oneshot;

use super::state::Shared;
use crate::store::{CommitError, Error, Revision};

/// An answer and who asked, who may have gone.
type Answer<T, E> = (oneshot::Sender<Result<T, E>>, Result<T, E>);

/// What a group is answered.
pub(super) struct Answers {
    pub(super) commits: Vec<Answer<Revision, CommitError>>,
    pub(super) compactions: Vec<Answer<(), Error>>,
}

impl Answers {
    fn send(self) {
        self.commits.into_iter().for_each(|(to, answer)| drop(to.send(answer)));
        self.compactions.into_iter().for_each(|(to, answer)| drop(to.send(answer)));
    }
}

/// The writer's side.
pub(super) enum Teller {
    /// The writer is a task itself.
    InPlace,
    Thread(Bell),
}

impl Teller {
    /// After the group is in the shared state.
    pub(super) fn tell(&self, shared: &Shared, answers: Answers) {
        match self {
            Self::InPlace => {
                shared.announce();
                answers.send();
            }
            Self::Thread(bell) => bell.ring(answers),
        }
    }
}

type Waiting = Arc<Mutex<Vec<Answers>>>;

/// Rings for a [`Listener`], which ends when this is dropped.
pub(super) struct Bell {
    pipe: PipeWriter,
    waiting: Waiting,
}

impl Bell {
    fn ring(&self, answers: Answers) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(answers);
        // Fails only when the runtime has gone, and all who wait with it.
        let _ = (&self.pipe).write_all(&[1]);
    }
}

/// The runtime's side.
pub(super) struct Listener {
    pipe: Receiver,
    waiting: Waiting,
}

pub(super) fn bell() -> io::Result<(Bell, Listener)> {
    let (reader, writer) = io::pipe()?;
    let waiting = Waiting::default();
    let pipe = Receiver::from_owned_fd(reader.into())?;
    let listener = Listener { pipe, waiting: waiting.clone() };
    Ok((Bell { pipe: writer, waiting }, listener))
}

impl Listener {
    /// Tells until the bell is gone.
    pub(super) async fn run(mut self, shared: Arc<Shared>) {
        let mut rings = [0; 64];
        while self.pipe.read(&mut rings).await.is_ok_and(|count| count > 0) {
            let answers = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            answers.into_iter().for_each(Answers::send);
            // Who waits for an answer goes first.
            tokio::task::yield_now().await;
            shared.announce();
        }
    }
}
