//! Events that wait and go on many at a time, beside the requests (Kubernetes concept: "Auditing", event batching).
//!
//! Enter at [`Queue::push`]. The task that takes events on is started by [`Queue::start`] and ends, when all have gone on,
//! after [`Queue::close`]. What an event is and where it goes, [`Deliver`] knows.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use component::client::Limiter;
use component::flags::Values;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};

use super::backend::Mode;
use super::truncate::Limits;

/// How long the end of the server waits for what has not gone on yet.
const LAST_PATIENCE: Duration = Duration::from_secs(10);
/// Places of the requests that wait for their events: more than may run.
const WAITERS_MAX: usize = 10_000;

/// Takes encoded events to where they go, and says whether they arrived. It tells of those that did not.
pub type Deliver = Box<dyn Fn(Vec<Vec<u8>>) -> BoxFuture<'static, bool> + Send>;

/// How many events at a time, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    buffer_size: usize,
    batch_size_max: usize,
    batch_bytes_max: usize,
    wait_max: Duration,
    /// Batches a second, and at once.
    rate: Option<(f64, u32)>,
    /// One batch after the other, or side by side.
    in_order: bool,
}

impl Pace {
    /// `plugin`: `log`, `webhook`. A file's lines are written in their order, a server is sent batches side by side.
    pub fn from_flags(values: &Values, plugin: &str, mode: Mode, limits: Option<Limits>) -> Result<Self, String> {
        let in_order = plugin == "log";
        let batch_bytes_max = limits.map_or(usize::MAX, |limits| limits.batch_bytes_max);
        if mode != Mode::Batch {
            let wait_max = Duration::ZERO;
            let buffer_size = WAITERS_MAX;
            return Ok(Self { buffer_size, batch_size_max: 1, batch_bytes_max, wait_max, rate: None, in_order });
        }
        let flag = |name: &str| format!("audit-{plugin}-batch-{name}");
        let positive = |name: &str, words: &str| {
            let given = values.int(&flag(name));
            let number = usize::try_from(given).ok().filter(|number| *number > 0);
            number.ok_or_else(|| format!("invalid audit batch {plugin} {words} {given}, must be a positive number"))
        };
        let (buffer_size, batch_size_max) =
            (positive("buffer-size", "buffer size")?, positive("max-size", "max batch size")?);
        let rate = match values.bool(&flag("throttle-enable")) {
            false => None,
            true => {
                let qps = values.float(&flag("throttle-qps"));
                if qps <= 0.0 {
                    return Err(format!("invalid audit batch {plugin} throttle QPS {qps}, must be a positive number"));
                }
                let burst = positive("throttle-burst", "throttle burst")?;
                Some((qps, u32::try_from(burst).unwrap_or(u32::MAX)))
            }
        };
        let wait_max = values.duration(&flag("max-wait"));
        Ok(Self { buffer_size, batch_size_max, batch_bytes_max, wait_max, rate, in_order })
    }
}

/// An event on its way, and who waits for it to arrive.
struct Item {
    event: Vec<u8>,
    waits: Option<oneshot::Sender<bool>>,
}

pub struct Queue {
    sender: Mutex<Option<mpsc::Sender<Item>>>,
    waiting: Mutex<Option<Sending>>,
    running: Mutex<Option<JoinHandle<()>>>,
}

impl Queue {
    pub fn new(pace: Pace, deliver: Deliver) -> Self {
        let (sender, receiver) = mpsc::channel(pace.buffer_size);
        let sending = Sending { receiver, held: None, pace, deliver };
        Self { sender: Mutex::new(Some(sender)), waiting: Mutex::new(Some(sending)), running: Mutex::new(None) }
    }

    /// Begins to deliver. Once.
    pub fn start(&self) {
        if let Some(sending) = lock(&self.waiting).take() {
            *lock(&self.running) = Some(tokio::spawn(sending.run()));
        }
    }

    /// Nothing more is taken; returns when all is delivered, or after a while.
    pub async fn close(&self) {
        drop(lock(&self.sender).take());
        let running = lock(&self.running).take();
        if let Some(running) = running
            && timeout(LAST_PATIENCE, running).await.is_err()
        {
            tracing::warn!("audit events that could not be delivered in time are lost");
        }
    }

