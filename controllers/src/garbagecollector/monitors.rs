//! Watches the metadata of every kind there is, and keeps up with kinds that come and go.
//!
//! Enter by [`Monitors::run`]. What it sees goes into the graph by [`Sink`].

use std::collections::{BTreeMap, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use component::context::Context;
use component::shutdown::Shutdown;
use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::runtime::watcher::{Config, Event, watcher};
use tokio::sync::{Notify, watch};

use super::identity::{Identity, Uid};
use crate::common::discovery::{self, Discovered, Resource};

/// New kinds are looked for at least so often; usually a change of a CRD or an APIService tells at once.
const REDISCOVER: Duration = Duration::from_secs(30);
/// A CRD is served a moment after it is established.
const SETTLE: Duration = Duration::from_millis(500);
const BACKOFF_FIRST: Duration = Duration::from_millis(800);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Where what is seen goes.
pub(super) trait Sink: Send + Sync + 'static {
    fn seen(&self, identity: Identity, meta: &ObjectMeta);
    fn gone(&self, identity: &Identity);
    /// All objects of a kind, told by `seen` before, are these.
    fn listed(&self, api_version: &str, kind: &str, uids: &HashSet<Uid>);
    fn kinds(&self, resources: &[Resource]);
}

pub(super) struct Monitors<S> {
    ctx: Context,
    sink: Arc<S>,
    running: BTreeMap<Resource, Running>,
    changed: Arc<Notify>,
}

struct Running {
    stop: Shutdown,
    synced: watch::Receiver<bool>,
}

impl<S: Sink> Monitors<S> {
    pub(super) fn new(ctx: Context, sink: Arc<S>) -> Self {
        Monitors { ctx, sink, running: BTreeMap::new(), changed: Arc::default() }
    }

    /// Runs until the context's shutdown. `ready` is told once the first monitors have listed, or have had their time.
    pub(super) async fn run(mut self, ready: watch::Sender<bool>) {
        let shutdown = self.ctx.shutdown.clone();
        let mut delay = BACKOFF_FIRST;
        loop {
            let wait = match discovery::preferred(&self.ctx.client).await {
                Ok(found) => {
                    self.follow(found);
                    if !*ready.borrow() && shutdown.run_until(self.synced()).await.is_some() {
                        ready.send_replace(true);
                    }
                    delay = BACKOFF_FIRST;
                    REDISCOVER
                }
                Err(error) => {
                    tracing::warn!(%error, "discovery for garbage collection failed, trying again");
                    delay = (delay * 2).min(BACKOFF_MAX);
                    delay
                }
            };
            let woken = tokio::time::timeout(wait, self.changed.notified());
            match shutdown.run_until(woken).await {
                None => return,
                Some(Err(_)) => {}
                Some(Ok(())) => {
                    if shutdown.run_until(tokio::time::sleep(SETTLE)).await.is_none() {
                        return;
                    }
                }
            }
        }
    }

    /// Kinds that cannot be watched must not hold up collection for ever.
    async fn synced(&self) {
        let all = futures::future::join_all(self.running.values().map(|r| {
            let mut synced = r.synced.clone();
            async move { synced.wait_for(|s| *s).await.is_ok() }
        }));
        if tokio::time::timeout(REDISCOVER, all).await.is_err() {
            tracing::warn!("garbage collection starts although not all kinds could be listed");
        }
    }

    /// Starts and stops monitors. Kinds of a group that could not be asked stay as they are.
    fn follow(&mut self, found: Discovered) {
        let unknown = |r: &Resource| found.failed.iter().any(|(gv, _)| gv.split('/').next() == Some(r.group.as_str()));
        self.sink.kinds(&found.resources);
        let wanted: Vec<Resource> = found.resources.iter().filter(|r| is_collectable(r)).cloned().collect();
        self.running.retain(|resource, running| {
            let keep = wanted.contains(resource) || unknown(resource);
            if !keep {
                running.stop.trigger();
            }
            keep
        });
        for resource in wanted {
            if !self.running.contains_key(&resource) {
                let running = self.start(resource.clone());
                self.running.insert(resource, running);
            }
        }
    }

