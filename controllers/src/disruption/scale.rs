//! How many pods the owners of some pods ask for: the whole that a percentage is a part of.
//!
//! Owners of the built-in kinds are read from caches; any other is asked for its scale subresource. A Deployment answers
//! for its ReplicaSets.

use std::collections::BTreeMap;
use std::sync::Arc;

use component::context::Context;
use component::informer::Informer;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::ReplicationController;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::DynamicObject;
use kube::{Api, ResourceExt};

use crate::common::discovery::{Kinds, Resource};
use crate::common::error::{Doing, Error};
use crate::common::owner::controller_of;
use crate::common::pod::Pod;

pub(super) struct Scales {
    ctx: Context,
    kinds: Kinds,
    deployments: Informer<Deployment>,
    replica_sets: Informer<ReplicaSet>,
    stateful_sets: Informer<StatefulSet>,
    replication_controllers: Informer<ReplicationController>,
}

/// The sum over all owners, and the pods without one.
#[derive(Debug, Default)]
pub(super) struct Expected {
    pub(super) count: i32,
    pub(super) unmanaged: Vec<String>,
}

/// An owner, and how many pods it asks for.
type Scale = (String, i32);

impl Scales {
    pub(super) fn new(ctx: &Context) -> Self {
        Scales {
            deployments: ctx.informers.of(),
            replica_sets: ctx.informers.of(),
            stateful_sets: ctx.informers.of(),
            replication_controllers: ctx.informers.of(),
            kinds: Kinds::default(),
            ctx: ctx.clone(),
        }
    }

    pub(super) async fn synced(&self) {
        self.deployments.synced().await;
        self.replica_sets.synced().await;
        self.stateful_sets.synced().await;
        self.replication_controllers.synced().await;
    }

    pub(super) async fn of(&self, pods: &[Arc<Pod>]) -> Result<Expected, Error> {
        let mut unmanaged = Vec::new();
        let mut scales: BTreeMap<String, i32> = BTreeMap::new();
        let mut asked = std::collections::HashSet::new();
        for pod in pods {
            let Some(owner) = controller_of(&pod.metadata) else {
                unmanaged.push(pod.name_any());
                continue;
            };
            if !asked.insert(&owner.uid) {
                continue;
            }
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let found = match self.cached(namespace, owner) {
                Some(found) => Some(found),
                None => self.asked(namespace, owner).await?,
            };
            let Some((uid, count)) = found else {
                let reason = format!("found no controllers for pod {:?}", pod.name_any());
                return Err(Error::refused("count pods of", &owner.name, reason));
            };
            scales.insert(uid, count);
        }
        Ok(Expected { count: scales.values().sum(), unmanaged })
    }

    fn cached(&self, namespace: &str, owner: &OwnerReference) -> Option<Scale> {
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        let one = |replicas: Option<i32>| (owner.uid.clone(), replicas.unwrap_or(1));
        match (owner.kind.as_str(), group) {
            ("ReplicationController", "") => {
                let rc = same(self.replication_controllers.get(namespace, &owner.name), &owner.uid)?;
                Some(one(rc.spec.as_ref().and_then(|s| s.replicas)))
            }
            ("StatefulSet", "apps") => {
                let set = same(self.stateful_sets.get(namespace, &owner.name), &owner.uid)?;
                Some(one(set.spec.as_ref().and_then(|s| s.replicas)))
            }
            ("ReplicaSet", "apps" | "extensions") => {
                let rs = same(self.replica_sets.get(namespace, &owner.name), &owner.uid)?;
                let Some(above) = controller_of(&rs.metadata).filter(|o| o.kind == "Deployment") else {
                    return Some(one(rs.spec.as_ref().and_then(|s| s.replicas)));
                };
                let deployment = same(self.deployments.get(namespace, &above.name), &above.uid)?;
                Some((above.uid.clone(), deployment.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)))
            }
            _ => None,
        }
    }

    async fn asked(&self, namespace: &str, owner: &OwnerReference) -> Result<Option<Scale>, Error> {
        let doing = "get scale of";
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        let is = |r: &Resource| (r.group.as_str(), &r.kind) == (group, &owner.kind);
        let known = self.kinds.with(&self.ctx.client, |all| all.iter().any(is)).await?;
        let Some(resource) = known.iter().find(|r| is(r)) else {
            let reason = format!("no matches for kind {:?} in version {:?}", owner.kind, owner.api_version);
            return Err(Error::refused(doing, &owner.name, reason));
        };
        let kind = resource.api_resource();
        let api = Api::<DynamicObject>::namespaced_with(self.ctx.client.clone(), namespace, &kind);
        match api.get_scale(&owner.name).await.doing(doing, &owner.name) {
            Ok(scale) if scale.metadata.uid.as_ref() == Some(&owner.uid) => {
                let count = scale.spec.and_then(|s| s.replicas).unwrap_or(0);
                Ok(Some((owner.uid.clone(), count)))
            }
            Ok(_) => Ok(None),
            Err(e) if e.is_not_found() => {
                // The object may be gone, or its kind may have no scale: only the second is somebody's mistake.
                if api.get_metadata_opt(&owner.name).await.is_ok_and(|there| there.is_some()) {
                    let name = if group.is_empty() { kind.plural } else { format!("{}.{group}", kind.plural) };
                    let reason = format!("{name} does not implement the scale subresource");
                    return Err(Error::refused(doing, &owner.name, reason));
                }
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }
}

fn same<K: ResourceExt>(object: Option<Arc<K>>, uid: &str) -> Option<Arc<K>> {
    object.filter(|object| object.meta().uid.as_deref() == Some(uid))
}
