//! CPU of watch events: a hundred watchers of one kind, each with a connection of its own.
//!
//! What the writes cost by themselves is measured first, the same way and without watchers, and taken off. What the system
//! alone takes to send an event is measured beside: nobody can be cheaper who sends each event when it happens.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use figures::samples;
use futures::future::try_join_all;
use http::Method;
use http_body_util::BodyExt as _;
use nix::time::ClockId;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::{JoinSet, spawn_blocking};

use super::Size;
use crate::client::Client;
use crate::objects;
use crate::report::Measured;
use crate::server::{Server, name_of};

const WATCHERS: usize = 100;
const ROUNDS: usize = 5;
const SINGLE_EVENTS: usize = 240;
const BURST_EVENTS: usize = 960;
const WRITERS: usize = 32;
const DEADLINE: Duration = Duration::from_secs(60);

/// Events that all watchers together were told.
#[derive(Default)]
struct Told {
    count: AtomicUsize,
    bytes: AtomicUsize,
    grown: Notify,
}

impl Told {
    fn add(&self, count: usize, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.count.fetch_add(count, Ordering::AcqRel);
        self.grown.notify_one();
    }

    async fn until(&self, count: usize) -> Result<()> {
        let enough = async {
            loop {
                let grown = self.grown.notified();
                if self.count.load(Ordering::Acquire) >= count {
                    return;
                }
                grown.await;
            }
        };
        let late = || format!("{} of {count} events came", self.count.load(Ordering::Acquire));
        tokio::time::timeout(DEADLINE, enough).await.with_context(late)
    }
}

pub(super) async fn measure(server: &mut Server, size: &Size, measured: &mut Measured) -> Result<()> {
    server.fill("configmaps", WRITERS).await?;
    if !server.is_near() {
        return Ok(());
    }
    let writers = server.clients(WRITERS)?;
    try_join_all(writers.iter().map(|client| client.send(Method::GET, "/version", None))).await?;
    let none = Told::default();
    let (single_events, burst_events) = (size.of(SINGLE_EVENTS), size.of(BURST_EVENTS).next_multiple_of(WRITERS));
    let mut alone = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone.0.push(singly(server, &writers[0], single_events, &none, 0).await?);
        alone.1.push(in_bursts(server, &writers, burst_events, &none, 0).await?);
    }
    let alone = (samples::median(&alone.0), samples::median(&alone.1));
    let told = Arc::new(Told::default());
    let mut watchers = watch(server, &told).await?;
    for _ in 0..ROUNDS {
        let per_event = |cpu: f64, alone: f64, events: usize| (cpu - alone) / (events * WATCHERS) as f64;
        let cpu = singly(server, &writers[0], single_events, &told, WATCHERS).await?;
        measured.add("watch-single", per_event(cpu, alone.0, single_events));
        let cpu = in_bursts(server, &writers, burst_events, &told, WATCHERS).await?;
        measured.add("watch-burst", per_event(cpu, alone.1, burst_events));
    }
    watchers.abort_all();
    while let Some(ended) = watchers.join_next().await {
        match ended {
            Err(error) => ensure!(error.is_cancelled(), "a watcher panicked: {error}"),
            // One that ended by itself has failed.
            Ok(failed) => failed?,
        }
    }
    let event_bytes = told.bytes.load(Ordering::Relaxed) / told.count.load(Ordering::Relaxed).max(1);
    for _ in 0..ROUNDS {
        measured.add("watch-bare", bare_send(event_bytes, single_events).await?);
    }
    Ok(())
}

/// Returns once all of them are told of what comes.
async fn watch(server: &Server, told: &Arc<Told>) -> Result<JoinSet<Result<()>>> {
    let list: Value = server.client()?.get(&format!("{}?limit=1", objects::path("configmaps"))).await?;
    let version = list["metadata"]["resourceVersion"].as_str().context("a list without version")?.to_owned();
    let path = format!("{}?watch=true&resourceVersion={version}", objects::path("configmaps"));
    let open = server.clients(WATCHERS)?.into_iter().map(|client| {
        let path = path.clone();
        async move { Ok::<_, anyhow::Error>((client.open(&path).await?.into_body(), client)) }
    });
    let mut watchers = JoinSet::new();
    for (mut body, client) in try_join_all(open).await? {
        let told = told.clone();
        watchers.spawn(async move {
            while let Some(frame) = body.frame().await {
                if let Some(data) = frame?.data_ref() {
                    told.add(data.iter().filter(|byte| **byte == b'\n').count(), data.len());
                }
            }
            drop(client);
            anyhow::bail!("a watch ended")
        });
    }
    Ok(watchers)
}

async fn change(client: &Client, object: usize, value: usize) -> Result<()> {
    let path = format!("{}/{}", objects::path("configmaps"), name_of(object));
    client.send(Method::PATCH, &path, Some(&objects::change(value))).await.map(drop)
}

/// Values that no object had.
fn fresh() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Each change when all have been told of the one before. Microseconds of CPU in all.
async fn singly(server: &Server, writer: &Client, events: usize, told: &Told, watchers: usize) -> Result<f64> {
    let before = server.cpu_time()?;
    let start = told.count.load(Ordering::Acquire);
    for event in 1..=events {
        change(writer, 0, fresh()).await?;
        told.until(start + event * watchers).await?;
    }
    Ok(samples::micros(server.cpu_time()? - before))
}

/// All writers at once. Microseconds of CPU in all.
async fn in_bursts(server: &Server, writers: &[Client], events: usize, told: &Told, watchers: usize) -> Result<f64> {
    let before = server.cpu_time()?;
    let start = told.count.load(Ordering::Acquire);
    let write = writers.iter().enumerate().map(|(object, writer)| {
        let writer = writer.clone();
        tokio::spawn(async move {
            for _ in 0..events / WRITERS {
                change(&writer, object, fresh()).await?;
            }
            anyhow::Ok(())
        })
    });
    for done in try_join_all(write).await? {
        done?;
    }
    told.until(start + events * watchers).await?;
    Ok(samples::micros(server.cpu_time()? - before))
}

/// Microseconds of CPU to send that much to one of as many sockets, whose readers wait for it as those of events do.
async fn bare_send(bytes: usize, events: usize) -> Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let told = Arc::new(Told::default());
    let (mut sockets, mut readers) = (Vec::new(), JoinSet::new());
    for _ in 0..WATCHERS {
        let mut reader = TcpStream::connect(listener.local_addr()?).await?;
        let socket = listener.accept().await?.0.into_std()?;
        socket.set_nonblocking(false)?;
        socket.set_nodelay(true)?;
        sockets.push(socket);
        let told = told.clone();
        readers.spawn(async move {
            let mut event = vec![0; bytes];
            while reader.read_exact(&mut event).await.is_ok() {
                told.add(1, bytes);
            }
        });
    }
    let runtime = Handle::current();
    let send = move || {
        let (event, mut spent) = (vec![0; bytes], Duration::ZERO);
        for sent in 1..=events {
            let before: Duration = ClockId::CLOCK_THREAD_CPUTIME_ID.now()?.into();
            for socket in &mut sockets {
                socket.write_all(&event)?;
            }
            spent += Duration::from(ClockId::CLOCK_THREAD_CPUTIME_ID.now()?) - before;
            runtime.block_on(told.until(sent * WATCHERS))?;
        }
        Ok(samples::micros(spent) / (events * WATCHERS) as f64)
    };
    spawn_blocking(send).await?
}
