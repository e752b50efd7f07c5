//! How many requests run at a time, and how long each may take.
//!
//! Enter at [`Limits::enter`]. Places are given by priority and fairness ([`crate::fairness`]). Without it
//! (`--enable-priority-and-fairness=false`) there are so many for reads and so many for writes; one user then never holds
//! more than three quarters of them, so that a client which asks without end leaves room for the others. Who finds no
//! place is told to come again (429).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use component::flags::Values;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use machinery::status::Status;

use crate::api::Api;
use crate::fairness::{Asked, Fairness, Marks, Refused, Seat};
use crate::http_body::{Response, full};
use crate::request::{MASTERS, Query, RequestInfo, User};

/// The longest that a request waits for its place.
const PATIENCE_MAX: Duration = Duration::from_secs(60);

/// Places for reads and for writes.
pub struct Limits {
    reads: Arc<Lane>,
    writes: Arc<Lane>,
    pub fairness: Option<Arc<Fairness>>,
    request_timeout: Duration,
    watch_min: Duration,
    /// How many objects of a collection are deleted at a time.
    pub collection_workers: usize,
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
    seat: Option<Seat>,
}

/// There is no place.
#[derive(Debug, PartialEq, Eq)]
pub struct TooMany {
    pub retry_after_seconds: u64,
}

impl Limits {
    pub fn from_flags(values: &Values) -> Self {
        let places = |name| usize::try_from(values.int(name)).unwrap_or(0);
        let (reads, writes) = (places("max-requests-inflight"), places("max-mutating-requests-inflight"));
        let fairness = values.bool("enable-priority-and-fairness").then(|| Arc::new(Fairness::new(reads + writes)));
        // The seats of fairness are for both; the lanes then only count.
        let of_lane = |places| Lane::of(if fairness.is_some() { 0 } else { places });
        Self {
            reads: of_lane(reads),
            writes: of_lane(writes),
            fairness: fairness.clone(),
            request_timeout: values.duration("request-timeout"),
            watch_min: Duration::from_secs(values.int("min-request-timeout").unsigned_abs()),
            collection_workers: places("delete-collection-workers").max(1),
        }
    }

    /// A watch that names no end lasts so long, and up to twice as long.
    pub fn watch_min(&self) -> Duration {
        self.watch_min
    }

    /// A place for a request, and how it was sorted. With fairness off the cluster's masters always find one, as
    /// upstream has it; a watch needs none then. `objects`: how many it will look at, 0 when it is no list.
    pub async fn enter(
        &self,
        info: &RequestInfo,
        user: &User,
        objects: usize,
        deadline: Duration,
    ) -> (Option<Arc<Marks>>, Result<Option<Place>, TooMany>) {
        let lane = if is_mutating(info) { &self.writes } else { &self.reads };
        let Some(fairness) = &self.fairness else {
            let place = match info.verb.as_str() {
                "watch" => Ok(None),
                _ => lane.enter(&user.name, user.is_in(MASTERS)).map(Some),
            };
            return (None, place);
        };
        let patience = (deadline / 4).min(PATIENCE_MAX);
        let (marks, seat) = fairness.take_seat(Asked { info, user, objects, patience }).await;
        let place = seat.map(|seat| Some(lane.admit(&user.name, seat)));
        (Some(marks), place.map_err(|Refused { retry_after_seconds }| TooMany { retry_after_seconds }))
    }

    /// The most reads and writes that ran at once since the last call.
    pub fn take_peaks(&self) -> (usize, usize) {
        (self.reads.take_peak(), self.writes.take_peak())
    }

    /// How long a request may take: the server's limit, or less when the client asks for less. Watches and streams are
    /// not asked.
    pub fn deadline(&self, info: &RequestInfo, query: &Query) -> Result<Duration, Status> {
        let asked = query.text("timeout").filter(|_| !is_long_running(info));
        let Some(asked) = asked else { return Ok(self.request_timeout) };
        let asked = machinery::duration::parse(asked)
            .map_err(|error| Status::bad_request(format!("invalid timeout specified in the request URL - {error}")))?;
        // Nothing, or less, is as if nothing was said.
        let asked = Duration::try_from(asked).ok().filter(|asked| !asked.is_zero());
        Ok(asked.map_or(self.request_timeout, |asked| asked.min(self.request_timeout)))
    }
}

/// How many objects a list, or a watch that begins with one, looks at.
pub fn objects_read(api: &Api, info: &RequestInfo, query: &Query) -> usize {
    let begins_with_list =
        || query.is_true("sendInitialEvents") || matches!(query.get("resourceVersion").unwrap_or_default(), "" | "0");
    let lists = match info.verb.as_str() {
        "list" => true,
        "watch" => begins_with_list(),
        _ => false,
    };
    if !lists || !info.name.is_empty() {
        return 0;
    }
    let served = api.catalogue.find(&info.group, &info.version, &info.resource);
    let count = served.map_or(0, |served| api.cache.count(served.id));
    let limit = query.text("limit").and_then(|limit| limit.parse().ok()).filter(|limit| *limit > 0);
    limit.map_or(count, |limit: usize| limit.min(count))
}

/// Upstream's answer to who finds no place: text, not a Status.
pub fn too_many(retry_after_seconds: u64) -> Response {
    let mut response = Response::new(full("Too many requests, please try again later.\n"));
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert(RETRY_AFTER, retry_after_seconds.into());
    response
}

/// Watches and streams have no deadline, and a place at most until they have begun.
pub fn is_long_running(info: &RequestInfo) -> bool {
    matches!(info.verb.as_str(), "watch" | "proxy")
        || matches!(info.subresource.as_str(), "attach" | "exec" | "proxy" | "log" | "portforward")
}

fn is_mutating(info: &RequestInfo) -> bool {
    !matches!(info.verb.as_str(), "get" | "list" | "watch" | "head" | "options")
}

impl State {
    fn count(&mut self, user: &str) {
        self.running += 1;
        self.peak = self.peak.max(self.running);
        *self.by_user.entry(user.to_owned()).or_default() += 1;
    }
}

impl Lane {
    fn of(places: usize) -> Arc<Self> {
        Arc::new(Self { places, state: Mutex::default() })
    }

    fn enter(self: &Arc<Self>, user: &str, always: bool) -> Result<Place, TooMany> {
        let mut state = self.lock();
        let own = state.by_user.get(user).copied().unwrap_or(0);
        let share = self.places - self.places / 4;
        if self.places > 0 && !always && (state.running >= self.places || own >= share) {
            return Err(TooMany { retry_after_seconds: 1 });
        }
        state.count(user);
        Ok(Place { lane: self.clone(), user: user.to_owned(), seat: None })
    }

    /// For one that has its seat already.
    fn admit(self: &Arc<Self>, user: &str, seat: Seat) -> Place {
        self.lock().count(user);
        Place { lane: self.clone(), user: user.to_owned(), seat: Some(seat) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_peak(&self) -> usize {
        let mut state = self.lock();
        let now = state.running;
        std::mem::replace(&mut state.peak, now)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.seat = None;
        let mut state = self.lane.lock();
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
        assert_eq!(lane.enter("a", false).err(), Some(TooMany { retry_after_seconds: 1 }));
        let other = lane.enter("b", false).ok().unwrap();
        assert_eq!(lane.enter("c", false).err(), Some(TooMany { retry_after_seconds: 1 }));
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
