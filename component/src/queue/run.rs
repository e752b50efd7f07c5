//! Workers over a queue.

use std::{fmt::Display, panic::AssertUnwindSafe};

use futures::{FutureExt, future::join_all};

use super::{Item, Queue};
use crate::shutdown::Shutdown;

/// Works on `queue` with `workers` at a time until `shutdown`, then lets the running ones end.
///
/// `reconcile` is never run twice at once for one key. An error is logged once and the key added again rate limited;
/// success forgets its failures. A panic is contained, logged, and counts as an error.
pub async fn run<T, E, F, Fut>(queue: Queue<T>, workers: usize, shutdown: Shutdown, reconcile: F)
where
    T: Item + Sync,
    E: Display,
    F: Fn(T) -> Fut,
    Fut: Future<Output = Result<(), E>>,
{
    let worker = || async {
        while let Some(Some(item)) = shutdown.run_until(queue.get()).await {
            let outcome = AssertUnwindSafe(async { reconcile(item.clone()).await }).catch_unwind().await;
            settle(&queue, &item, outcome.map_err(|panic| panic_message(&*panic)));
            queue.done(&item);
        }
    };
    join_all((0..workers.max(1)).map(|_| worker())).await;
    queue.shut_down();
}

fn settle<T: Item, E: Display>(queue: &Queue<T>, item: &T, outcome: Result<Result<(), E>, String>) {
    let name = queue.name();
    match outcome {
        Ok(Ok(())) => return queue.forget(item),
        Ok(Err(error)) => tracing::warn!(queue = name, key = ?item, %error, "reconcile failed, trying again"),
        Err(panic) => tracing::error!(queue = name, key = ?item, panic, "reconcile panicked, trying again"),
    }
    queue.add_rate_limited(item.clone());
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "unknown panic".to_owned())
}
