//! The requests that the collector makes about objects of any kind. They carry metadata only.

use std::collections::HashMap;
use std::sync::RwLock;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::core::DynamicObject;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::identity::{Identity, Uid};
use crate::common::discovery::Resource;
use crate::common::error::{Doing, Error};

/// How often a write is tried again over what is there then.
const CONFLICT_RETRIES: usize = 5;

pub(super) struct Live {
    client: Client,
    /// By group and kind.
    kinds: RwLock<HashMap<(String, String), Resource>>,
}

impl Live {
    pub(super) fn new(client: Client) -> Self {
        Live { client, kinds: RwLock::default() }
    }

    /// The kinds that can be asked for from here on.
    pub(super) fn set_kinds(&self, resources: &[Resource]) {
        // Of several resources with one kind (Scale and the like are subresources) the first is the object itself.
        let mut kinds = HashMap::new();
        for resource in resources {
            kinds.entry((resource.group.clone(), resource.kind.clone())).or_insert_with(|| resource.clone());
        }
        *self.kinds.write().unwrap_or_else(std::sync::PoisonError::into_inner) = kinds;
    }

    /// The kind in the version that the server prefers, whatever version the caller has.
    pub(super) fn kind(&self, api_version: &str, kind: &str) -> Result<Resource, Error> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let kinds = self.kinds.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let found = kinds.get(&(group.to_owned(), kind.to_owned())).cloned();
        found.ok_or_else(|| Error::refused("map kind", format!("{api_version}, Kind={kind}"), "no such resource"))
    }

    fn api(&self, identity: &Identity) -> Result<Api<DynamicObject>, Error> {
        let resource = self.kind(&identity.api_version, &identity.kind)?;
        let api_resource = resource.api_resource();
        Ok(match resource.namespaced && !identity.namespace.is_empty() {
            true => Api::namespaced_with(self.client.clone(), &identity.namespace, &api_resource),
            false => Api::all_with(self.client.clone(), &api_resource),
        })
    }

    /// None when nothing of this name is there, or something with another UID.
    pub(super) async fn get(&self, identity: &Identity) -> Result<Option<ObjectMeta>, Error> {
        let found = self.api(identity)?.get_metadata_opt(&identity.name).await.doing("get", identity)?;
        Ok(found.map(|o| o.metadata).filter(|m| m.uid.as_deref() == Some(&*identity.uid)))
    }

    /// Deletes exactly the object that was looked at: a change since then (an owner that came back) is a conflict.
    pub(super) async fn delete(
        &self,
        identity: &Identity,
        latest: &ObjectMeta,
        policy: PropagationPolicy,
    ) -> Result<(), Error> {
        let precondition =
            Preconditions { uid: Some(identity.uid.to_string()), resource_version: latest.resource_version.clone() };
        let params = DeleteParams {
            propagation_policy: Some(policy.clone()),
            preconditions: Some(precondition),
            ..DeleteParams::default()
        };
        let api = self.api(identity)?;
        match api.delete(&identity.name, &params).await.doing("delete", identity) {
            Err(e) if e.is_conflict() => {}
            other => return other.map(drop),
        }
        // Busy objects (a pod's status) change all the time; only a change of owners matters.
        let Some(now) = self.get(identity).await? else { return Ok(()) };
        if now.owner_references != latest.owner_references {
            return Err(Error::refused("delete", identity, "its owners have changed meanwhile"));
        }
        let precondition = Preconditions { uid: Some(identity.uid.to_string()), resource_version: None };
        let params = DeleteParams { preconditions: Some(precondition), ..params };
        api.delete(&identity.name, &params).await.map(drop).doing("delete", identity)
    }

    /// Takes owners off an object; one that is gone has none.
    pub(super) async fn drop_owners(&self, identity: &Identity, owners: &[Uid]) -> Result<(), Error> {
        let deletions: Vec<Value> = owners.iter().map(|uid| json!({"$patch": "delete", "uid": &**uid})).collect();
        self.patch_owners(identity, deletions, |references| {
            references.retain(|o| !owners.iter().any(|uid| **uid == *o.uid))
        })
        .await
    }

    /// Makes all of an object's references non-blocking.
    pub(super) async fn unblock(&self, identity: &Identity, owners: &[OwnerReference]) -> Result<(), Error> {
        let blocking = owners.iter().filter(|o| o.block_owner_deletion == Some(true)).cloned();
        let free = |o: OwnerReference| OwnerReference { block_owner_deletion: Some(false), ..o };
        let changed = blocking.map(|o| json!(free(o))).collect();
        let edit = |references: &mut Vec<OwnerReference>| references.iter_mut().for_each(|o| *o = free(o.clone()));
        self.patch_owners(identity, changed, edit).await
    }

    /// A strategic patch, which built-in kinds know; else the whole list as a merge patch over its present state.
    async fn patch_owners(
        &self,
        identity: &Identity,
        strategic: Vec<Value>,
        edit: impl Fn(&mut Vec<OwnerReference>),
    ) -> Result<(), Error> {
        let api = self.api(identity)?;
        let patch = json!({"metadata": {"uid": &*identity.uid, "ownerReferences": strategic}});
        let patched = api.patch_metadata(&identity.name, &PatchParams::default(), &Patch::Strategic(&patch)).await;
        match patched.doing("patch owners of", identity) {
            Err(e) if e.is_not_found() => return Ok(()),
            Err(e) if e.status().is_some_and(|s| s.code == 415) => {}
            other => return other.map(drop),
        }
        self.merge(identity, "ownerReferences", |meta| {
            let mut references = meta.owner_references.clone().unwrap_or_default();
            edit(&mut references);
            json!(references)
        })
        .await
    }

    pub(super) async fn remove_finalizer(&self, identity: &Identity, finalizer: &str) -> Result<(), Error> {
        self.merge(identity, "finalizers", |meta| {
            json!(meta.finalizers.iter().flatten().filter(|f| *f != finalizer).collect::<Vec<_>>())
        })
        .await
    }

    /// Changes one metadata field over the object's present state, again if that has changed meanwhile.
    async fn merge(&self, identity: &Identity, field: &str, value: impl Fn(&ObjectMeta) -> Value) -> Result<(), Error> {
        let api = self.api(identity)?;
        let mut tries = 0;
        loop {
            let Some(meta) = self.get(identity).await? else { return Ok(()) };
            let patch = json!({"metadata": {"resourceVersion": meta.resource_version, field: value(&meta)}});
            let patched = api.patch_metadata(&identity.name, &PatchParams::default(), &Patch::Merge(&patch)).await;
            match patched.doing("patch", identity) {
                Err(e) if e.is_conflict() && tries < CONFLICT_RETRIES => tries += 1,
                Err(e) if e.is_not_found() => return Ok(()),
                other => return other.map(drop),
            }
        }
    }
}
