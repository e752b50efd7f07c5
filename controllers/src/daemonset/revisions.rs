//! The revisions of a DaemonSet's template: the current one is found or made, doubles are merged, old ones go.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Selector;
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::facts;
use crate::common::error::{Doing, Error};
use crate::common::history::{self, History, REVISION_LABEL};
use crate::common::pod::Pod;
use crate::common::{map, template};

pub(super) struct Revisions {
    /// The value of the current revision's label.
    pub(super) hash: String,
    /// The others, oldest first.
    pub(super) old: Vec<Arc<ControllerRevision>>,
}

/// Finds or makes the current revision. `pods` are those that the DaemonSet has.
pub(super) async fn current(
    client: &Client,
    history: &History,
    ds: &DaemonSet,
    selector: &Selector,
    pods: &[Arc<Pod>],
) -> Result<Revisions, Error> {
    let template = facts::template(ds).cloned().unwrap_or_default();
    let data = history::data(&template);
    let mut labelled = Vec::new();
    for revision in history.of(ds, selector).await? {
        labelled.push(label(history, revision).await?);
    }
    let (current, old): (Vec<_>, Vec<_>) = labelled.into_iter().partition(|r| history::is_of(r, &data));
    let number = old.iter().map(|r| r.revision).max().unwrap_or(0) + 1;
    // Oldest first: the last one is the newest of equals.
    let hash = match current.split_last() {
        None => create(client, history, ds, &template, data, number).await?,
        Some((kept, doubles)) => {
            merge(client, history, pods, kept, doubles).await?;
            if kept.revision < number {
                history.renumber(kept, number).await?;
            }
            hash_of(kept)
        }
    };
    Ok(Revisions { hash, old })
}

fn hash_of(revision: &ControllerRevision) -> String {
    map(&revision.metadata.labels).get(REVISION_LABEL).cloned().unwrap_or_default()
}

/// A revision from before there were labels is known by its name.
async fn label(history: &History, revision: Arc<ControllerRevision>) -> Result<Arc<ControllerRevision>, Error> {
    if map(&revision.metadata.labels).contains_key(REVISION_LABEL) {
        return Ok(revision);
    }
    let mut labelled = (*revision).clone();
    labelled.metadata.labels.get_or_insert_default().insert(REVISION_LABEL.into(), revision.name_any());
    history.replace(&labelled).await.map(Arc::new)
}

async fn create(
    client: &Client,
    history: &History,
    ds: &DaemonSet,
    template: &k8s_openapi::api::core::v1::PodTemplateSpec,
    data: serde_json::Value,
    number: i64,
) -> Result<String, Error> {
    let collisions = ds.status.as_ref().and_then(|s| s.collision_count);
    let hash = template::hash(template, collisions);
    let labels = template.metadata.as_ref().and_then(|m| m.labels.clone());
    let name = history::name(&ds.name_any(), &hash);
    let revision = history::revision_of(ds, name, &labels, (REVISION_LABEL, &hash), data, number);
    match history.create(&revision).await? {
        Some(created) => Ok(hash_of(&created)),
        None => Err(count_collision(client, ds, &revision).await?),
    }
}

/// Counts a collision of names, unless the count that led to it was an old one; the next sync makes another name.
async fn count_collision(client: &Client, ds: &DaemonSet, revision: &ControllerRevision) -> Result<Error, Error> {
    let api = Api::<DaemonSet>::namespaced(client.clone(), &ds.namespace().unwrap_or_default());
    let mut fresh = api.get(&ds.name_any()).await.doing("get daemon set", ds.name_any())?;
    let used = ds.status.as_ref().and_then(|s| s.collision_count);
    let status = fresh.status.get_or_insert_default();
    let refused = |reason: &str| Error::refused("create controller revision", revision.name_any(), reason);
    if status.collision_count != used {
        return Ok(refused("the collision count was stale"));
    }
    status.collision_count = Some(used.unwrap_or(0) + 1);
    let written = api.replace_status(&ds.name_any(), &PostParams::default(), &fresh).await;
    written.doing("count name collision of daemon set", ds.name_any())?;
    Ok(refused("the name stands for another template"))
}

/// Pods of doubles become pods of the one that is kept.
async fn merge(
    client: &Client,
    history: &History,
    pods: &[Arc<Pod>],
    kept: &ControllerRevision,
    doubles: &[Arc<ControllerRevision>],
) -> Result<(), Error> {
    if doubles.is_empty() {
        return Ok(());
    }
    let hash = hash_of(kept);
    for pod in pods.iter().filter(|p| map(&p.metadata.labels).get(REVISION_LABEL) != Some(&hash)) {
        let api = Api::<Pod>::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
        let patch = json!({"metadata": {"labels": {REVISION_LABEL: hash}}});
        let patched = api.patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await;
        patched.doing("relabel pod", pod.name_any())?;
    }
    for double in doubles {
        history.delete(double).await?;
    }
    Ok(())
}

/// Deletes the oldest revisions beyond the limit; those that pods are of stay.
pub(super) async fn clean_up(
    history: &History,
    ds: &DaemonSet,
    revisions: &Revisions,
    pods: &[Arc<Pod>],
) -> Result<(), Error> {
    let is_live = |revision: &ControllerRevision| {
        let hash = hash_of(revision);
        pods.iter().any(|p| map(&p.metadata.labels).get(REVISION_LABEL) == Some(&hash))
    };
    for revision in history::surplus(&revisions.old, facts::history_limit(ds), is_live) {
        history.delete(revision).await?;
    }
    Ok(())
}
