//! CPU of single requests: one after another by one client, and by 16 at once, when wakeups and commits are shared.

use std::ops::Range;
use std::time::Duration;

use anyhow::Result;
use figures::samples;
use futures::future::try_join_all;
use http::Method;

use super::Size;
use crate::client::Client;
use crate::objects;
use crate::report::Measured;
use crate::server::{Server, name_of, object};

const ROUNDS: usize = 5;
const REQUESTS: usize = 480;
/// Reading costs little: more of it for the same certainty.
const READS: usize = 1600;
const BUSY_CLIENTS: usize = 16;
/// What a start leaves to do is done by then, so that it is not counted as a request's.
const REST: Duration = Duration::from_secs(3);

#[derive(Clone, Copy)]
enum Work {
    Create(&'static str),
    MergePatch,
    Get,
}

const ALL: [(&str, &str, Work); 4] = [
    ("create-configmap", "create-configmap-busy", Work::Create("configmaps")),
    ("create-pod", "create-pod-busy", Work::Create("pods")),
    ("merge-patch", "merge-patch-busy", Work::MergePatch),
    ("get", "get-busy", Work::Get),
];

pub(super) async fn measure(server: &mut Server, size: &Size, measured: &mut Measured) -> Result<()> {
    server.start().await?;
    if !server.is_near() {
        return Ok(());
    }
    server.fill("configmaps", BUSY_CLIENTS).await?;
    server.fill("pods", 1).await?;
    tokio::time::sleep(REST).await;
    for (single, busy, work) in ALL {
        for (id, clients) in [(single, 1), (busy, BUSY_CLIENTS)] {
            let clients = server.clients(clients)?;
            for _ in 0..ROUNDS {
                measured.add(id, round(server, size, &clients, work).await?);
            }
        }
    }
    Ok(())
}

/// Microseconds of CPU a request.
async fn round(server: &mut Server, size: &Size, clients: &[Client], work: Work) -> Result<f64> {
    let each = size.of(if matches!(work, Work::Get) { READS } else { REQUESTS }).div_ceil(clients.len());
    let names = match work {
        Work::Create(plural) => server.next_names(plural, each * clients.len()),
        _ => 0..0,
    };
    // Connections are made before anything is counted.
    try_join_all(clients.iter().map(|client| client.send(Method::GET, "/version", None))).await?;
    let before = server.cpu_time()?;
    let requests = clients.iter().enumerate().map(|(number, client)| {
        let names = names.start + number * each..names.start + (number + 1) * each;
        tokio::spawn(repeat(client.clone(), work, number, names))
    });
    for done in try_join_all(requests).await? {
        done?;
    }
    Ok(samples::micros(server.cpu_time()? - before) / (each * clients.len()) as f64)
}

/// `names` are those to create; for other work only their number counts.
async fn repeat(client: Client, work: Work, number: usize, names: Range<usize>) -> Result<()> {
    let patched = format!("{}/{}", objects::path("configmaps"), name_of(number));
    let got = format!("{}/{}", objects::path("pods"), name_of(0));
    for name in names {
        match work {
            Work::Create(plural) => client.create(&objects::path(plural), &object(plural, name)).await?,
            Work::MergePatch => {
                // Another value than any round before: a patch that changes nothing is not stored.
                let value = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos() as usize;
                client.send(Method::PATCH, &patched, Some(&objects::change(value))).await?;
            }
            Work::Get => {
                client.send(Method::GET, &got, None).await?;
            }
        }
    }
    Ok(())
}
