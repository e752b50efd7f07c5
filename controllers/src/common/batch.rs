//! Slow start: 1 call, then 2, 4, 8 at once, for as long as all succeed.
//!
//! A pod that can never be created (a quota, a broken admission hook) then costs one refused call a
//! sync and not hundreds.

use std::future::Future;

use futures::future::join_all;

/// Calls `call` up to `count` times. Returns how many succeeded, and the first error, after which no
/// further batch was started.
pub(crate) async fn slow_start<E, F: Future<Output = Result<(), E>>>(
    count: usize,
    call: impl Fn() -> F,
) -> (usize, Result<(), E>) {
    let (mut done, mut successes, mut size) = (0, 0, 1);
    while done < count {
        let batch = size.min(count - done);
        let results = join_all((0..batch).map(|_| call())).await;
        successes += results.iter().filter(|r| r.is_ok()).count();
        if let Some(error) = results.into_iter().find_map(Result::err) {
            return (successes, Err(error));
        }
        done += batch;
        size = batch * 2;
    }
    (successes, Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// `good` calls succeed, the later ones fail.
    async fn check(count: usize, good: usize, want_successes: usize, want_calls: usize) {
        let calls = Cell::new(0);
        let (successes, result) = slow_start(count, || {
            calls.set(calls.get() + 1);
            let ok = calls.get() <= good;
            async move { if ok { Ok(()) } else { Err("no") } }
        })
        .await;
        assert_eq!((successes, calls.get()), (want_successes, want_calls), "{count} calls, {good} good");
        assert_eq!(result.is_ok(), good >= count);
    }

    #[tokio::test]
    async fn batches_double_until_one_fails() {
        check(0, 10, 0, 0).await;
        check(10, 10, 10, 10).await;
        check(10, 0, 0, 1).await;
        check(10, 1, 1, 3).await;
        check(10, 5, 5, 7).await;
    }
}
