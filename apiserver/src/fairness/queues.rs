//! One level's requests: which run, which wait in which queue, and who is next.
//!
//! Enter at [`FairQueues::arrive`] and [`FairQueues::leave`]. Fair queuing for servers (Kubernetes concept: "API Priority
//! and Fairness", queuing): every queue that has work gets the same share of the seats. A progress meter counts the
//! seat-seconds that each of them got; a queue's next request would begin where its last one ended on that meter, and the
//! one that would end first is taken. Pure: the time is an argument, and nobody waits here.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::hand;

/// How long a request is taken to run until it is known, in seconds.
const SERVICE_SECONDS: f64 = 0.003;

/// What becomes of requests that find no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discipline {
    /// They run anyway.
    Exempt,
    Reject,
    Queue {
        queues: usize,
        hand: usize,
        length_max: usize,
    },
}

/// Names a request of a level.
pub type Ticket = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    NoSeat,
    QueueFull,
}

impl Refusal {
    /// Upstream's word in `apiserver_flowcontrol_rejected_requests_total`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoSeat => "concurrency-limit",
            Self::QueueFull => "queue-full",
        }
    }
}

#[derive(Debug)]
pub struct Arrival {
    pub ticket: Ticket,
    /// It waits behind so many, itself counted; `None` where nothing queues.
    pub queue_length: Option<usize>,
    /// Who runs from now on; the one that has come may be among them.
    pub started: Vec<Ticket>,
}

#[derive(Debug)]
pub struct Departure {
    /// How long it ran; `None`: it gave up waiting.
    pub ran: Option<Duration>,
    pub started: Vec<Ticket>,
}

/// What a level holds, as it is told to who looks into the server.
#[derive(Debug, Default)]
pub struct Digest {
    pub queues: Vec<QueueDigest>,
    /// Those that wait, in their order, then those that run, queue by queue; last those of no queue.
    pub requests: Vec<RequestDigest>,
}

#[derive(Debug, PartialEq)]
pub struct QueueDigest {
    pub waiting: usize,
    pub executing: usize,
    pub seats_in_use: usize,
    pub seats_waiting: usize,
    /// Where its next request begins, and what those that wait will cost: seat-seconds.
    pub start: f64,
    pub work_waiting: f64,
}

#[derive(Debug, PartialEq)]
pub struct RequestDigest {
    pub ticket: Ticket,
    pub queue: Option<usize>,
    /// In its queue; `None`: it runs.
    pub position: Option<usize>,
    pub seats: usize,
    pub started: Option<Instant>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Ticket>,
    work_waiting: f64,
    executing: usize,
    seats_in_use: usize,
    /// Where its next request would begin on the progress meter.
    start: f64,
}

impl Queue {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.executing == 0
    }
}

#[derive(Debug)]
struct Request {
    queue: Option<usize>,
    seats: usize,
    /// The progress meter when it came.
    arrived: f64,
    started: Option<Instant>,
}

impl Request {
    fn work(&self) -> f64 {
        self.seats as f64 * SERVICE_SECONDS
    }
}

#[derive(Debug)]
pub struct FairQueues {
    discipline: Discipline,
    seats_max: usize,
    queues: Vec<Queue>,
    /// Queues in which somebody waits.
    waiting_queues: BTreeSet<usize>,
    /// Queues in which somebody waits or runs.
    active: usize,
    requests: HashMap<Ticket, Request>,
    next_ticket: Ticket,
    /// Seat-seconds that each queue could have had.
    progress: f64,
    as_of: Instant,
    last_served: usize,
    seats_in_use: usize,
    seats_waiting: usize,
    executing: usize,
}

impl FairQueues {
    pub fn new(discipline: Discipline, seats_max: usize, now: Instant) -> Self {
        let mut new = Self {
            discipline,
            seats_max,
            queues: Vec::new(),
            waiting_queues: BTreeSet::new(),
            active: 0,
            requests: HashMap::new(),
            next_ticket: 0,
            progress: 0.0,
            as_of: now,
            last_served: 0,
            seats_in_use: 0,
            seats_waiting: 0,
            executing: 0,
        };
        new.fit_queues();
        new
    }

    /// Seats that run or are waited for.
    pub fn seats_wanted(&self) -> usize {
        self.seats_in_use + self.seats_waiting
    }