    /// `waits` is told whether the event arrived. An event that finds no place is lost, and the error says why.
    pub fn push(&self, event: Vec<u8>, waits: Option<oneshot::Sender<bool>>) -> Result<(), &'static str> {
        match &*lock(&self.sender) {
            None => Err("audit backend shut down"),
            Some(sender) => sender.try_send(Item { event, waits }).map_err(|_| "audit buffer queue blocked"),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Sending {
    receiver: mpsc::Receiver<Item>,
    /// The first event of the next batch, where it did not fit into the last.
    held: Option<Item>,
    pace: Pace,
    deliver: Deliver,
}

impl Sending {
    async fn run(mut self) {
        let throttle = self.pace.rate.map(|(qps, burst)| Limiter::new(Some(qps), Some(burst)));
        let mut sent = JoinSet::new();
        while let Some(batch) = self.next_batch().await {
            if let Some(throttle) = &throttle {
                throttle.acquire().await;
            }
            let (events, waits): (Vec<_>, Vec<_>) = batch.into_iter().map(|item| (item.event, item.waits)).unzip();
            let delivery = (self.deliver)(events);
            let tell = async move {
                let arrived = delivery.await;
                for waits in waits.into_iter().flatten() {
                    // Who waited may be gone.
                    let _ = waits.send(arrived);
                }
            };
            match self.pace.in_order {
                true => tell.await,
                false => drop(sent.spawn(tell)),
            }
            while sent.try_join_next().is_some() {}
        }
        while sent.join_next().await.is_some() {}
    }

    /// `None`: all have been taken, and no more will come.
    async fn next_batch(&mut self) -> Option<Vec<Item>> {
        let first = match self.held.take() {
            Some(held) => held,
            None => self.receiver.recv().await?,
        };
        let mut bytes = first.event.len();
        let mut batch = vec![first];
        let deadline = Instant::now() + self.pace.wait_max;
        while batch.len() < self.pace.batch_size_max {
            let Ok(Some(item)) = timeout_at(deadline, self.receiver.recv()).await else { break };
            bytes += item.event.len();
            if bytes > self.pace.batch_bytes_max {
                self.held = Some(item);
                break;
            }
            batch.push(item);
        }
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const PACE: Pace = Pace {
        buffer_size: 10,
        batch_size_max: 3,
        batch_bytes_max: 10,
        wait_max: Duration::from_secs(5),
        rate: None,
        in_order: true,
    };

    type Seen = Arc<Mutex<Vec<(u64, Vec<Vec<u8>>)>>>;

    /// A queue of that pace, and when which batches came, in seconds; each takes one to arrive.
    fn queue(pace: Pace) -> (Queue, Seen) {
        let (seen, begun) = (Seen::default(), Instant::now());
        let kept = seen.clone();
        let deliver: Deliver = Box::new(move |events| {
            lock(&kept).push((begun.elapsed().as_secs(), events));
            Box::pin(async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                true
            })
        });
        (Queue::new(pace, deliver), seen)
    }

    /// At which second batches of which sizes came, of events of one byte that were all there at first.
    async fn batches(pace: Pace, count: usize) -> Vec<(u64, usize)> {
        let (queue, seen) = queue(pace);
        for _ in 0..count {
            queue.push(vec![b'x'], None).unwrap();
        }
        queue.start();
        queue.close().await;
        lock(&seen).iter().map(|(at, events)| (*at, events.len())).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn batches_have_a_size_an_order_and_a_rate() {
        assert_eq!(batches(PACE, 7).await, [(0, 3), (1, 3), (2, 1)]);
        assert_eq!(batches(Pace { in_order: false, ..PACE }, 7).await, [(0, 3), (0, 3), (0, 1)]);
        assert_eq!(batches(Pace { batch_bytes_max: 2, ..PACE }, 3).await, [(0, 2), (1, 1)]);
        let slow = Pace { in_order: false, rate: Some((0.5, 1)), ..PACE };
        assert_eq!(batches(slow, 7).await, [(0, 3), (2, 3), (4, 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_waits_for_more_but_not_for_ever() {
        let (queue, seen) = queue(PACE);
        queue.start();
        let (sender, arrived) = oneshot::channel();
        queue.push(b"a".to_vec(), Some(sender)).unwrap();
        assert_eq!(arrived.await, Ok(true));
        assert_eq!(*lock(&seen), [(5, vec![b"a".to_vec()])]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_finds_no_place_is_refused() {
        let (queue, _) = queue(Pace { buffer_size: 1, ..PACE });
        queue.push(Vec::new(), None).unwrap();
        assert_eq!(queue.push(Vec::new(), None), Err("audit buffer queue blocked"));
        queue.start();
        queue.close().await;
        assert_eq!(queue.push(Vec::new(), None), Err("audit backend shut down"));
    }
}
