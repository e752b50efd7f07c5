//! What goes on in the cluster while it is struck: writes, watches, lists, rollouts and requests.
//!
//! [`Workload::start`] runs it on a thread in the bed's network, [`Workload::stop`] ends it and returns the records. Every
//! task notes what it saw and judges nothing.

mod requester;
mod roller;
mod watcher;
mod writer;

use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use component::client::{self, ClientConfig};
use component::random::Random;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use testbed::Cluster;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::record::{Records, Version};

const WRITERS: usize = 3;
const WATCHERS: usize = 3;
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Before what failed is tried again.
const PAUSE: Duration = Duration::from_millis(100);
/// How long watches may take to tell everything, once nothing more happens.
const CATCH_UP: Duration = Duration::from_secs(60);
/// The objects of writers.
const LABEL: (&str, &str) = ("drill", "chaos");
/// Where in an object its serial number is.
const SERIAL: &str = "serial";

/// What all tasks share.
#[derive(Clone)]
struct Shared {
    client: kube::Client,
    random: Random,
    /// The newest revision that was acknowledged to any writer.
    acknowledged: Arc<AtomicU64>,
    serials: Arc<AtomicU64>,
    phase: watch::Receiver<Phase>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Work,
    /// Nobody starts a rollout any more, so that one can be seen to its end.
    Calm,
    End,
}

/// Where requests are sent to, by the name of the Service.
pub(super) type Services = Vec<(&'static str, IpAddr)>;

pub(super) struct Workload<'scope> {
    thread: ScopedJoinHandle<'scope, Result<Records>>,
    phase: watch::Sender<Phase>,
}

impl<'scope> Workload<'scope> {
    pub(super) fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        cluster: &'env Cluster,
        services: Services,
        seed: u64,
    ) -> Self {
        let (phase, receiver) = watch::channel(Phase::Work);
        let kubeconfig = cluster.data().join("admin.kubeconfig");
        let thread = scope.spawn(move || {
            cluster.bed.enter_network()?;
            let tasks = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            tasks.block_on(work(kubeconfig, services, Random::seeded(seed), receiver))
        });
        Self { thread, phase }
    }

    /// No rollouts any more; all else goes on.
    pub(super) fn calm(&self) {
        self.phase.send_replace(Phase::Calm);
    }

    /// Writes end, watches go on to the end of what was written, and everything stops.
    pub(super) fn stop(self) -> Result<Records> {
        self.phase.send_replace(Phase::End);
        self.thread.join().map_err(|_| anyhow!("the workload panicked"))?
    }
}

async fn work(
    kubeconfig: PathBuf,
    services: Services,
    random: Random,
    phase: watch::Receiver<Phase>,
) -> Result<Records> {
    let client = client::connect(ClientConfig::from_kubeconfig("chaos", kubeconfig))?;
    let shared = Shared { client, random, acknowledged: Arc::default(), serials: Arc::default(), phase };
    let (until, seen) = watch::channel(None);
    let mut watchers = JoinSet::new();
    (0..WATCHERS).for_each(|_| drop(watchers.spawn(watcher::run(shared.clone(), seen.clone()))));
    let mut workers = JoinSet::new();
    (0..WRITERS).for_each(|number| drop(workers.spawn(writer::run(shared.clone(), number))));
    workers.spawn(watcher::list(shared.clone()));
    workers.spawn(roller::run(shared.clone()));
    for (service, address) in services {
        workers.spawn(requester::run(shared.clone(), service, address));
    }

    let mut records = Records::default();
    while let Some(worker) = workers.join_next().await {
        records.join(worker?);
    }
    let last = tokio::time::timeout(CATCH_UP, settle(&shared, until, &mut watchers, &mut records));
    last.await.context("not every watch has told the last write in time")??;
    Ok(records)
}

/// One last write, until every watch has told it; then what the store says to all of it.
async fn settle(
    shared: &Shared,
    until: watch::Sender<Option<u64>>,
    watchers: &mut JoinSet<Records>,
    records: &mut Records,
) -> Result<()> {
    let (end, written) = writer::end(shared.clone()).await;
    records.join(written);
    until.send_replace(Some(end));
    while let Some(watcher) = watchers.join_next().await {
        records.join(watcher?);
    }
    records.lists.extend(watcher::lists_of_the_past(shared, records).await);
    records.lists.push(watcher::list_now(shared).await);
    Ok(())
}

impl Shared {
    fn objects(&self) -> Api<ConfigMap> {
        Api::default_namespaced(self.client.clone())
    }

    fn is_ending(&self) -> bool {
        *self.phase.borrow() == Phase::End
    }

    /// Sleeps, but not beyond the end of work.
    async fn pause(&self, pause: Duration) {
        let mut phase = self.phase.clone();
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = phase.wait_for(|phase| *phase == Phase::End) => {}
        }
    }

    fn acknowledge(&self, revision: u64) {
        self.acknowledged.fetch_max(revision, Ordering::SeqCst);
    }
}

/// A request that is given up after a while; what became of it is not known then.
async fn patiently<T>(request: impl Future<Output = kube::Result<T>>) -> Result<kube::Result<T>> {
    Ok(tokio::time::timeout(PATIENCE, request).await?)
}

/// What an object of a writer holds.
fn version(object: &ConfigMap) -> Option<Version> {
    let revision = object.metadata.resource_version.as_ref()?.parse().ok()?;
    let serial = object.data.as_ref()?.get(SERIAL)?.parse().ok()?;
    Some(Version { revision, serial })
}
