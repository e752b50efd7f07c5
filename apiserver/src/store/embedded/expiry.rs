//! Deletes keys whose time has come, by commits like any other.

use std::sync::Arc;

use component::clock::Clock;
use futures::future::join_all;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::state::Shared;
use super::writer::{Request, now_ms};
use crate::store::{Commit, CommitError, Revision};

/// Keys deleted at a time.
const BATCH: usize = 256;

/// Runs until the store is closed, or fails.
pub(super) async fn run(shared: Arc<Shared>, clock: Clock, requests: mpsc::Sender<Request>) {
    loop {
        let nearest = shared.read().expiries.first().map(|(deadline_ms, ..)| *deadline_ms);
        let wait = async {
            match nearest {
                // A deadline out of the calendar's range never comes.
                Some(deadline) => match Timestamp::from_millisecond(deadline.cast_signed()) {
                    Ok(deadline) => tokio::time::sleep(clock.until(deadline)).await,
                    Err(_) => std::future::pending().await,
                },
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = wait => {}
            () = shared.expiry.notified() => continue,
            () = shared.closed.cancelled() => return,
        }
        if !expire(&shared, now_ms(&clock), &requests).await {
            return;
        }
    }
}

/// Deletes what is due; false when the store no longer takes writes.
async fn expire(shared: &Shared, now_ms: u64, requests: &mpsc::Sender<Request>) -> bool {
    let due: Vec<(u64, u64, Box<str>)> = {
        let mut state = shared.write();
        let mut due = Vec::new();
        while due.len() < BATCH && state.expiries.first().is_some_and(|(deadline_ms, ..)| *deadline_ms <= now_ms) {
            due.extend(state.expiries.pop_first());
        }
        due
    };
    let deletions = due.into_iter().map(|(_, modified, key)| async move {
        let (answer, answered) = oneshot::channel();
        requests.send(Request::Commit(Commit::delete(key, Revision(modified)), answer)).await.ok()?;
        // A conflict is a later write, which has its own deadline or none.
        match answered.await.ok()? {
            Ok(_) | Err(CommitError::Conflict { .. }) => Some(()),
            Err(CommitError::Store(_)) => None,
        }
    });
    join_all(deletions).await.into_iter().all(|done| done.is_some())
}