    pub fn digest(&self) -> Digest {
        let of = |ticket: &Ticket, position| {
            let Request { queue, seats, started, .. } = self.requests[ticket];
            RequestDigest { ticket: *ticket, queue, position, seats, started }
        };
        let mut running: Vec<RequestDigest> = self
            .requests
            .iter()
            .filter(|(_, request)| request.started.is_some())
            .map(|(ticket, _)| of(ticket, None))
            .collect();
        running.sort_by_key(|request| request.ticket);
        let mut digest = Digest::default();
        for (index, queue) in self.queues.iter().enumerate() {
            let waiting = queue.waiting.iter().enumerate().map(|(position, ticket)| of(ticket, Some(position)));
            let before = digest.requests.len();
            digest.requests.extend(waiting);
            digest.queues.push(QueueDigest {
                waiting: queue.waiting.len(),
                executing: queue.executing,
                seats_in_use: queue.seats_in_use,
                seats_waiting: digest.requests[before..].iter().map(|request| request.seats).sum(),
                start: queue.start,
                work_waiting: queue.work_waiting,
            });
            digest.requests.extend(running.extract_if(.., |request| request.queue == Some(index)));
        }
        digest.requests.append(&mut running);
        digest
    }

    /// Other settings from now on. Who waits goes on waiting where it is.
    pub fn reshape(&mut self, discipline: Discipline, seats_max: usize, now: Instant) -> Vec<Ticket> {
        self.advance(now);
        self.discipline = discipline;
        self.seats_max = seats_max;
        self.fit_queues();
        self.dispatch(now)
    }

    pub fn arrive(&mut self, hash: u64, seats: usize, now: Instant) -> Result<Arrival, Refusal> {
        self.advance(now);
        let Discipline::Queue { queues, hand, length_max } = self.discipline else {
            return self.arrive_unqueued(seats, now);
        };
        let index = self.choose_queue(&hand::deal(hash, queues, hand));
        if self.seats_in_use >= self.seats_max && self.queues[index].waiting.len() >= length_max {
            return Err(Refusal::QueueFull);
        }
        let ticket = self.admit(Some(index), seats, None);
        let queue = &mut self.queues[index];
        if queue.is_idle() {
            queue.start = self.progress;
            self.active += 1;
        }
        queue.waiting.push_back(ticket);
        queue.work_waiting += seats as f64 * SERVICE_SECONDS;
        let length = queue.waiting.len();
        self.waiting_queues.insert(index);
        self.seats_waiting += seats;
        self.bound(index);
        Ok(Arrival { ticket, queue_length: Some(length), started: self.dispatch(now) })
    }

    fn arrive_unqueued(&mut self, seats: usize, now: Instant) -> Result<Arrival, Refusal> {
        if !self.fits(seats) {
            return Err(Refusal::NoSeat);
        }
        let ticket = self.admit(None, seats, Some(now));
        self.executing += 1;
        self.seats_in_use += seats;
        Ok(Arrival { ticket, queue_length: None, started: vec![ticket] })
    }

    fn admit(&mut self, queue: Option<usize>, seats: usize, started: Option<Instant>) -> Ticket {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.requests.insert(ticket, Request { queue, seats, arrived: self.progress, started });
        ticket
    }

    /// A request has run, or gives up waiting. Nothing happens for a ticket that has left.
    pub fn leave(&mut self, ticket: Ticket, now: Instant) -> Departure {
        self.advance(now);
        let Some(request) = self.requests.remove(&ticket) else {
            return Departure { ran: None, started: Vec::new() };
        };
        let ran = request.started.map(|started| now.duration_since(started));
        match ran {
            Some(ran) => self.finish(&request, ran),
            None => self.give_up(ticket, &request),
        }
        if let Some(index) = request.queue {
            if self.queues[index].is_idle() {
                self.active -= 1;
            }
            self.bound(index);
            self.fit_queues();
        }
        Departure { ran, started: self.dispatch(now) }
    }

    fn finish(&mut self, request: &Request, ran: Duration) {
        self.executing -= 1;
        self.seats_in_use -= request.seats;
        let Some(index) = request.queue else { return };
        let queue = &mut self.queues[index];
        queue.executing -= 1;
        queue.seats_in_use -= request.seats;
        // It was charged for a guess; now the truth is known.
        queue.start += request.seats as f64 * ran.as_secs_f64() - request.work();
    }

