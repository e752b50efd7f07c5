//! A client that lists and watches as informers do, and writes down all it is told.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use component::random::Random;
use http::Request;
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::{Value, json};

use super::LAST;
use super::truth::{Seen, Told};
use crate::client::CONFIG_MAPS;

/// What a watcher did, in order.
#[derive(Debug)]
pub enum Step {
    /// A list: its revision and objects.
    Listed(u64, BTreeMap<String, Seen>),
    Event(Told),
    /// Nothing up to here is to come.
    Bookmark(u64),
}

/// The servers of this phase; empty while there are none.
pub type Servers = Arc<RwLock<Vec<kube::Client>>>;

pub fn current(servers: &Servers, choice: usize) -> Option<kube::Client> {
    let servers = servers.read().unwrap_or_else(PoisonError::into_inner);
    (!servers.is_empty()).then(|| servers[choice % servers.len()].clone())
}

/// For when there is no server, or it is ending: asking again at once would only spin.
pub async fn pause() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

pub struct Watcher {
    pub servers: Servers,
    pub random: Random,
    pub selects: bool,
    /// Does not read while writers write.
    pub slow: bool,
    pub writing: tokio::sync::watch::Receiver<bool>,
    pub steps: Vec<Step>,
    pub version: Option<u64>,
    pub choice: usize,
}

impl Watcher {
    /// Follows until it has seen the last object.
    pub async fn run(mut self) -> (bool, Vec<Step>) {
        while !self.is_done() {
            self.choice += 1;
            let Some(client) = current(&self.servers, self.choice) else {
                pause().await;
                continue;
            };
            match self.version {
                None => self.list(&client).await,
                Some(version) => self.watch(&client, version).await,
            }
        }
        (self.selects, self.steps)
    }

    fn is_done(&self) -> bool {
        self.steps.iter().rev().take(50).any(|step| match step {
            Step::Listed(_, objects) => objects.contains_key(LAST),
            Step::Event(told) => told.name == LAST,
            Step::Bookmark(_) => false,
        })
    }

    fn query(&self) -> &'static str {
        if self.selects { "&labelSelector=on%3Dyes" } else { "" }
    }

    /// In pages, all of one revision.
    async fn list(&mut self, client: &kube::Client) {
        let (mut objects, mut token) = (BTreeMap::new(), String::new());
        let version = loop {
            let path = format!("{CONFIG_MAPS}?limit=7&continue={token}{}", self.query());
            let Some(page) = ask(client, &path).await else { return pause().await };
            for item in page["items"].as_array().into_iter().flatten() {
                objects.insert(name_of(item), Seen::of(item));
            }
            token = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
            if token.is_empty() {
                break version_of(&page);
            }
        };
        self.version = Some(version);
        self.steps.push(Step::Listed(version, objects));
    }

    async fn watch(&mut self, client: &kube::Client, version: u64) {
        let path = format!("{CONFIG_MAPS}?watch=1&allowWatchBookmarks=1&resourceVersion={version}{}", self.query());
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let Ok(answer) = client.send(request).await else { return pause().await };
        if answer.status() != 200 {
            return pause().await;
        }
        let (mut body, mut buffered) = (answer.into_body(), Vec::new());
        // After so many events this watcher goes away in the middle.
        let patience = if self.slow { usize::MAX } else { 20 + (self.random.u64() % 80) as usize };
        let mut taken = 0;
        while taken < patience {
            if self.slow && self.writing.wait_for(|writing| !*writing).await.is_err() {
                return;
            }
            let Some(Ok(frame)) = body.frame().await else { return };
            buffered.extend_from_slice(frame.data_ref().map_or(&[], |data| data.as_ref()));
            while let Some(end) = buffered.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = buffered.drain(..=end).collect();
                if !self.take(&serde_json::from_slice(&line).expect("a JSON line")) {
                    return;
                }
                taken += 1;
            }
            if self.is_done() {
                return;
            }
        }
    }

    /// Whether the watch goes on.
    fn take(&mut self, event: &Value) -> bool {
        let (kind, object) = (event["type"].as_str().expect("a type"), &event["object"]);
        if kind == "ERROR" {
            assert_eq!((&object["code"], &object["reason"]), (&json!(410), &json!("Expired")), "{event}");
            self.version = None;
            return false;
        }
        let revision = version_of(object);
        self.version = Some(revision);
        self.steps.push(match kind {
            "BOOKMARK" => Step::Bookmark(revision),
            _ => Step::Event(Told { revision, kind: kind.to_owned(), name: name_of(object), object: Seen::of(object) }),
        });
        true
    }
}

async fn ask(client: &kube::Client, path: &str) -> Option<Value> {
    let answer = client.send(Request::get(path).body(Body::empty()).expect("a request")).await.ok()?;
    let is_good = answer.status() == 200;
    let bytes = answer.into_body().collect().await.ok()?.to_bytes();
    is_good.then(|| serde_json::from_slice(&bytes).expect("JSON"))
}

fn version_of(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).expect("a version")
}

fn name_of(object: &Value) -> String {
    object["metadata"]["name"].as_str().expect("a name").to_owned()
}