    fn start(&self, resource: Resource) -> Running {
        let stop = self.ctx.shutdown.child();
        let (told, synced) = watch::channel(false);
        let monitor = Monitor {
            ctx: Context { shutdown: stop.clone(), ..self.ctx.clone() },
            sink: self.sink.clone(),
            tells_of_kinds: tells_of_kinds(&resource).then(|| self.changed.clone()),
            api_version: resource.api_version().into(),
            kind: resource.kind.as_str().into(),
            resource,
            listing: HashSet::new(),
        };
        tokio::spawn(monitor.run(told));
        Running { stop, synced }
    }
}

fn is_collectable(resource: &Resource) -> bool {
    let is_event = resource.resource == "events" && matches!(resource.group.as_str(), "" | "events.k8s.io");
    !is_event && ["delete", "list", "watch"].iter().all(|verb| resource.supports(verb))
}

fn tells_of_kinds(resource: &Resource) -> bool {
    matches!(
        (resource.group.as_str(), resource.resource.as_str()),
        ("apiextensions.k8s.io", "customresourcedefinitions") | ("apiregistration.k8s.io", "apiservices")
    )
}

struct Monitor<S> {
    ctx: Context,
    sink: Arc<S>,
    /// Woken by every change, for the kinds that make other kinds.
    tells_of_kinds: Option<Arc<Notify>>,
    resource: Resource,
    api_version: Arc<str>,
    kind: Arc<str>,
    listing: HashSet<Uid>,
}

impl<S: Sink> Monitor<S> {
    async fn run(mut self, synced: watch::Sender<bool>) {
        let api =
            Api::<PartialObjectMeta<DynamicObject>>::all_with(self.ctx.client.clone(), &self.resource.api_resource());
        let mut stream = pin!(watcher(api, Config::default()));
        let shutdown = self.ctx.shutdown.clone();
        let mut delay = BACKOFF_FIRST;
        while let Some(Some(event)) = shutdown.run_until(stream.next()).await {
            match event {
                Ok(event) => {
                    let complete = matches!(event, Event::InitDone);
                    self.take(event);
                    if complete {
                        synced.send_replace(true);
                    }
                    delay = BACKOFF_FIRST;
                }
                Err(error) => {
                    tracing::debug!(resource = self.resource.resource, %error, "metadata watch failed, trying again");
                    let pause = self.ctx.random.jitter(delay, 1.0);
                    if shutdown.run_until(tokio::time::sleep(pause)).await.is_none() {
                        return;
                    }
                    delay = (delay * 2).min(BACKOFF_MAX);
                }
            }
        }
    }

    fn take(&mut self, event: Event<PartialObjectMeta<DynamicObject>>) {
        match event {
            Event::Init => self.listing.clear(),
            Event::InitApply(object) => {
                let identity = self.identity(&object.metadata);
                self.listing.insert(identity.uid.clone());
                self.sink.seen(identity, &object.metadata);
            }
            Event::InitDone => {
                let uids = std::mem::take(&mut self.listing);
                self.sink.listed(&self.api_version, &self.resource.kind, &uids);
            }
            Event::Apply(object) => {
                self.sink.seen(self.identity(&object.metadata), &object.metadata);
                self.tell();
            }
            Event::Delete(object) => {
                self.sink.gone(&self.identity(&object.metadata));
                self.tell();
            }
        }
    }

    fn tell(&self) {
        if let Some(changed) = &self.tells_of_kinds {
            changed.notify_one();
        }
    }

    fn identity(&self, meta: &ObjectMeta) -> Identity {
        Identity::of(&self.api_version, &self.kind, meta)
    }
}
