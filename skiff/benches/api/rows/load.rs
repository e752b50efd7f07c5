//! Latency by load, and durable creates a second with what limits them.

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use figures::samples;
use futures::future::try_join_all;
use http::Method;

use super::Size;
use crate::report::{Load, Measured};
use crate::server::{Server, name_of, object};
use crate::{meter, objects};

const CLIENTS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
const ROUNDS: usize = 5;
/// Of all clients of a round together.
const CREATES: usize = 1920;
const READS: usize = 6400;
const CREATE_CLIENTS: usize = 32;
const GET_CLIENTS: usize = 16;
const DURABLE_CLIENTS: usize = 64;

struct Round {
    p50: f64,
    p99: f64,
    per_second: f64,
    server_cores: f64,
    client_cores: f64,
}

pub(super) async fn measure(server: &mut Server, size: &Size, measured: &mut Measured) -> Result<()> {
    server.fill("configmaps", 1).await?;
    for clients in CLIENTS {
        let creates = rounds(server, size, clients, true).await?;
        let reads = rounds(server, size, clients, false).await?;
        let of =
            |rounds: &[Round], pick: fn(&Round) -> f64| samples::median(&rounds.iter().map(pick).collect::<Vec<_>>());
        for round in &creates {
            note(measured, clients, round);
        }
        for round in reads.iter().filter(|_| clients == GET_CLIENTS) {
            measured.add("get-p50", round.p50);
            measured.add("get-p99", round.p99);
        }
        measured.load.push(Load {
            clients,
            create_p50_ms: of(&creates, |round| round.p50),
            create_p99_ms: of(&creates, |round| round.p99),
            creates_per_second: of(&creates, |round| round.per_second),
            get_p50_ms: of(&reads, |round| round.p50),
            get_p99_ms: of(&reads, |round| round.p99),
            gets_per_second: of(&reads, |round| round.per_second),
        });
    }
    for _ in 0..ROUNDS {
        measured.add("disk-syncs", bare_syncs_per_second()?);
    }
    measured.limit = limit(measured);
    Ok(())
}

fn note(measured: &mut Measured, clients: usize, round: &Round) {
    if clients == CREATE_CLIENTS {
        measured.add("create-p50", round.p50);
        measured.add("create-p99", round.p99);
    }
    if clients == DURABLE_CLIENTS {
        measured.add("durable", round.per_second);
        measured.add("durable-server-cpu", round.server_cores);
        measured.add("durable-client-cpu", round.client_cores);
    }
}

async fn rounds(server: &mut Server, size: &Size, clients: usize, create: bool) -> Result<Vec<Round>> {
    let clients = server.clients(clients)?;
    try_join_all(clients.iter().map(|client| client.send(Method::GET, "/version", None))).await?;
    let each = size.of(if create { CREATES } else { READS }).div_ceil(clients.len());
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let first = if create { server.next_names("configmaps", each * clients.len()).start } else { 0 };
        let (server_cpu, client_cpu, start) = (server.cpu_time()?, meter::own_cpu_time()?, Instant::now());
        let work = clients.iter().enumerate().map(|(number, client)| {
            let (client, first) = (client.clone(), first + number * each);
            tokio::spawn(async move {
                let mut times = Vec::with_capacity(each);
                for name in first..first + each {
                    let start = Instant::now();
                    if create {
                        client.create(&objects::path("configmaps"), &object("configmaps", name)).await?;
                    } else {
                        let path = format!("{}/{}", objects::path("configmaps"), name_of(0));
                        client.send(Method::GET, &path, None).await?;
                    }
                    times.push(samples::millis(start.elapsed()));
                }
                anyhow::Ok(times)
            })
        });
        let done = try_join_all(work).await?.into_iter().collect::<Result<Vec<_>>>()?;
        let (times, seconds) = (done.concat(), start.elapsed().as_secs_f64());
        rounds.push(Round {
            p50: samples::percentile(&times, 0.5),
            p99: samples::percentile(&times, 0.99),
            per_second: times.len() as f64 / seconds,
            server_cores: (server.cpu_time()? - server_cpu).as_secs_f64() / seconds,
            client_cores: (meter::own_cpu_time()? - client_cpu).as_secs_f64() / seconds,
        });
    }
    Ok(rounds)
}

/// What the disk does by itself: 4 KiB appended and synchronized, again and again.
fn bare_syncs_per_second() -> Result<f64> {
    const TIME: Duration = Duration::from_millis(500);
    let mut file: File = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).context("a file on the disk")?;
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < TIME {
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        count += 1;
    }
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}

/// What keeps durable creates from being more, as far as the figures tell.
fn limit(measured: &Measured) -> String {
    let of = |id| measured.median(id);
    let cores = std::thread::available_parallelism().map_or(1.0, |count| count.get() as f64);
    let (server, client, rate, syncs) =
        (of("durable-server-cpu"), of("durable-client-cpu"), of("durable"), of("disk-syncs"));
    let busy = (server + client) / cores;
    if busy > 0.85 {
        let alone = if server > 0.0 { rate * cores / server } else { 0.0 };
        format!(
            "CPU: server and client use {:.0} % of {cores} cores, the client {client:.2}; with the machine to itself \
             the server's share would do for {alone:.0} a second",
            busy * 100.0
        )
    } else if rate > syncs * 0.8 {
        format!("the disk: {syncs:.0} synchronized writes a second without any server")
    } else {
        format!(
            "waiting: {:.0} % of {cores} cores are used, and the disk could do {syncs:.0} synchronized writes; a commit \
             carries what came during the one before",
            busy * 100.0
        )
    }
}
