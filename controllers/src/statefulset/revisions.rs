//! The revisions of a StatefulSet's template: the one its pods came from, and the one they are to be of.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use kube::ResourceExt;
use kube::core::Selector;

use super::identity;
use super::plan::Revision;
use crate::common::error::Error;
use crate::common::history::{self, HASH_LABEL, History};
use crate::common::pod::Pod;

pub(super) struct Revisions {
    pub(super) current: Revision,
    pub(super) update: Revision,
    pub(super) collision_count: i32,
    /// All that were there, oldest first.
    all: Vec<Arc<ControllerRevision>>,
}

/// Finds or makes the revision of the set's template; one that comes back becomes the newest.
pub(super) async fn current(history: &History, set: &StatefulSet, selector: &Selector) -> Result<Revisions, Error> {
    let all = history.of(set, selector).await?;
    let template = identity::spec(set).map(|s| s.template.clone()).unwrap_or_default();
    let data = history::data(&template);
    let next = all.last().map_or(1, |r| r.revision + 1);
    let mut collision_count = set.status.as_ref().and_then(|s| s.collision_count).unwrap_or(0);
    let equal = all.iter().rfind(|r| history::is_of(r, &data));
    let update = match equal {
        Some(found) if all.last().is_some_and(|last| last.name_any() == found.name_any()) => (**found).clone(),
        Some(found) => history.renumber(found, next).await?,
        None => loop {
            let labels = template.metadata.as_ref().and_then(|m| m.labels.clone());
            let hash = history::hash(&data, Some(collision_count));
            let name = history::name(&set.name_any(), &hash);
            let new = history::revision_of(set, name, &labels, (HASH_LABEL, &hash), data.clone(), next);
            match history.create(&new).await? {
                Some(created) => break created,
                None => collision_count += 1,
            }
        },
    };
    let named = set.status.as_ref().and_then(|s| s.current_revision.clone()).unwrap_or_default();
    let current = all.iter().find(|r| r.name_any() == named).map_or(&update, |r| &**r);
    Ok(Revisions { current: open(current)?, update: open(&update)?, collision_count, all })
}

fn open(revision: &ControllerRevision) -> Result<Revision, Error> {
    let name = revision.name_any();
    let Some(template) = history::template_of(revision) else {
        return Err(Error::refused("read controller revision", name, "it records no pod template"));
    };
    Ok(Revision { name, template })
}

/// Deletes the oldest revisions beyond the limit; those in use stay.
pub(super) async fn clean_up(
    history: &History,
    set: &StatefulSet,
    revisions: &Revisions,
    pods: &[Arc<Pod>],
) -> Result<(), Error> {
    let in_use = |r: &&Arc<ControllerRevision>| {
        let name = r.name_any();
        [&revisions.current.name, &revisions.update.name].contains(&&name)
            || pods.iter().any(|p| identity::revision_of(p) == name)
    };
    let old: Vec<_> = revisions.all.iter().filter(|r| !in_use(r)).cloned().collect();
    let limit = identity::spec(set).and_then(|s| s.revision_history_limit).unwrap_or(10);
    for revision in history::surplus(&old, limit, |_| false) {
        history.delete(revision).await?;
    }
    Ok(())
}
