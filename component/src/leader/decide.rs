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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{leader::Identity, random::Random};

    fn lease(holder: &str) -> Lease {
        let spec = LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            acquire_time: Some(MicroTime(at(0))),
            lease_transitions: Some(3),
            ..LeaseSpec::default()
        };
        Lease { spec: Some(spec), ..Lease::default() }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + seconds).unwrap()
    }

    /// What is decided `seconds` after the Lease was first seen: the transitions and the time of acquiring it.
    fn decided(settings: &Settings, lease: Option<&Lease>, seconds: u64) -> Option<(i32, Timestamp)> {
        let (mut observed, start) = (Observed::default(), Instant::now());
        if let Some(spec) = lease.and_then(|lease| lease.spec.as_ref()) {
            observed.see(spec, start);
            observed.see(spec, start + Duration::from_secs(1));
        }
        match decide(settings, lease, &observed, start + Duration::from_secs(seconds), at(100)) {
            Action::Wait { .. } => None,
            Action::Write(lease) => {
                let spec = lease.spec.unwrap();
                assert_eq!(spec.holder_identity.as_deref(), Some(settings.identity.as_str()));
                assert_eq!((spec.renew_time, spec.lease_duration_seconds), (Some(MicroTime(at(100))), Some(15)));
                Some((spec.lease_transitions.unwrap(), spec.acquire_time.unwrap().0))
            }
        }
    }

    #[test]
    fn whose_lease_it_is_decides() {
        let random = Random::seeded(1);
        let address = "127.0.0.1:10257".parse().unwrap();
        let holding = || Identity::holding("h", "c", address, &random);
        let before = holding();
        let settings = Settings::new("c", holding());
        let ours = lease(settings.identity.as_str());
        let cases = [
            ("not there", None, 0, Some((0, at(100)))),
            ("ours", Some(ours), 0, Some((3, at(0)))),
            ("of our earlier life", Some(lease(before.as_str())), 0, Some((4, at(100)))),
            ("given up", Some(lease("")), 0, Some((4, at(100)))),
            ("another's, fresh", Some(lease("other")), 14, None),
            ("another's, silent", Some(lease("other")), 15, Some((4, at(100)))),
        ];
        for (what, lease, seconds, expected) in cases {
            assert_eq!(decided(&settings, lease.as_ref(), seconds), expected, "{what}");
        }
    }
}
