//! A priority level at work: its queues behind a lock, and who waits for a seat.
//!
//! Enter at [`Level::take_seat`]. The lock is held for a decision, never across an await.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::demand::{Demand, Period};
use super::queues::{Digest, Discipline, FairQueues, Refusal, Ticket};
use super::series::FlowSeries;
use crate::request::RequestInfo;

pub struct Level {
    pub name: String,
    state: Mutex<State>,
}

struct State {
    queues: FairQueues,
    waiters: HashMap<Ticket, oneshot::Sender<()>>,
    known: HashMap<Ticket, Known>,
    counts: Counts,
    demand: Demand,
}

/// What became of a level's requests since the server runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub dispatched: u64,
    pub rejected: u64,
    pub timed_out: u64,
    pub cancelled: u64,
}

/// A request as it is told to who looks into the server.
#[derive(Clone)]
pub struct Known {
    pub series: Arc<FlowSeries>,
    pub origin: Origin,
    pub came: Instant,
}

/// Who asks for what.
#[derive(Clone, Default)]
pub struct Origin {
    pub distinguisher: String,
    pub user: String,
    pub info: RequestInfo,
}

impl State {
    fn wake(&mut self, started: &[Ticket]) {
        self.counts.dispatched += started.len() as u64;
        for ticket in started {
            // One that has just given up is not there to hear; its seat comes back when its ticket is dropped.
            let _ = self.waiters.remove(ticket).map(|waiter| waiter.send(()));
        }
    }

    fn note_demand(&mut self, now: Instant) {
        let wanted = self.queues.seats_wanted();
        self.demand.set(wanted, now);
    }
}

/// A place among a level's requests, given back when it is dropped, whether it waited or ran.
pub struct Seat {
    level: Arc<Level>,
    series: Arc<FlowSeries>,
    ticket: Ticket,
    seats: usize,
    is_watch: bool,
    runs: bool,
    waited_in_vain: bool,
}

/// What a request brings with it.
pub struct Demanded {
    pub series: Arc<FlowSeries>,
    pub origin: Origin,
    pub flow: u64,
    pub seats: usize,
    pub is_watch: bool,
    /// How long it may wait.
    pub patience: Duration,
}

impl Level {
    pub fn new(name: &str, discipline: Discipline, seats: usize) -> Self {
        let now = Instant::now();
        let queues = FairQueues::new(discipline, seats, now);
        let state = State {
            queues,
            waiters: HashMap::new(),
            known: HashMap::new(),
            counts: Counts::default(),
            demand: Demand::new(now),
        };
        Self { name: name.to_owned(), state: Mutex::new(state) }
    }

    // A panic while the lock is held cannot leave a half-made step that matters more than serving on.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn reshape(&self, discipline: Discipline, seats: usize) {
        let mut state = self.lock();
        let started = state.queues.reshape(discipline, seats, Instant::now());
        state.wake(&started);
    }

    /// All requests that wait or run now, and what became of the others.
    pub fn digest(&self) -> (Digest, HashMap<Ticket, Known>, Counts) {
        let state = self.lock();
        (state.queues.digest(), state.known.clone(), state.counts)
    }

    /// Whether nobody waits or runs.
    pub fn is_idle(&self) -> bool {
        self.lock().known.is_empty()
    }

    /// Ends a period of demand.
    pub fn take_demand(&self) -> Period {
        self.lock().demand.take(Instant::now())
    }

    /// Waits for a seat as long as the request has patience. The error is upstream's word for why there is none.
    ///
    /// Dropping the future gives the place up.
    pub async fn take_seat(self: &Arc<Self>, demanded: Demanded) -> Result<Seat, &'static str> {
        let patience = demanded.patience;
        demanded.series.seats.observe(demanded.seats as f64);
        let begun = Instant::now();
        let (mut seat, waits) = self.arrive(demanded).map_err(Refusal::reason)?;
        if let Some(turn) = waits
            && tokio::time::timeout(patience, turn).await.is_err()
        {
            seat.waited_in_vain = true;
            seat.series.waited_in_vain.observe(begun.elapsed().as_secs_f64());
            return Err("time-out");
        }
        seat.series.waited.observe(begun.elapsed().as_secs_f64());
        seat.run();
        Ok(seat)
    }

    fn arrive(self: &Arc<Self>, demanded: Demanded) -> Result<(Seat, Option<oneshot::Receiver<()>>), Refusal> {
        let Demanded { series, origin, flow, seats, is_watch, patience: _ } = demanded;
        let mut state = self.lock();
        let now = Instant::now();
        let arrival = state.queues.arrive(flow, seats, now).inspect_err(|_| state.counts.rejected += 1)?;
        state.note_demand(now);
        let ticket = arrival.ticket;
        state.known.insert(ticket, Known { series: series.clone(), origin, came: now });
        let waits = (!arrival.started.contains(&ticket)).then(|| {
            let (sender, receiver) = oneshot::channel();
            state.waiters.insert(ticket, sender);
            receiver
        });
        state.wake(&arrival.started);
        if let Some(length) = arrival.queue_length {
            series.queue_length.observe(length as f64);
        }
        series.waiting.inc();
        series.waiting_seats.add(seats as i64);
        let seat = Seat { level: self.clone(), series, ticket, seats, is_watch, runs: false, waited_in_vain: false };
        Ok((seat, waits))
    }
}

