//! The history of a DaemonSet's or StatefulSet's pod template, kept as ControllerRevisions.
//!
//! Enter by [`History`], the shell that finds, makes, renumbers and deletes revisions; `data` is the pure part: what is
//! recorded and under which name. Concepts: "ControllerRevision". `kubectl rollout history` and `undo` read it.

mod data;

use std::sync::Arc;

use component::informer::Informer;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::api::{DeleteParams, PostParams};
use kube::core::Selector;
use kube::{Api, Client, ResourceExt};

pub(crate) use self::data::{data, hash, is_of, name, template_of};
use super::claim::{Namespaced, claim_all};
use super::error::{Doing, Error};
use super::map;
use super::owner::{controlled_or_orphan, controller_ref, index_by_controller};

/// The label of pods and revisions that says which revision they are of.
pub(crate) const REVISION_LABEL: &str = "controller-revision-hash";
/// The label of a StatefulSet's revision with the hash of its data.
pub(crate) const HASH_LABEL: &str = "controller.kubernetes.io/hash";

/// How often a renumbering is tried again over what is there then.
const CONFLICT_RETRIES: usize = 5;

pub(crate) struct History {
    client: Client,
    revisions: Informer<ControllerRevision>,
}

impl History {
    pub(crate) fn new(client: Client, revisions: Informer<ControllerRevision>) -> Self {
        index_by_controller(&revisions);
        History { client, revisions }
    }

    /// The owner's revisions, oldest first, after adopting and releasing.
    pub(crate) async fn of<O: Namespaced>(
        &self,
        owner: &O,
        selector: &Selector,
    ) -> Result<Vec<Arc<ControllerRevision>>, Error> {
        let candidates = controlled_or_orphan(&self.revisions, owner.meta());
        let mut claimed = claim_all(&self.client, owner, selector, candidates).await?;
        sort(&mut claimed);
        Ok(claimed)
    }

    /// Creates a revision. Of one that is there already with the same data that one is the answer; `None` when the name
    /// stands for something else.
    pub(crate) async fn create(&self, revision: &ControllerRevision) -> Result<Option<ControllerRevision>, Error> {
        let (api, name) = (self.api(revision), revision.name_any());
        match api.create(&PostParams::default(), revision).await.doing("create controller revision", &name) {
            Ok(created) => Ok(Some(created)),
            Err(e) if e.is_already_exists() => {
                let there = api.get(&name).await.doing("get controller revision", &name)?;
                Ok((data::text_of(&there) == data::text_of(revision)).then_some(there))
            }
            Err(e) => Err(e),
        }
    }

    /// Gives a revision a later number: what it records is the newest again.
    pub(crate) async fn renumber(
        &self,
        revision: &ControllerRevision,
        number: i64,
    ) -> Result<ControllerRevision, Error> {
        let api = self.api(revision);
        let mut changed = revision.clone();
        let mut tries = 0;
        while changed.revision != number {
            changed.revision = number;
            let written = api.replace(&changed.name_any(), &PostParams::default(), &changed).await;
            match written.doing("renumber controller revision", changed.name_any()) {
                Ok(written) => return Ok(written),
                Err(e) if e.is_conflict() && tries < CONFLICT_RETRIES => {
                    tries += 1;
                    changed =
                        api.get(&changed.name_any()).await.doing("get controller revision", changed.name_any())?;
                }
                Err(e) => return Err(e),
            }
        }
        Ok(changed)
    }

    pub(crate) async fn replace(&self, revision: &ControllerRevision) -> Result<ControllerRevision, Error> {
        let written = self.api(revision).replace(&revision.name_any(), &PostParams::default(), revision).await;
        written.doing("update controller revision", revision.name_any())
    }

    pub(crate) async fn delete(&self, revision: &ControllerRevision) -> Result<(), Error> {
        let name = revision.name_any();
        match self
            .api(revision)
            .delete(&name, &DeleteParams::default())
            .await
            .doing("delete controller revision", &name)
        {
            Err(e) if !e.is_not_found() => Err(e),
            _ => Ok(()),
        }
    }

    fn api(&self, revision: &ControllerRevision) -> Api<ControllerRevision> {
        Api::namespaced(self.client.clone(), &revision.namespace().unwrap_or_default())
    }
}

/// By number; two of one number by age, then by name.
fn sort(revisions: &mut [Arc<ControllerRevision>]) {
    revisions
        .sort_by_key(|r| (r.revision, r.metadata.creation_timestamp.as_ref().map(|t| t.0), r.metadata.name.clone()));
}

/// A revision ready to be created, of `owner`, with the labels of its template and these.
pub(crate) fn revision_of<O: Namespaced>(
    owner: &O,
    name: String,
    template_labels: &Option<std::collections::BTreeMap<String, String>>,
    label: (&str, &str),
    data: serde_json::Value,
    number: i64,
) -> ControllerRevision {
    let mut labels = map(template_labels).clone();
    labels.insert(label.0.into(), label.1.into());
    ControllerRevision {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: owner.namespace(),
            labels: Some(labels),
            annotations: owner.meta().annotations.clone(),
            owner_references: Some(vec![controller_ref(owner)]),
            ..Default::default()
        },
        data: Some(RawExtension(data)),
        revision: number,
    }
}

/// Those of `old`, oldest first, that may go so that no more than `limit` of them stay.
pub(crate) fn surplus(
    old: &[Arc<ControllerRevision>],
    limit: i32,
    is_live: impl Fn(&ControllerRevision) -> bool,
) -> Vec<&ControllerRevision> {
    let too_many = old.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
    old.iter().map(|r| &**r).filter(|r| !is_live(r)).take(too_many).collect()
}
