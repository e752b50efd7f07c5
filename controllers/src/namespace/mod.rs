//! The namespace controller: empties a namespace that is being deleted, then lets it go.
//!
//! Enter by [`run`]. [`content`] deletes, [`conditions`] tells how far it is.

mod conditions;
mod content;

use std::sync::Arc;
use std::time::Duration;

use component::context::Context;
use component::informer::{Event, Informer};
use component::key::Key;
use component::queue::{self, Backoff, Queue};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::PostParams;

use crate::common::discovery;
use crate::common::error::{Doing, Error};
use crate::common::pod::Pod;

/// The finalizer that every namespace is born with; this controller takes it off.
const FINALIZER: &str = "kubernetes";

struct Controller {
    ctx: Context,
    namespaces: Informer<Namespace>,
    queue: Queue<Key>,
}

/// Runs until the context's shutdown.
pub(crate) async fn run(ctx: Context, workers: usize) {
    // A namespace is tried again at least once a minute, however often it failed.
    let backoff = Backoff { base: Duration::from_millis(5), max: Duration::from_secs(60) };
    let controller =
        Arc::new(Controller { namespaces: ctx.informers.of(), queue: Queue::with_backoff("namespace", backoff), ctx });
    let queue = controller.queue.clone();
    controller.namespaces.on_event(move |event| {
        if event.object().metadata.deletion_timestamp.is_some() {
            queue.add(Key::of(&**event.object()));
        }
    });
    // Pods take the longest to go; the last one of a namespace wakes it before its estimate has passed.
    let (queue, namespaces) = (controller.queue.clone(), controller.namespaces.clone());
    let pods = controller.ctx.informers.of::<Pod>();
    let all_pods = pods.clone();
    pods.on_event(move |event| {
        let Event::Deleted(pod) = event else { return };
        let name = pod.metadata.namespace.as_deref().unwrap_or_default();
        let going = namespaces.get("", name).is_some_and(|ns| ns.metadata.deletion_timestamp.is_some());
        if going && all_pods.in_namespace(name).is_empty() {
            queue.add(Key::cluster(name));
        }
    });
    let shutdown = controller.ctx.shutdown.clone();
    if shutdown.run_until(controller.namespaces.synced()).await.is_some() {
        queue::run(controller.queue.clone(), workers, shutdown, |key| controller.sync(key)).await;
    }
}

impl Controller {
    /// Reads from the API, not from the cache: its own status writes come back through the cache with a delay, and
    /// deciding over an old copy only makes conflicts.
    async fn sync(&self, key: Key) -> Result<(), Error> {
        let api = Api::<Namespace>::all(self.ctx.client.clone());
        let Some(mut namespace) = api.get_opt(&key.name).await.doing("get namespace", &key)? else { return Ok(()) };
        let Some(deleted_at) = namespace.metadata.deletion_timestamp.as_ref().map(|t| t.0) else { return Ok(()) };
        if namespace.spec.as_ref().is_none_or(|s| s.finalizers.as_ref().is_none_or(Vec::is_empty)) {
            return Ok(());
        }
        let status = namespace.status.get_or_insert_default();
        if status.phase.as_deref() != Some("Terminating") {
            status.phase = Some("Terminating".into());
            namespace = api
                .replace_status(&key.name, &PostParams::default(), &namespace)
                .await
                .doing("update status of namespace", &key)?;
        }
        let discovered = discovery::preferred(&self.ctx.client).await?;
        let now = self.ctx.clock.now();
        let outcome = content::delete_all(&self.ctx.client, &key.name, deleted_at, now, discovered).await;
        if conditions::update(namespace.status.get_or_insert_default(), &outcome.report, self.ctx.clock.now()) {
            namespace = api
                .replace_status(&key.name, &PostParams::default(), &namespace)
                .await
                .doing("update status of namespace", &key)?;
        }
        let complaints = outcome.report.failures.into_iter();
        let undiscovered = outcome.report.undiscovered.into_iter().map(|(gv, e)| format!("discover {gv}: {e}"));
        let complaints: Vec<String> = complaints.chain(undiscovered).collect();
        if !complaints.is_empty() {
            return Err(Error::refused("delete content of namespace", key, complaints.join("; ")));
        }
        if outcome.estimate_seconds > 0 {
            // Objects that go wake nobody here: they are of any kind. Half the estimate, as upstream.
            let wait = Duration::from_secs(outcome.estimate_seconds.unsigned_abs() / 2 + 1);
            self.queue.add_after(key, wait);
            return Ok(());
        }
        self.finalize(&key, namespace).await
    }

    async fn finalize(&self, key: &Key, mut namespace: Namespace) -> Result<(), Error> {
        if let Some(finalizers) = namespace.spec.as_mut().and_then(|s| s.finalizers.as_mut()) {
            finalizers.retain(|f| f != FINALIZER);
        }
        let api = Api::<Namespace>::all(self.ctx.client.clone());
        let done = api.replace_subresource("finalize", &key.name, &PostParams::default(), &namespace).await;
        match done.doing("finalize namespace", key) {
            Err(e) if !e.is_not_found() => Err(e),
            _ => Ok(()),
        }
    }
}
