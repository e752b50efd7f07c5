//! Aggregation: group versions that other servers answer for (Kubernetes concept: "Kubernetes API Aggregation Layer").
//!
//! Enter at [`Aggregation::find`] for a request's path, and at [`run`] for the task that follows APIServices.
//! [`availability`] judges them, [`proxy`] passes requests on, [`documents`] merges what they say of themselves into
//! discovery and OpenAPI. What the extension servers do is not known here.

mod availability;
pub mod documents;
pub mod extension;
mod identity;
pub mod proxy;

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::future::{join_all, select_all};
use machinery::meta;
use machinery::status::Status;
use rustls::client::ResolvesClientCert;
use serde_json::Value;

use self::extension::Extension;
use crate::api::Api;
use crate::cache::{EventKind, WatchEnd, WatchFrom, Watcher};
use crate::catalogue::Served;
use crate::metrics::aggregation as metrics;
use crate::rest::current::Current;

const GROUP: &str = "apiregistration.k8s.io";

/// Nothing tells when an extension server's network breaks: each is asked again after so long.
const RECHECK: Duration = Duration::from_secs(30);
/// One that does not answer is asked again sooner, and then twice as late each time.
const RETRY: Duration = Duration::from_millis(100);

/// The group versions of others, and who this server is towards them.
pub struct Aggregation {
    /// `--proxy-client-cert-file`.
    pub identity: Option<Arc<dyn ResolvesClientCert>>,
    /// `--enable-aggregator-routing`: to a pod's address, not the Service's.
    pub routes_to_endpoints: bool,
    /// `--aggregator-reject-forwarding-redirect`: no answer sends a client elsewhere.
    pub rejects_redirects: bool,
    extensions: RwLock<Arc<Vec<Arc<Extension>>>>,
}

impl Aggregation {
    pub fn new(
        identity: Option<Arc<dyn ResolvesClientCert>>,
        routes_to_endpoints: bool,
        rejects_redirects: bool,
    ) -> Self {
        Self { identity, routes_to_endpoints, rejects_redirects, extensions: RwLock::default() }
    }

    /// All of them, in the order in which clients are to take them.
    pub fn extensions(&self) -> Arc<Vec<Arc<Extension>>> {
        self.extensions.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who answers for a path, when it is somebody else.
    pub fn find(&self, path: &str) -> Option<Arc<Extension>> {
        let mut parts = path.trim_start_matches('/').split('/');
        let (group, version) = match (parts.next(), parts.next(), parts.next()) {
            (Some("apis"), Some(group), Some(version)) => (group, version),
            _ => return None,
        };
        self.extensions().iter().find(|known| known.group == group && known.version == version).cloned()
    }

    fn replace(&self, mut extensions: Vec<Arc<Extension>>) {
        extensions.sort_by_key(|extension| extension.order());
        *self.extensions.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(extensions);
    }
}

/// Follows APIServices, and what stands behind them, until shutdown.
pub async fn run(api: Arc<Api>) {
    let find = |group: &str, plural: &str| api.catalogue.find(group, "v1", plural).cloned();
    let (Some(rows), Some(services), Some(slices)) =
        (find(GROUP, "apiservices"), find("", "services"), find("discovery.k8s.io", "endpointslices"))
    else {
        return;
    };
    if !api.is_loaded().await {
        return;
    }
    let (mut wait, mut named) = (RETRY, BTreeSet::new());
    loop {
        let watch = |served: &Served| api.cache.watch(served.id, &api.catalogue.prefix(served, ""), WatchFrom::Now);
        let mut watchers = [watch(&rows), watch(&services), watch(&slices)];
        // After the watches are open, so that nothing that comes between is missed.
        if let Err(status) = round(&api, &rows, &mut named).await {
            tracing::error!(%status, "APIServices cannot be read");
        }
        let all_answer = api.aggregation.extensions().iter().all(|extension| extension.available);
        wait = if all_answer { RETRY } else { (wait * 2).min(RECHECK) };
        tokio::select! {
            biased;
            changed = wait_for_change(&api, &mut watchers) => match changed {
                Err(_) if api.shutdown.is_triggered() => return,
                _ => wait = RETRY,
            },
            () = tokio::time::sleep(if all_answer { RECHECK } else { wait }) => {}
            () = api.shutdown.cancelled() => return,
        }
    }
}

/// Returns when an APIService changed, or something of a Service that one names.
async fn wait_for_change(api: &Api, watchers: &mut [Watcher; 3]) -> Result<(), WatchEnd> {
    loop {
        let (event, which, _) = select_all(watchers.iter_mut().map(|watcher| Box::pin(watcher.next()))).await;
        let event = event?;
        let Ok(Current { object, .. }) = Current::from_item(&event.item) else { continue };
        let extensions = api.aggregation.extensions();
        let names = |service: &str| {
            extensions.iter().any(|known| known.service == service && known.namespace == meta::namespace(&object))
        };
        let known = extensions.iter().find(|known| known.name == meta::name(&object));
        let changed = match (which, known) {
            (0, None) => object["spec"]["service"].is_object(),
            // Of this task's own writes only the status differs.
            (0, Some(known)) => event.kind == EventKind::Deleted || !known.is_of(&object),
            (1, _) => names(meta::name(&object)),
            _ => names(meta::label(&object, "kubernetes.io/service-name").unwrap_or_default()),
        };
        if changed {
            return Ok(());
        }
    }
}

/// Judges each APIService that names a Service, takes up what it offers, and then tells it in its status: who reads
/// there that it is available finds it so. `named` are those of the round before, and then of this one.
async fn round(api: &Api, rows: &Served, named: &mut BTreeSet<String>) -> Result<(), Status> {
    let snapshot = api.cache.list(rows.id, &api.catalogue.prefix(rows, ""));
    let objects: Result<Vec<Value>, Status> =
        snapshot.iter().map(|item| Current::from_item(item).map(|current| current.object)).collect();
    let objects = objects?;
    let names = objects.iter().map(|object| meta::name(object).to_owned()).collect();
    let before = std::mem::replace(named, names);
    before.difference(named).for_each(|gone| metrics::forget(gone));
    let (remote, local): (Vec<Value>, Vec<Value>) =
        objects.into_iter().partition(|object| object["spec"]["service"].is_object());
    for object in &local {
        metrics::is_available(meta::name(object), true);
    }
    let before = api.aggregation.extensions();
    let look = |object| availability::look(api, object, before.iter().find(|known| known.is_of(object)).cloned());
    let (extensions, judged): (Vec<_>, Vec<_>) = join_all(remote.iter().map(look)).await.into_iter().unzip();
    api.aggregation.replace(extensions);
    join_all(remote.iter().zip(&judged).map(|(object, judged)| availability::tell(api, object, judged))).await;
    Ok(())
}
