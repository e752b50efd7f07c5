//! Every watcher's history against the store's own log: each change once, in order, none invented.
//!
//! Writers change objects at random; watchers are fast or slow, with and without a selector, and reconnect as they
//! please. Where there are two servers each goes and comes back while writers and watchers turn to the other. Between
//! phases the servers are stopped, the log is read from the store itself, history is compacted, and new servers take over. At the end each watcher has told what it saw ([`watcher`]), and the log says what it had to see
//! ([`truth`]).

mod truth;
mod watcher;

use std::io::Write as _;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use apiserver::store::Revision;
use apiserver::store::Store;
use apiserver::store::embedded::disk::Folder;
use apiserver::store::embedded::{self, Embedded};
use component::clock::Clock;
use component::random::Random;
use http::Method;
use serde_json::json;
use tokio::task::JoinSet;

use self::truth::{Log, check, read_log};
use self::watcher::{Servers, Step, Watcher, current, pause};
use crate::client::{CONFIG_MAPS, call, config_map};
use crate::etcd;
use crate::support::TestServer;

const PHASES: usize = 3;
const WRITERS: u64 = 2;
const WRITES: usize = 300;
const NAMES: u64 = 30;
/// So large that a phase's events do not fit the server's memory of them: who is slow is served from the log.
const VALUE_BYTES: usize = 3000;
const LAST: &str = "zz-last";
const DEADLINE: Duration = Duration::from_secs(120);

/// Changes objects at random, until `goes_on` says no. What the answers say does not matter, nor whether there are any:
/// the log tells what happened.
async fn write(servers: Servers, mut choice: usize, random: Random, goes_on: tokio::sync::watch::Receiver<bool>) {
    let mut number = 0;
    while number < WRITES || *goes_on.borrow() {
        choice += 1;
        let Some(client) = current(&servers, choice) else {
            pause().await;
            continue;
        };
        number += 1;
        let name = format!("n{}", random.u64() % NAMES);
        let on = if random.u64().is_multiple_of(2) { "yes" } else { "no" };
        let value = format!("{number}{}", "v".repeat(VALUE_BYTES));
        let path = format!("{CONFIG_MAPS}/{name}");
        let mut object = config_map(&name, &json!({"k": value}));
        object["metadata"]["labels"] = json!({"on": on});
        let change = json!({"data": {"k": value}, "metadata": {"labels": {"on": on}}});
        let code = match random.u64() % 4 {
            0 => attempt(&client, Method::POST, CONFIG_MAPS, "application/json", object.to_string()).await,
            1 => attempt(&client, Method::DELETE, &path, "application/json", String::new()).await,
            _ => attempt(&client, Method::PATCH, &path, "application/merge-patch+json", change.to_string()).await,
        };
        // 503 of a server that is on its way out, or not all there yet.
        assert!(code.is_none_or(|code| matches!(code, 200 | 201 | 404 | 409 | 503)), "{code:?}");
    }
}

/// The answer's code; none when the server went away meanwhile.
async fn attempt(client: &kube::Client, method: Method, path: &str, media_type: &str, body: String) -> Option<u16> {
    let request = http::Request::builder().method(method).uri(path).header("content-type", media_type);
    let request = request.body(kube::client::Body::from(body.into_bytes())).expect("a request");
    let answer = client.send(request).await.ok()?;
    let code = answer.status().as_u16();
    http_body_util::BodyExt::collect(answer.into_body()).await.ok()?;
    Some(code)
}

/// Which watcher, whether it selects, and what it was told.
type Written = (usize, (bool, Vec<Step>));

/// Where the servers keep their objects.
enum Backend {
    Embedded,
    Etcd { server: Option<etcd::Server>, servers: usize },
}

impl Backend {
    fn servers(&self) -> usize {
        match self {
            Self::Embedded => 1,
            Self::Etcd { servers, .. } => *servers,
        }
    }

    fn flags(&self) -> Vec<String> {
        let url = match self {
            Self::Embedded => None,
            Self::Etcd { server, .. } => server.as_ref().map(etcd::Server::url),
        };
        url.map(|url| format!("--etcd-servers={url}")).into_iter().collect()
    }

    /// Reads the log of a stopped phase and forgets all but its last part.
    async fn settle(&mut self, folder: &tempfile::TempDir, after: u64, log: &mut Log) -> u64 {
        match self {
            Self::Embedded => {
                let disk = Folder::open(&folder.path().join("store")).expect("the store's folder");
                let options = embedded::Options::default();
                let store = Embedded::start(Arc::new(disk), Clock::system(), options).await.expect("the store");
                let newest = read_log(&store, after, log).await;
                store.compact(Revision(newest)).await.expect("compaction");
                store.close().await;
                newest
            }
            Self::Etcd { server, .. } => {
                let etcd = server.take().expect("an etcd").restart();
                let store = etcd.store().await;
                let newest = read_log(&*store, after, log).await;
                store.compact(Revision(newest)).await.expect("compaction");
                *server = Some(etcd);
                newest
            }
        }
    }
}

