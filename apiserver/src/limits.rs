//! How many requests run at a time, and how long each may take.
//!
//! Upstream's flags (`--max-requests-inflight`, `--max-mutating-requests-inflight`, `--request-timeout`); who finds no
//! place is told to come again (429). One user never holds more than three quarters of the places, so that a client
//! which asks without end leaves room for the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use component::flags::Values;
use machinery::status::Status;

use crate::request::{MASTERS, Query, RequestInfo, User};

/// Places for reads and for writes.
pub struct Limits {
    reads: Arc<Lane>,
    writes: Arc<Lane>,
    request_timeout: Duration,
    watch_min: Duration,
}

/// Requests of one kind.
struct Lane {
    /// 0: no limit.
    places: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: usize,
    /// The most that ran at once since it was last asked.
    peak: usize,
    by_user: HashMap<String, usize>,
}

/// A place, given back when it is dropped.
pub struct Place {
    lane: Arc<Lane>,
    user: String,
}

/// There is no place.
#[derive(Debug, PartialEq, Eq)]
pub struct TooMany;

impl Limits {
    pub fn from_flags(values: &Values) -> Self {
        let places = |name| usize::try_from(values.int(name)).unwrap_or(0);
        Self {
            reads: Lane::of(places("max-requests-inflight")),
            writes: Lane::of(places("max-mutating-requests-inflight")),
            request_timeout: values.duration("request-timeout"),
            watch_min: Duration::from_secs(values.int("min-request-timeout").unsigned_abs()),
        }
    }

    /// A watch that names no end lasts so long, and up to twice as long.
    pub fn watch_min(&self) -> Duration {
        self.watch_min
    }

    /// A place for a request that is not long-running. The cluster's masters always find one, as upstream has it.
    pub fn enter(&self, info: &RequestInfo, user: &User) -> Result<Place, TooMany> {
        let lane = if is_mutating(info) { &self.writes } else { &self.reads };
        lane.enter(&user.name, user.is_in(MASTERS))
    }

    /// The most reads and writes that ran at once since the last call.
    pub fn take_peaks(&self) -> (usize, usize) {
        (self.reads.take_peak(), self.writes.take_peak())
    }

    /// How long a request may take: the server's limit, or less when the client asks for less.
    pub fn deadline(&self, query: &Query) -> Result<Duration, Status> {
        let Some(asked) = query.text("timeout") else { return Ok(self.request_timeout) };
        let asked = component::flags::parse_duration(asked)
            .map_err(|error| Status::bad_request(format!("invalid timeout specified in the request URL - {error}")))?;
        let asked = if asked.is_zero() { self.request_timeout } else { asked };
        Ok(asked.min(self.request_timeout))
    }
}

/// Watches and streams have no place and no deadline.
pub fn is_long_running(info: &RequestInfo) -> bool {
    matches!(info.verb.as_str(), "watch" | "proxy")
        || matches!(info.subresource.as_str(), "attach" | "exec" | "proxy" | "log" | "portforward")
}

fn is_mutating(info: &RequestInfo) -> bool {
    !matches!(info.verb.as_str(), "get" | "list" | "watch" | "head" | "options")
}

impl Lane {
    fn of(places: usize) -> Arc<Self> {
        Arc::new(Self { places, state: Mutex::default() })
    }

    fn enter(self: &Arc<Self>, user: &str, always: bool) -> Result<Place, TooMany> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let own = state.by_user.get(user).copied().unwrap_or(0);
        let share = self.places - self.places / 4;
        if self.places > 0 && !always && (state.running >= self.places || own >= share) {
            return Err(TooMany);
        }
        state.running += 1;
        state.peak = state.peak.max(state.running);
        *state.by_user.entry(user.to_owned()).or_default() += 1;
        drop(state);
        Ok(Place { lane: self.clone(), user: user.to_owned() })
    }

    fn take_peak(&self) -> usize {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = state.running;
        std::mem::replace(&mut state.peak, now)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.lane.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.running -= 1;
        if let Some(count) = state.by_user.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                state.by_user.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_holds_all_places() {
        let lane = Lane::of(4);
        let held: Vec<Place> = (0..3).map(|_| lane.enter("a", false).ok().unwrap()).collect();
        assert_eq!(lane.enter("a", false).err(), Some(TooMany));
        let other = lane.enter("b", false).ok().unwrap();
        assert_eq!(lane.enter("c", false).err(), Some(TooMany));
        let master = lane.enter("m", true).ok().unwrap();
        assert_eq!(lane.take_peak(), 5);
        drop((held, other, master));
        assert_eq!((lane.take_peak(), lane.take_peak()), (5, 0));
        assert!(lane.enter("a", false).is_ok());
    }

    #[test]
    fn no_limit_is_none() {
        let lane = Lane::of(0);
        let held: Vec<_> = (0..1000).map(|_| lane.enter("a", false)).collect();
        assert!(held.iter().all(Result::is_ok));
    }
}
