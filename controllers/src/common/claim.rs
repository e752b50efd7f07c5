//! Carries out claims: adopts orphans that match, releases what matches no longer.
//!
//! Enter by [`claim_all`]. Whether to adopt is decided in [`super::owner`].

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use kube::api::{Patch, PatchParams};
use kube::core::Selector;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::error::{self, Doing, Error};
use super::owner::{Claim, claim, controller_ref};

/// A namespaced built-in kind that can be read and patched.
pub(crate) trait Namespaced:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
}
impl<K> Namespaced for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// Those of `objects` that belong to `owner`, after adopting and releasing.
///
/// Adoption first reads the owner from the API: the cache may still hold one that is already going
/// away, and its orphans would be adopted by a ghost.
pub(crate) async fn claim_all<O: Namespaced, K: Namespaced>(
    client: &Client,
    owner: &O,
    selector: &Selector,
    objects: Vec<Arc<K>>,
) -> Result<Vec<Arc<K>>, Error> {
    claim_with_finalizer(client, owner, selector, objects, None).await
}

/// As [`claim_all`]; what is adopted gets the finalizer, also in the copy that is returned, and what is released loses it.
pub(crate) async fn claim_with_finalizer<O: Namespaced, K: Namespaced>(
    client: &Client,
    owner: &O,
    selector: &Selector,
    objects: Vec<Arc<K>>,
    finalizer: Option<&str>,
) -> Result<Vec<Arc<K>>, Error> {
    let mut claimed = Vec::with_capacity(objects.len());
    let mut errors = Vec::new();
    let mut may_adopt = None;
    for object in objects {
        match claim(owner.meta(), selector, object.meta()) {
            Claim::Keep => claimed.push(object),
            Claim::Ignore => {}
            Claim::Release => errors.extend(release(client, owner, &*object, finalizer).await.err()),
            Claim::Adopt => {
                let allowed = match may_adopt {
                    Some(allowed) => allowed,
                    None => *may_adopt.insert(still_there(client, owner).await?),
                };
                if !allowed {
                    continue;
                }
                match adopt(client, owner, &*object, finalizer).await {
                    Ok(()) => claimed.push(with_finalizer(object, finalizer)),
                    Err(e) if e.is_not_found() => {}
                    Err(e) => errors.push(e),
                }
            }
        }
    }
    error::all(errors).map(|()| claimed)
}

async fn still_there<O: Namespaced>(client: &Client, owner: &O) -> Result<bool, Error> {
    let api = Api::<O>::namespaced(client.clone(), &owner.namespace().unwrap_or_default());
    let fresh = api.get_opt(&owner.name_any()).await.doing("get owner", owner.name_any())?;
    Ok(fresh.is_some_and(|f| f.uid() == owner.uid() && f.meta().deletion_timestamp.is_none()))
}

fn with_finalizer<K: Namespaced>(object: Arc<K>, finalizer: Option<&str>) -> Arc<K> {
    let Some(finalizer) = finalizer.filter(|f| !object.finalizers().iter().any(|has| has == f)) else { return object };
    let mut copy = (*object).clone();
    copy.finalizers_mut().push(finalizer.to_owned());
    Arc::new(copy)
}

async fn adopt<O: Namespaced, K: Namespaced>(
    client: &Client,
    owner: &O,
    object: &K,
    finalizer: Option<&str>,
) -> Result<(), Error> {
    let mut patch = json!({"metadata": {"uid": object.uid(), "ownerReferences": [controller_ref(owner)]}});
    if let Some(finalizer) = finalizer {
        patch["metadata"]["finalizers"] = json!([finalizer]);
    }
    patch_object::<K>(client, object, &patch).await.doing("adopt", object.name_any())
}

/// Gone, or already owned by another of the same name: both mean that there is nothing to release.
async fn release<O: Namespaced, K: Namespaced>(
    client: &Client,
    owner: &O,
    object: &K,
    finalizer: Option<&str>,
) -> Result<(), Error> {
    let mut patch = json!({"metadata": {
        "uid": object.uid(),
        "ownerReferences": [{"$patch": "delete", "uid": owner.uid()}],
    }});
    if let Some(finalizer) = finalizer {
        patch["metadata"]["$deleteFromPrimitiveList/finalizers"] = json!([finalizer]);
    }
    match patch_object::<K>(client, object, &patch).await.doing("release", object.name_any()) {
        Err(e) if e.is_not_found() || e.is_invalid() => Ok(()),
        other => other,
    }
}

async fn patch_object<K: Namespaced>(
    client: &Client,
    object: &K,
    patch: &serde_json::Value,
) -> Result<(), kube::Error> {
    let api = Api::<K>::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    api.patch_metadata(&object.name_any(), &PatchParams::default(), &Patch::Strategic(patch)).await.map(drop)
}
