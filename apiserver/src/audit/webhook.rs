//! Events sent to a server, many at a time (Kubernetes concept: "Auditing", webhook backend).
//!
//! Enter at [`Webhook::write`]. The task that sends is started by [`Webhook::start`] and ends, when all has been sent or
//! given up, after [`Webhook::close`].

use std::io;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use component::client::{ClientConfig, Endpoint, connect_paced};
use component::flags::Values;
use component::random::Random;
use http::Request;
use http::header::CONTENT_TYPE;
use kube::client::Body;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};

use super::backend::{Mode, failed};
use super::event::Event;
use super::truncate::Limits;

/// How often a batch is sent, and how long an answer may take.
const ATTEMPTS: u32 = 5;
const PATIENCE: Duration = Duration::from_secs(30);
/// How much longer each pause between attempts is than the one before.
const PAUSE_GROWS: f64 = 1.5;
const JITTER: f64 = 0.2;
/// How long the end of the server waits for what was not sent yet.
const LAST_PATIENCE: Duration = Duration::from_secs(10);

/// How many events at a time, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    buffer_size: usize,
    batch_size_max: usize,
    batch_bytes_max: usize,
    wait_max: Duration,
    initial_backoff: Duration,
    /// Batches a second, and at once.
    rate: Option<(f64, u32)>,
}

impl Pace {
    pub fn from_flags(values: &Values, mode: Mode, limits: Option<Limits>) -> Result<Self, String> {
        let is_batch = mode == Mode::Batch;
        let positive = |name: &str, words: &str| {
            let given = values.int(&format!("audit-webhook-batch-{name}"));
            let number = usize::try_from(given).ok().filter(|number| *number > 0);
            let wrong = || format!("invalid audit batch webhook {words} {given}, must be a positive number");
            if is_batch { number.ok_or_else(wrong) } else { Ok(1) }
        };
        let is_throttled = is_batch && values.bool("audit-webhook-batch-throttle-enable");
        let qps = values.float("audit-webhook-batch-throttle-qps");
        if is_throttled && qps <= 0.0 {
            return Err(format!("invalid audit batch webhook throttle QPS {qps}, must be a positive number"));
        }
        let (buffer_size, batch_size_max) =
            (positive("buffer-size", "buffer size")?, positive("max-size", "max batch size")?);
        let burst = if is_throttled { positive("throttle-burst", "throttle burst")? } else { 1 };
        let old = "audit-webhook-batch-initial-backoff";
        let backoff = if values.is_given(old) { old } else { "audit-webhook-initial-backoff" };
        Ok(Self {
            buffer_size: buffer_size.max(if is_batch { 1 } else { 10_000 }),
            batch_size_max,
            batch_bytes_max: limits.map_or(usize::MAX, |limits| limits.batch_bytes_max),
            wait_max: values.duration("audit-webhook-batch-max-wait"),
            initial_backoff: values.duration(backoff),
            rate: is_throttled.then_some((qps, u32::try_from(burst).unwrap_or(u32::MAX))),
        })
    }
}

/// An event on its way, and who waits for it to arrive.
struct Item {
    event: Vec<u8>,
    waits: Option<SyncSender<bool>>,
}

pub struct Webhook {
    mode: Mode,
    sender: Mutex<Option<mpsc::Sender<Item>>>,
    waiting: Mutex<Option<Sending>>,
    running: Mutex<Option<JoinHandle<()>>>,
}

impl Webhook {
    pub fn new(config: &Path, pace: Pace, mode: Mode, random: Random) -> Result<Self, String> {
        let (sender, receiver) = mpsc::channel(pace.buffer_size);
        let destination = Arc::new(Destination::load(config, pace, random)?);
        let sending = Sending { receiver, held: None, pace, destination };
        Ok(Self {
            mode,
            sender: Mutex::new(Some(sender)),
            waiting: Mutex::new(Some(sending)),
            running: Mutex::new(None),
        })
    }

    /// Begins to send. Once.
    pub fn start(&self) {
        if let Some(sending) = lock(&self.waiting).take() {
            *lock(&self.running) = Some(tokio::spawn(sending.run()));
        }
    }

    /// Nothing more is taken; returns when all is sent, or after a while.
    pub async fn close(&self) {
        drop(lock(&self.sender).take());
        let running = lock(&self.running).take();
        if let Some(running) = running
            && timeout(LAST_PATIENCE, running).await.is_err()
        {
            tracing::warn!("audit events that could not be sent in time are lost");
        }
    }

