//! What the signals come to over time: which pressures the node has, and whether pods must go. Pure: time is an argument.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use jiff::Timestamp;

use super::signal::{Pressure, Signal, Threshold};

/// One signal as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    pub available: i64,
    pub capacity: i64,
}

pub type Observations = BTreeMap<Signal, Observation>;

/// A threshold that asks for pods to go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Starving {
    pub threshold: Threshold,
    /// The amount below which nothing may fall.
    pub limit: i64,
    pub available: i64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct State {
    thresholds: Vec<Threshold>,
    /// How long a pressure is told after it was seen last.
    transition: Duration,
    /// Thresholds by their place, and since when they are met.
    met_since: HashMap<usize, Timestamp>,
    seen_at: HashMap<Pressure, Timestamp>,
}

/// What a look came to.
#[derive(Debug, Default, PartialEq)]
pub struct Verdict {
    pub pressures: BTreeSet<Pressure>,
    /// The threshold to act upon, memory before all else.
    pub starving: Option<Starving>,
}

impl State {
    pub fn new(thresholds: Vec<Threshold>, transition: Duration) -> Self {
        Self { thresholds, transition, ..Self::default() }
    }

    /// Takes new observations in.
    pub fn look(&mut self, observations: &Observations, now: Timestamp) -> Verdict {
        let mut starving: Vec<Starving> = Vec::new();
        for (place, threshold) in self.thresholds.iter().enumerate() {
            let Some(seen) = observations.get(&threshold.signal).filter(|it| it.capacity > 0) else { continue };
            let was_met = self.met_since.contains_key(&place);
            // What was short stays short until the minimum is reclaimed as well.
            let reclaim = threshold.min_reclaim.filter(|_| was_met).map_or(0, |more| more.of(seen.capacity));
            let limit = threshold.limit.of(seen.capacity);
            if seen.available >= limit.saturating_add(reclaim) {
                self.met_since.remove(&place);
                continue;
            }
            let since = *self.met_since.entry(place).or_insert(now);
            self.seen_at.insert(threshold.signal.pressure(), now);
            if age(since, now) >= threshold.grace.unwrap_or_default() {
                starving.push(Starving { threshold: *threshold, limit, available: seen.available });
            }
        }
        self.seen_at.retain(|_, seen_at| age(*seen_at, now) < self.transition.max(Duration::from_nanos(1)));
        starving.sort_by_key(|it| (it.threshold.signal, it.threshold.grace.is_some()));
        Verdict { pressures: self.seen_at.keys().copied().collect(), starving: starving.into_iter().next() }
    }
}

fn age(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{super::signal::Limit, *};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn memory(available: i64) -> Observations {
        [(Signal::MemoryAvailable, Observation { available, capacity: 1000 })].into()
    }

    fn threshold(grace: Option<u64>, min_reclaim: Option<i64>) -> Threshold {
        Threshold {
            signal: Signal::MemoryAvailable,
            limit: Limit::Percent(10.0),
            grace: grace.map(Duration::from_secs),
            min_reclaim: min_reclaim.map(Limit::Amount),
        }
    }

    #[test]
    fn a_hard_threshold_acts_at_once_and_its_pressure_stays_a_while() {
        let mut state = State::new(vec![threshold(None, None)], Duration::from_secs(300));
        assert_eq!(state.look(&memory(100), at(0)), Verdict::default(), "just enough");
        let short = state.look(&memory(99), at(10));
        assert_eq!(short.starving.map(|it| (it.limit, it.available)), Some((100, 99)));
        assert!(short.pressures.contains(&Pressure::Memory));
        let well = state.look(&memory(500), at(20));
        assert!(well.starving.is_none() && well.pressures.contains(&Pressure::Memory), "told on for five minutes");
        assert!(state.look(&memory(500), at(311)).pressures.is_empty());
    }

    #[test]
    fn a_soft_threshold_waits_for_its_grace() {
        let mut state = State::new(vec![threshold(Some(60), None)], Duration::ZERO);
        assert!(state.look(&memory(50), at(0)).starving.is_none());
        assert!(state.look(&memory(50), at(59)).starving.is_none());
        assert!(state.look(&memory(50), at(60)).starving.is_some());
        assert!(state.look(&memory(500), at(61)).starving.is_none());
        assert!(state.look(&memory(50), at(62)).starving.is_none(), "counted anew");
    }

    #[test]
    fn the_minimum_is_reclaimed_before_it_is_well() {
        let mut state = State::new(vec![threshold(None, Some(50))], Duration::ZERO);
        assert!(state.look(&memory(120), at(0)).starving.is_none());
        assert!(state.look(&memory(90), at(1)).starving.is_some());
        assert!(state.look(&memory(120), at(2)).starving.is_some());
        assert!(state.look(&memory(150), at(3)).starving.is_none());
    }
}
