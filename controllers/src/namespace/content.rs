//! Deletes what is in a namespace, kind by kind, and reports what is left.
//!
//! Enter by [`delete_all`]. It knows no kind but pods, which go first: what they use stays until they have stopped.

use futures::StreamExt;
use jiff::Timestamp;
use kube::api::{DeleteParams, ListParams};
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::{Api, Client, ResourceExt};

use super::conditions::Report;
use crate::common::discovery::{Discovered, Resource};
use crate::common::error::{Doing, Error};
use crate::common::pod::Pod;
use crate::common::pods;

/// How long finalizers are given before the next look.
const FINALIZER_ESTIMATE_SECONDS: i64 = 15;

/// Kinds that are deleted at the same time.
const PARALLEL: usize = 8;

/// What is left, and for how many seconds probably; 0 when nothing is.
pub(super) struct Outcome {
    pub(super) report: Report,
    pub(super) estimate_seconds: i64,
}

pub(super) async fn delete_all(
    client: &Client,
    namespace: &str,
    deleted_at: Timestamp,
    now: Timestamp,
    discovered: Discovered,
) -> Outcome {
    let deletable = |r: &Resource| r.namespaced && r.supports("delete");
    let (pods, others): (Vec<_>, Vec<_>) =
        discovered.resources.into_iter().filter(deletable).partition(|r| r.group.is_empty() && r.resource == "pods");
    let report = Report { undiscovered: discovered.failed, ..Report::default() };
    let mut outcome = Outcome { report, estimate_seconds: 0 };
    for resource in pods {
        let estimate = estimate_pods(client, namespace, deleted_at, now).await;
        let left = match estimate {
            Ok(estimate) => delete_kind(client, namespace, &resource, estimate).await,
            Err(e) => Left {
                failure: Some(format!("failed to delete pods for namespace: {namespace}, err: {e}")),
                ..Left::default()
            },
        };
        outcome.add(&resource, left);
    }
    if outcome.report.remaining.is_empty() {
        let kinds = others.into_iter().map(|resource| async move {
            let left = delete_kind(client, namespace, &resource, 0).await;
            (resource, left)
        });
        let mut results = futures::stream::iter(kinds).buffer_unordered(PARALLEL);
        while let Some((resource, left)) = results.next().await {
            outcome.add(&resource, left);
        }
    }
    outcome
}

impl Outcome {
    fn add(&mut self, resource: &Resource, left: Left) {
        self.estimate_seconds = self.estimate_seconds.max(left.estimate_seconds);
        self.report.failures.extend(left.failure);
        if left.count > 0 {
            self.report.remaining.insert(format!("{}.{}", resource.resource, resource.group), left.count);
        }
        for finalizer in left.finalizers {
            *self.report.finalizers.entry(finalizer).or_default() += 1;
        }
    }
}

/// What is left of one kind.
#[derive(Default)]
struct Left {
    count: usize,
    finalizers: Vec<String>,
    estimate_seconds: i64,
    failure: Option<String>,
}

async fn delete_kind(client: &Client, namespace: &str, resource: &Resource, estimate_seconds: i64) -> Left {
    let left = match try_delete_kind(client, namespace, resource).await {
        Ok(left) => left,
        Err(e) => return Left { estimate_seconds, failure: Some(e.api_message()), ..Left::default() },
    };
    let finalizers: Vec<String> = left.iter().flat_map(|o| o.finalizers().iter().cloned()).collect();
    let estimate_seconds = match left.len() {
        0 => 0,
        _ if estimate_seconds > 0 => estimate_seconds,
        _ if !finalizers.is_empty() => FINALIZER_ESTIMATE_SECONDS,
        _ => 0,
    };
    let unexpected = !left.is_empty() && estimate_seconds == 0;
    let failure = unexpected.then(|| {
        let Resource { group, version, resource, .. } = resource;
        format!(
            "unexpected items still remain in namespace: {namespace} for gvr: {group}/{version}, Resource={resource}"
        )
    });
    Left { count: left.len(), finalizers, estimate_seconds, failure }
}

async fn try_delete_kind(
    client: &Client,
    namespace: &str,
    resource: &Resource,
) -> Result<Vec<PartialObjectMeta<DynamicObject>>, Error> {
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &resource.api_resource());
    let name = || format!("{} in namespace {namespace}", resource.resource);
    let background = DeleteParams::background();
    let collectively = resource.supports("deletecollection") && {
        let deleted = api.delete_collection(&background, &ListParams::default()).await;
        is_supported(deleted.map(drop).doing("delete", name()))?
    };
    if !resource.supports("list") {
        return Ok(Vec::new());
    }
    if !collectively {
        for object in api.list_metadata(&ListParams::default()).await.doing("list", name())?.items {
            match api.delete(&object.name_any(), &background).await.doing("delete", name()) {
                Err(e) if !(e.is_not_found() || is_method_refused(&e)) => return Err(e),
                _ => {}
            }
        }
    }
    match api.list_metadata(&ListParams::default()).await.doing("list", name()) {
        Err(e) if e.is_not_found() || is_method_refused(&e) => Ok(Vec::new()),
        listed => Ok(listed?.items),
    }
}

/// False when the kind cannot do this, or went away since discovery.
fn is_supported(result: Result<(), Error>) -> Result<bool, Error> {
    match result {
        Ok(()) => Ok(true),
        Err(e) if e.is_not_found() || is_method_refused(&e) => Ok(false),
        Err(e) => Err(e),
    }
}

fn is_method_refused(error: &Error) -> bool {
    error.status().is_some_and(|s| s.code == 405)
}

/// The longest grace period of the pods that still run; 0 once that time has passed since the deletion.
async fn estimate_pods(client: &Client, namespace: &str, deleted_at: Timestamp, now: Timestamp) -> Result<i64, Error> {
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    let all = api.list(&ListParams::default()).await.doing("list pods of namespace", namespace)?;
    let running = all.items.iter().filter(|p| !pods::is_terminal(p));
    let grace = running.filter_map(|p| p.spec.as_ref()?.termination_grace_period_seconds).max().unwrap_or(0);
    Ok(if now.as_second() - deleted_at.as_second() >= grace { 0 } else { grace })
}
