//! Leases for keys with a time to live.
//!
//! Many keys with the same time to live share a lease, as upstream's do: a lease an event would cost etcd more than the
//! event. A shared lease lives longer by as long as it is handed out, so a key may outlive its time by a twentieth, and
//! never dies before it.

use std::collections::HashMap;
use std::time::Duration;

use etcd_client::LeaseClient;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::error;
use crate::store::Error;

/// A lease is handed out for at most so long, and to so many keys.
const SHARED_SECONDS_MAX: i64 = 60;
const SHARED_KEYS_MAX: u32 = 1000;

pub(super) struct Leases {
    client: LeaseClient,
    /// By time to live in seconds.
    shared: Mutex<HashMap<i64, Lease>>,
}

struct Lease {
    id: i64,
    until: Instant,
    keys: u32,
}

impl Leases {
    pub(super) fn new(client: LeaseClient) -> Self {
        Self { client, shared: Mutex::default() }
    }

    /// A lease that lives at least so long.
    pub(super) async fn get(&self, ttl: Duration) -> Result<i64, Error> {
        let seconds = i64::try_from(ttl.as_millis().div_ceil(1000)).unwrap_or(i64::MAX).max(1);
        let share_seconds = (seconds / 20).min(SHARED_SECONDS_MAX);
        if share_seconds == 0 {
            return self.grant(seconds).await;
        }
        let mut shared = self.shared.lock().await;
        if let Some(lease) = shared.get_mut(&seconds).filter(|lease| lease.until > Instant::now()) {
            lease.keys += 1;
            if lease.keys <= SHARED_KEYS_MAX {
                return Ok(lease.id);
            }
        }
        let id = self.grant(seconds + share_seconds).await?;
        let until = Instant::now() + Duration::from_secs(share_seconds.unsigned_abs());
        shared.retain(|_, lease| lease.until > Instant::now());
        shared.insert(seconds, Lease { id, until, keys: 1 });
        Ok(id)
    }

    async fn grant(&self, seconds: i64) -> Result<i64, Error> {
        let granted = self.client.clone().grant(seconds, None).await;
        // A lease that no one knows of expires by itself: not an outcome to worry about.
        Ok(granted.map_err(|error| error::of_read("grant a lease", error))?.id())
    }
}
