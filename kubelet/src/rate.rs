//! How often something may be done: what `registryPullQPS` and `registryBurst` say of pulls, and requests to a socket.

use std::time::Duration;

use tokio::time::Instant;

/// A bucket of `burst` turns that fills by `qps` a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub qps: i64,
    pub burst: i64,
}

/// How full the bucket is.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    /// When it will be full again.
    full_at: Option<Instant>,
}

impl Bucket {
    /// Takes one out, where one is in.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let each = Duration::from_secs(1) / u32::try_from(rate.qps).unwrap_or(u32::MAX).max(1);
        let whole = each * u32::try_from(rate.burst).unwrap_or(u32::MAX);
        let full_at = self.full_at.unwrap_or(now).max(now) + each;
        let is_in = full_at <= now + whole;
        if is_in {
            self.full_at = Some(full_at);
        }
        is_in
    }
}

#[test]
fn no_more_than_fill_it() {
    let (rate, start) = (Rate { qps: 2, burst: 3 }, Instant::now());
    let mut bucket = Bucket::default();
    let took: Vec<bool> = [0, 0, 0, 0, 400, 500, 500, 5000, 5000, 5000, 5000]
        .map(|ms| bucket.take(rate, start + Duration::from_millis(ms)))
        .into();
    assert_eq!(took, [true, true, true, false, false, true, false, true, true, true, false]);
}
