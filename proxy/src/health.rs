//! Whether the rules keep up with the changes: what `/healthz` and `/livez` answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use component::clock::Clock;
use jiff::Timestamp;
use serde::Serialize;

use crate::model::Family;

/// Shared by the loop, which reports, and the servers, which ask.
#[derive(Clone)]
pub(crate) struct Health {
    clock: Clock,
    /// How long a change may wait for its rules.
    timeout: Duration,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    updated: BTreeMap<Family, Timestamp>,
    /// The oldest change that has no rules yet.
    queued: BTreeMap<Family, Timestamp>,
    is_node_eligible: bool,
}

/// The answer's body, in upstream's shape.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    last_updated: Timestamp,
    current_time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_eligible: Option<bool>,
    pub(crate) healthy: bool,
    status: BTreeMap<&'static str, FamilyReport>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FamilyReport {
    last_updated: Timestamp,
    healthy: bool,
}

impl Health {
    pub(crate) fn new(clock: Clock, timeout: Duration) -> Health {
        Health { clock, timeout, state: Arc::default() }
    }

    /// A change came in.
    pub(crate) fn queued(&self, family: Family) {
        let now = self.clock.now();
        self.with(|state| state.queued.entry(family).or_insert(now).to_owned());
    }

    /// All changes have their rules.
    pub(crate) fn updated(&self, family: Family) {
        let now = self.clock.now();
        self.with(|state| {
            state.queued.remove(&family);
            state.updated.insert(family, now)
        });
    }

    /// A node that is about to go takes no new connections from load balancers.
    pub(crate) fn set_node_eligible(&self, is_eligible: bool) {
        self.with(|state| state.is_node_eligible = is_eligible);
    }

    /// `/livez`: without the node. `/healthz`: with it, and healthy only when the node is eligible.
    pub(crate) fn report(&self, with_node: bool) -> (bool, Report) {
        let now = self.clock.now();
        self.with(|state| {
            let mut status = BTreeMap::new();
            for (family, updated) in &state.updated {
                let waits = state.queued.get(family).map(|queued| self.clock.since(*queued));
                let healthy = waits.is_none_or(|waits| waits < self.timeout);
                status.insert(family.name(), FamilyReport { last_updated: *updated, healthy });
            }
            let healthy = status.values().all(|family| family.healthy);
            let is_good = healthy && (!with_node || state.is_node_eligible);
            let latest = state.updated.values().max().copied().unwrap_or(Timestamp::UNIX_EPOCH);
            let report = Report {
                last_updated: if is_good { now } else { latest },
                current_time: now,
                node_eligible: with_node.then_some(state.is_node_eligible),
                healthy,
                status,
            };
            (is_good, report)
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_change_that_waits_too_long_is_unhealthy() {
        let health = Health::new(Clock::simulated(Timestamp::UNIX_EPOCH), Duration::from_secs(60));
        health.updated(Family::V4);
        health.queued(Family::V4);
        health.set_node_eligible(true);
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(health.report(true).0);
        tokio::time::advance(Duration::from_secs(2)).await;
        health.queued(Family::V4);
        assert!(!health.report(false).0);
        health.updated(Family::V4);
        assert!(health.report(true).0);
        health.set_node_eligible(false);
        assert!(!health.report(true).0 && health.report(false).0);
    }
}