async fn validate(mut backend: Backend, seed: u64) {
    let servers = Servers::default();
    let (writing, is_writing) = tokio::sync::watch::channel(true);
    let mut watchers = JoinSet::new();
    for number in 0..10_usize {
        let watcher = Watcher {
            servers: servers.clone(),
            random: Random::seeded(seed + 100 + number as u64),
            selects: number % 2 == 1,
            slow: number % 5 > 2,
            writing: is_writing.clone(),
            steps: Vec::new(),
            version: None,
            choice: number,
        };
        watchers.spawn(async move { (number, watcher.run().await) });
    }
    let mut folders: Vec<Arc<tempfile::TempDir>> =
        (0..backend.servers()).map(|_| Arc::new(tempfile::tempdir().expect("a folder"))).collect();
    let (mut log, mut read) = (Log::new(), 0);
    for phase in 0..PHASES {
        let flags = backend.flags();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let mut running = Vec::new();
        for folder in &folders {
            running.push(TestServer::start_in(folder.clone(), &flags).await);
        }
        writing.send_replace(true);
        tell(&servers, &running);
        let (restarting, is_restarting) = tokio::sync::watch::channel(true);
        let writers = (0..WRITERS).map(|writer| {
            let random = Random::seeded(seed + phase as u64 * 10 + writer);
            tokio::spawn(write(servers.clone(), writer as usize, random, is_restarting.clone()))
        });
        let writers = futures::future::join_all(writers);
        let restarts = async {
            restart_in_turn(&mut running, &servers, &flags).await;
            restarting.send_replace(false);
        };
        for writer in tokio::join!(writers, restarts).0 {
            writer.expect("the writer goes through");
        }
        writing.send_replace(false);
        if phase + 1 < PHASES {
            folders = stop(running, &servers).await;
            read = backend.settle(&folders[0], read, &mut log).await;
            continue;
        }
        let mut last = config_map(LAST, &json!({}));
        last["metadata"]["labels"] = json!({"on": "yes"});
        let json = [("content-type", "application/json")];
        call(&running[0].client, Method::POST, CONFIG_MAPS, &json, last.to_string()).await.expect(201);
        let done = tokio::time::timeout(DEADLINE, all(&mut watchers)).await.expect("all watchers see the end");
        folders = stop(running, &servers).await;
        backend.settle(&folders[0], read, &mut log).await;
        check(&done, &log);
    }
}

/// What each watcher wrote down, once it has seen the end.
async fn all(watchers: &mut JoinSet<Written>) -> Vec<Written> {
    let mut done = Vec::new();
    while let Some(watcher) = watchers.join_next().await {
        done.push(watcher.expect("the watcher goes through"));
    }
    done
}

/// Clients turn to those that run.
fn tell(servers: &Servers, running: &[TestServer]) {
    let clients = running.iter().map(|server| server.client.clone()).collect();
    *servers.write().unwrap_or_else(PoisonError::into_inner) = clients;
}

/// Each server goes and comes back while the others serve; one alone stays.
async fn restart_in_turn(running: &mut Vec<TestServer>, servers: &Servers, flags: &[&str]) {
    if running.len() < 2 {
        return;
    }
    for index in 0..running.len() {
        let server = running.remove(index);
        // Some are with it still: they see it end.
        tell(servers, running);
        let folder = server.stop().await;
        running.insert(index, TestServer::start_in(folder, flags).await);
        tell(servers, running);
    }
}

async fn stop(running: Vec<TestServer>, servers: &Servers) -> Vec<Arc<tempfile::TempDir>> {
    tell(servers, &[]);
    futures::future::join_all(running.into_iter().map(TestServer::stop)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_see_the_embedded_stores_history() {
    validate(Backend::Embedded, 1).await;
}

async fn on_etcd(servers: usize, seed: u64) {
    let Some(server) = etcd::Server::start() else {
        let _ = writeln!(std::io::stderr(), "NOTICE: no etcd here; test skipped");
        return;
    };
    // It answers before the servers ask.
    drop(server.store().await);
    validate(Backend::Etcd { server: Some(server), servers }, seed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_see_etcds_history() {
    on_etcd(1, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_over_one_etcd_tell_the_same() {
    on_etcd(2, 3).await;
}