impl Seat {
    fn run(&mut self) {
        self.runs = true;
        self.series.waiting.dec();
        self.series.waiting_seats.sub(self.seats as i64);
        self.series.executing.inc();
        self.series.executing_seats.add(self.seats as i64);
        self.series.dispatched.inc();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.level.lock();
        let now = Instant::now();
        state.waiters.remove(&self.ticket);
        state.known.remove(&self.ticket);
        match (self.runs, self.waited_in_vain) {
            (true, _) => {}
            (false, true) => state.counts.timed_out += 1,
            (false, false) => state.counts.cancelled += 1,
        }
        let left = state.queues.leave(self.ticket, now);
        state.wake(&left.started);
        state.note_demand(now);
        drop(state);
        let series = &self.series;
        if self.runs {
            series.executing.dec();
            series.executing_seats.sub(self.seats as i64);
            let duration = if self.is_watch { &series.watch_began } else { &series.ran };
            duration.observe(left.ran.unwrap_or_default().as_secs_f64());
        } else {
            series.waiting.dec();
            series.waiting_seats.sub(self.seats as i64);
        }
    }
}

#[cfg(test)]
impl Demanded {
    /// Of a request for one seat that waits a minute.
    pub fn of_nobody(level: &str) -> Self {
        let (series, patience) = (Arc::new(FlowSeries::of(level, "test")), Duration::from_secs(60));
        Self { series, origin: Origin::default(), flow: 0, seats: 1, is_watch: false, patience }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demanded(patience: Duration) -> Demanded {
        Demanded { patience, ..Demanded::of_nobody("test") }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_refused_and_leaves_nothing_behind() {
        let queue = Discipline::Queue { queues: 1, hand: 1, length_max: 10 };
        let level = Arc::new(Level::new("test", queue, 1));
        let minute = Duration::from_secs(60);
        let running = level.take_seat(demanded(minute)).await.ok().unwrap();
        assert_eq!(level.take_seat(demanded(Duration::from_secs(1))).await.err(), Some("time-out"));
        let dropped = tokio::time::timeout(Duration::from_secs(1), level.take_seat(demanded(minute))).await;
        assert!(dropped.is_err());
        assert_eq!(level.lock().queues.seats_wanted(), 1);
        let (waited, ()) = tokio::join!(level.take_seat(demanded(minute)), async {
            tokio::task::yield_now().await;
            drop(running);
        });
        assert!(waited.is_ok());
        drop(waited);
        let state = level.lock();
        assert_eq!((state.queues.seats_wanted(), state.waiters.len(), state.known.len()), (0, 0, 0));
        assert_eq!(state.counts, Counts { dispatched: 2, rejected: 0, timed_out: 1, cancelled: 1 });
    }
}
