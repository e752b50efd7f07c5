//! What to do about a Lease as it was found. Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use tokio::time::Instant;

use super::Settings;

/// Tries are `retry_period` to 2.2 times that apart, as client-go's.
pub(super) const JITTER: f64 = 1.2;

/// What was last seen of a Lease, and when by our own clock: the renewal times in it are by another machine's.
#[derive(Default)]
pub(super) struct Observed {
    spec: Option<LeaseSpec>,
    at: Option<Instant>,
}

impl Observed {
    pub(super) fn see(&mut self, spec: &LeaseSpec, now: Instant) {
        if self.spec.as_ref() != Some(spec) {
            (self.spec, self.at) = (Some(spec.clone()), Some(now));
        }
    }

    /// Whether the holder had its time since anything was last heard of it.
    fn expired(&self, lease_duration: Duration, now: Instant) -> bool {
        self.at.is_some_and(|at| now.saturating_duration_since(at) >= lease_duration)
    }
}

#[derive(Debug, PartialEq)]
pub(super) enum Action {
    /// Somebody else leads.
    Wait { holder: String },
    /// Write this Lease; it makes us the leader, or keeps us so.
    Write(Box<Lease>),
}

/// `lease` is what the server has (none: not yet made), already seen by `observed`.
pub(super) fn decide(
    settings: &Settings,
    lease: Option<&Lease>,
    observed: &Observed,
    now: Instant,
    wall: Timestamp,
) -> Action {
    let Some(lease) = lease else {
        return Action::Write(Box::new(written(settings, new_lease(settings), wall, wall, 0)));
    };
    let spec = lease.spec.clone().unwrap_or_default();
    let holder = spec.holder_identity.clone().unwrap_or_default();
    let transitions = spec.lease_transitions.unwrap_or_default();
    if settings.identity.is(&holder) {
        let acquired = spec.acquire_time.map_or(wall, |time| time.0);
        return Action::Write(Box::new(written(settings, lease.clone(), acquired, wall, transitions)));
    }
    let lease_duration = Duration::from_secs(spec.lease_duration_seconds.unwrap_or_default().max(0) as u64);
    let free = holder.is_empty() || settings.identity.was(&holder) || observed.expired(lease_duration, now);
    match free {
        true => Action::Write(Box::new(written(settings, lease.clone(), wall, wall, transitions.saturating_add(1)))),
        false => Action::Wait { holder },
    }
}

/// The Lease as a leader leaves it: nobody's, and expired at once.
pub(super) fn released(mut lease: Lease, wall: Timestamp) -> Lease {
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(String::new());
    spec.lease_duration_seconds = Some(1);
    (spec.renew_time, spec.acquire_time) = (Some(MicroTime(wall)), Some(MicroTime(wall)));
    lease
}

fn new_lease(settings: &Settings) -> Lease {
    let metadata = ObjectMeta {
        name: Some(settings.name.clone()),
        namespace: Some(settings.namespace.clone()),
        ..ObjectMeta::default()
    };
    Lease { metadata, ..Lease::default() }
}

fn written(settings: &Settings, mut lease: Lease, acquired: Timestamp, renewed: Timestamp, transitions: i32) -> Lease {
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(settings.identity.as_str().to_owned());
    spec.lease_duration_seconds = i32::try_from(settings.lease_duration.as_secs()).ok();
    (spec.acquire_time, spec.renew_time) = (Some(MicroTime(acquired)), Some(MicroTime(renewed)));
    spec.lease_transitions = Some(transitions);
    lease
}
