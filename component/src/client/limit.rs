//! A token bucket for requests, as client-go's `flowcontrol`.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// Lets `burst` requests through at once, then `qps` a second. Clones share the bucket.
#[derive(Clone, Debug)]
pub struct Limiter(Option<Arc<Bucket>>);

#[derive(Debug)]
struct Bucket {
    interval: Duration,
    burst: u32,
    /// When the bucket would have been empty of debt: the moment the next request's token was due, were the bucket
    /// never full.
    due: Mutex<Option<Instant>>,
}

impl Limiter {
    /// Without `qps` there is no limit. The default burst is twice the rate, as upstream's components have it.
    pub fn new(qps: Option<f64>, burst: Option<u32>) -> Self {
        Self(qps.filter(|qps| *qps > 0.0).map(|qps| {
            let burst = burst.unwrap_or((qps * 2.0).ceil() as u32).max(1);
            Arc::new(Bucket { interval: Duration::from_secs_f64(1.0 / qps), burst, due: Mutex::new(None) })
        }))
    }

    /// Returns when the next request may go. A caller that gives up waiting has used its turn.
    pub async fn acquire(&self) {
        if let Some(bucket) = &self.0
            && let Some(at) = bucket.reserve(Instant::now())
        {
            sleep_until(at).await;
        }
    }
}

impl Bucket {
    /// Takes a token; when one has to be waited for, says until when.
    fn reserve(&self, now: Instant) -> Option<Instant> {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let full = now.checked_sub(self.interval * self.burst);
        // Tokens pile up to `burst`, no further.
        let start = match (*due, full) {
            (Some(due), Some(full)) => due.max(full),
            (Some(due), None) => due,
            (None, Some(full)) => full,
            (None, None) => now,
        };
        let mine = start + self.interval;
        *due = Some(mine);
        (mine > now).then_some(mine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_at_once_and_then_the_rate_holds() {
        let limiter = Limiter::new(Some(10.0), Some(5));
        let start = Instant::now();
        for _ in 0..5 {
            limiter.acquire().await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..10 {
            limiter.acquire().await;
        }
        assert!((999..=1010).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn no_rate_is_no_limit() {
        let (limiter, start) = (Limiter::new(None, Some(1)), Instant::now());
        for _ in 0..100 {
            limiter.acquire().await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