    fn give_up(&mut self, ticket: Ticket, request: &Request) {
        let Some(index) = request.queue else { return };
        self.queues[index].waiting.retain(|waiting| *waiting != ticket);
        self.unwait(index, request.seats, request.work());
    }

    /// Takes one that left a queue's line out of the sums.
    fn unwait(&mut self, index: usize, seats: usize, work: f64) {
        let queue = &mut self.queues[index];
        queue.work_waiting -= work;
        self.seats_waiting -= seats;
        if queue.waiting.is_empty() {
            queue.work_waiting = 0.0;
            self.waiting_queues.remove(&index);
        }
    }

    /// Of the hand's queues the one with the least work waiting. Where the look begins moves on, so that flows whose
    /// hands overlap do not all prefer the same one.
    fn choose_queue(&self, hand: &[usize]) -> usize {
        let offset = (self.next_ticket as usize) % hand.len();
        let in_turn = (0..hand.len()).map(|step| hand[(offset + step) % hand.len()]);
        in_turn.min_by(|a, b| self.queues[*a].work_waiting.total_cmp(&self.queues[*b].work_waiting)).unwrap_or_default()
    }

    /// The meter goes on as fast as each active queue could be served.
    fn advance(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.as_of);
        self.as_of = now;
        if self.active > 0 {
            let rate = self.seats_wanted().min(self.seats_max) as f64 / self.active as f64;
            self.progress += rate * passed.as_secs_f64();
        }
    }

    /// A queue that was served less than its share must not save that up: nothing begins before it came.
    fn bound(&mut self, index: usize) {
        let Some(head) = self.queues[index].waiting.front() else { return };
        let arrived = self.requests[head].arrived;
        let queue = &mut self.queues[index];
        queue.start = queue.start.max(arrived);
    }

    fn fits(&self, seats: usize) -> bool {
        match self.discipline {
            Discipline::Exempt => true,
            // One that is wider than the level runs alone.
            _ if seats > self.seats_max => self.executing == 0,
            _ => self.seats_in_use + seats <= self.seats_max,
        }
    }

    fn dispatch(&mut self, now: Instant) -> Vec<Ticket> {
        let mut started = Vec::new();
        while self.seats_in_use < self.seats_max
            && let Some((index, ticket)) = self.next()
            && self.fits(self.requests[&ticket].seats)
        {
            self.start(index, ticket, now);
            started.push(ticket);
        }
        started
    }

    fn start(&mut self, index: usize, ticket: Ticket, now: Instant) {
        let Some(request) = self.requests.get_mut(&ticket) else { return };
        request.started = Some(now);
        let (seats, work) = (request.seats, request.work());
        let queue = &mut self.queues[index];
        queue.waiting.pop_front();
        queue.executing += 1;
        queue.seats_in_use += seats;
        queue.start += work;
        self.unwait(index, seats, work);
        self.executing += 1;
        self.seats_in_use += seats;
        self.last_served = index;
        self.bound(index);
    }

    /// The oldest request of the queue that would be done with it first; of equals the one whose turn is next.
    fn next(&self) -> Option<(usize, Ticket)> {
        let after = self.waiting_queues.range(self.last_served + 1..);
        let in_turn = after.chain(self.waiting_queues.range(..=self.last_served)).copied();
        let heads = in_turn.filter_map(|index| Some((index, *self.queues[index].waiting.front()?)));
        let end = |(index, ticket): &(usize, Ticket)| self.queues[*index].start + self.requests[ticket].work();
        heads.min_by(|a, b| end(a).total_cmp(&end(b)))
    }

    /// As many queues as are dealt from; those that are too many go once they are empty.
    fn fit_queues(&mut self) {
        let wanted = match self.discipline {
            Discipline::Queue { queues, .. } => queues,
            _ => 0,
        };
        if self.queues.len() < wanted {
            self.queues.resize_with(wanted, Queue::default);
        }
        while self.queues.len() > wanted && self.queues.last().is_some_and(Queue::is_idle) {
            self.queues.pop();
        }
    }
}

#[cfg(test)]
mod tests;