    pub fn write(&self, event: &Event) -> io::Result<()> {
        let event = serde_json::to_vec(&event.of_a_list())?;
        let sender = lock(&self.sender).clone();
        let send = |waits| {
            let sender = sender.ok_or_else(|| io::Error::other("the server ends"))?;
            sender.try_send(Item { event, waits }).map_err(|_| io::Error::other("audit buffer queue blocked"))
        };
        if self.mode == Mode::Batch {
            return send(None);
        }
        // The thread waits, for whoever asks for this wants the request to. Others get another thread meanwhile, which a
        // runtime of one thread has not.
        if Handle::current().runtime_flavor() != RuntimeFlavor::MultiThread {
            return Err(io::Error::other("nobody can wait for an event on a runtime of one thread"));
        }
        let (done, wait) = sync_channel(1);
        send(Some(done))?;
        match tokio::task::block_in_place(|| wait.recv()) {
            Ok(true) => Ok(()),
            // It has been told of.
            _ if self.mode == Mode::Blocking => Ok(()),
            _ => Err(io::Error::other("the event did not arrive")),
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
    destination: Arc<Destination>,
}

impl Sending {
    async fn run(mut self) {
        let mut sent = JoinSet::new();
        while let Some(batch) = self.next_batch().await {
            let destination = self.destination.clone();
            sent.spawn(async move { destination.deliver(batch).await });
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

struct Destination {
    client: kube::Client,
    path: String,
    initial_backoff: Duration,
    random: Random,
}

impl Destination {
    fn load(config: &Path, pace: Pace, random: Random) -> Result<Self, String> {
        let mut config = ClientConfig::from_kubeconfig("kube-apiserver", config);
        if let Some((qps, burst)) = pace.rate {
            (config.qps, config.burst) = (Some(qps), Some(burst));
        }
        let mut endpoint = Endpoint::load(&config).map_err(|error| error.to_string())?;
        // A client's paths are below that of its server, and here it is the path itself that is asked.
        let (server, path) = split(&endpoint.server);
        let path = path.to_owned();
        endpoint.server = server.to_owned();
        let client = connect_paced(&endpoint, &config).map_err(|error| error.to_string())?;
        Ok(Self { client, path, initial_backoff: pace.initial_backoff, random })
    }

    /// Tries as long as upstream does, whatever the error: hardly any would be a reason to lose events.
    async fn deliver(&self, batch: Vec<Item>) {
        let body = list(&batch);
        let mut pause = self.initial_backoff;
        let mut attempt = 1;
        let arrived = loop {
            match self.send(&body).await {
                Ok(()) => break true,
                Err(error) if attempt == ATTEMPTS => {
                    batch.iter().for_each(|_| failed("webhook", &error));
                    break false;
                }
                Err(error) => tracing::debug!(error, attempt, "sending audit events; trying again"),
            }
            let jitter = (self.random.u64() % 1000) as f64 / 1000.0 * JITTER;
            tokio::time::sleep(pause.mul_f64(1.0 + jitter)).await;
            (attempt, pause) = (attempt + 1, pause.mul_f64(PAUSE_GROWS));
        };
        for waits in batch.into_iter().filter_map(|item| item.waits) {
            // Who waited may be gone.
            let _ = waits.send(arrived);
        }
    }

    async fn send(&self, body: &[u8]) -> Result<(), String> {
        let request =
            Request::post(&self.path).header(CONTENT_TYPE, "application/json").body(Body::from(body.to_vec()));
        let request = request.map_err(|error| error.to_string())?;
        let answer = timeout(PATIENCE, self.client.send(request)).await.map_err(|_| "no answer in time".to_owned())?;
        let answer = answer.map_err(|error| component::client::shown(&error))?;
        if answer.status().is_success() { Ok(()) } else { Err(format!("the webhook answered {}", answer.status())) }
    }
}

/// Scheme and authority, and the path, of a URL.
fn split(server: &str) -> (&str, &str) {
    let authority = server.find("://").map_or(0, |at| at + 3);
    match server[authority..].find('/') {
        Some(at) => server.split_at(authority + at),
        None => (server, "/"),
    }
}

fn list(batch: &[Item]) -> Vec<u8> {
    let events: Vec<&[u8]> = batch.iter().map(|item| item.event.as_slice()).collect();
    let head = br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":["#;
    [head.as_slice(), &events.join(&b','), b"]}"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split_before_their_path() {
        for (server, expected) in
            [("https://a:1/x/y", ("https://a:1", "/x/y")), ("http://a", ("http://a", "/")), ("a:1/x", ("a:1", "/x"))]
        {
            assert_eq!(split(server), expected);
        }
    }
}
