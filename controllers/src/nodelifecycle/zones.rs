//! How fast nodes may be tainted for eviction, zone by zone.
//!
//! Pure. When many nodes fail together it is more likely that the control plane is cut off than that all of them died:
//! then evictions slow down, or stop. Concepts: "Nodes", "Rate limits on eviction".

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The flags about rates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    /// Nodes a second.
    pub(crate) eviction: f64,
    /// Nodes a second in a zone of which a large part has failed.
    pub(crate) secondary: f64,
    /// Up to so many nodes the secondary rate is 0.
    pub(crate) large_cluster: usize,
    /// The part of a zone that is a large one.
    pub(crate) unhealthy_zone: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Initial,
    Normal,
    Partial,
    Full,
}

struct Zone {
    state: State,
    /// Nodes a second.
    rate: f64,
    /// When the next node's turn is.
    next: Timestamp,
}

/// What a change of one node's readiness changed for the others.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shift {
    Nothing,
    /// The rates have changed.
    Rates,
    /// No node is ready any more: nothing is evicted, what was tainted for it is not.
    AllDown,
    /// Some are ready again: all nodes get their whole grace period anew.
    SomeUp,
}

#[derive(Debug, PartialEq)]
pub(super) enum Turn {
    Now,
    After(Duration),
    /// Not before something changes.
    Never,
}

pub(super) struct Zones {
    rates: Rates,
    /// Zone and readiness by node.
    nodes: BTreeMap<String, (String, bool)>,
    zones: BTreeMap<String, Zone>,
    all_down: bool,
}

impl Zones {
    pub(super) fn new(rates: Rates) -> Self {
        Zones { rates, nodes: BTreeMap::new(), zones: BTreeMap::new(), all_down: false }
    }

    pub(super) fn all_down(&self) -> bool {
        self.all_down
    }

    /// A node's zone and readiness; None when it is gone or does not count.
    pub(super) fn update(&mut self, node: &str, now: Option<(String, bool)>) -> Shift {
        let before = match &now {
            Some(state) => self.nodes.insert(node.to_owned(), state.clone()),
            None => self.nodes.remove(node),
        };
        if before == now { Shift::Nothing } else { self.recompute() }
    }

    fn recompute(&mut self) -> Shift {
        let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for (zone, ready) in self.nodes.values() {
            let (up, down) = counts.entry(zone).or_default();
            if *ready { *up += 1 } else { *down += 1 }
        }
        let states: BTreeMap<String, (State, usize)> =
            counts.into_iter().map(|(zone, (up, down))| (zone.to_owned(), (self.state(up, down), up + down))).collect();
        self.zones.retain(|zone, _| states.contains_key(zone));
        let was_down = std::mem::replace(
            &mut self.all_down,
            !states.is_empty() && states.values().all(|(state, _)| *state == State::Full),
        );
        let mut changed = false;
        for (zone, (state, size)) in states {
            let rate = if self.all_down { 0.0 } else { self.rate(state, size) };
            let known = self.zones.entry(zone).or_insert(Zone { state: State::Initial, rate, next: Timestamp::MIN });
            changed |= known.state != state || known.rate != rate;
            (known.state, known.rate) = (state, rate);
        }
        match (was_down, self.all_down) {
            (false, true) => Shift::AllDown,
            (true, false) => Shift::SomeUp,
            _ if changed => Shift::Rates,
            _ => Shift::Nothing,
        }
    }

    fn state(&self, up: usize, down: usize) -> State {
        match (up, down) {
            (0, 1..) => State::Full,
            (_, 3..) if down as f64 / (up + down) as f64 >= self.rates.unhealthy_zone => State::Partial,
            _ => State::Normal,
        }
    }

    fn rate(&self, state: State, size: usize) -> f64 {
        match state {
            State::Partial if size > self.rates.large_cluster => self.rates.secondary,
            State::Partial => 0.0,
            _ => self.rates.eviction,
        }
    }

    /// Whether it is a node of this zone's turn; taking the turn makes the next one wait.
    pub(super) fn take_turn(&mut self, zone: &str, now: Timestamp) -> Turn {
        let Some(zone) = self.zones.get_mut(zone).filter(|z| z.rate > 0.0) else { return Turn::Never };
        if now < zone.next {
            return Turn::After(Duration::try_from(zone.next.duration_since(now)).unwrap_or_default());
        }
        zone.next = now.checked_add(SignedDuration::from_secs_f64(1.0 / zone.rate)).unwrap_or(Timestamp::MAX);
        Turn::Now
    }
}
