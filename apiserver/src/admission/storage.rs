//! `StorageObjectInUseProtection` and `PersistentVolumeClaimResize` (Kubernetes concept: "Persistent Volumes", storage
//! object in use protection, expanding claims).

use async_trait::async_trait;
use machinery::meta;
use machinery::quota::storage_class;
use machinery::resources::ResourceList;
use machinery::status::Status;
use serde_json::{Value, json};

use super::{Operation, Plugin, Request};

/// Claims, volumes and attribute classes bear a finalizer that a controller takes away when nobody uses them.
pub struct StorageObjectInUseProtection;

const PROTECTED: [(&str, &str, &str); 3] = [
    ("", "persistentvolumes", "kubernetes.io/pv-protection"),
    ("", "persistentvolumeclaims", "kubernetes.io/pvc-protection"),
    ("storage.k8s.io", "volumeattributesclasses", "kubernetes.io/vac-protection"),
];

#[async_trait]
impl Plugin for StorageObjectInUseProtection {
    async fn mutate(&self, request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
        for (group, plural, finalizer) in PROTECTED {
            if request.creates(group, plural) && !meta::finalizers(object).any(|own| own == finalizer) {
                let mut finalizers = meta::list(object, "metadata.finalizers").to_vec();
                finalizers.push(finalizer.into());
                meta::metadata_mut(object).insert("finalizers".into(), json!(finalizers));
            }
        }
        Ok(())
    }
}

/// Claims grow only when bound, and only where their class can.
pub struct PersistentVolumeClaimResize;

#[async_trait]
impl Plugin for PersistentVolumeClaimResize {
    async fn validate(&self, request: &Request<'_>, claim: &Value) -> Result<(), Status> {
        let (Operation::Update, true, Some(old)) =
            (request.operation, request.is("", "persistentvolumeclaims", ""), request.old)
        else {
            return Ok(());
        };
        let size = |claim: &Value| {
            let requests = ResourceList::from_value(meta::at(claim, "spec.resources.requests"));
            requests.get("storage").cloned().unwrap_or_default()
        };
        if size(claim) <= size(old) {
            return Ok(());
        }
        if meta::text(old, "status.phase") != "Bound" {
            return Err(request.forbidden_object(claim, "Only bound persistent volume claims can be expanded"));
        }
        let name = storage_class(claim);
        let class = match !name.is_empty() && name == storage_class(old) {
            true => request.api.peek_named("storage.k8s.io", "storageclasses", "", name),
            false => None,
        };
        if class.is_some_and(|class| meta::is_true(&class, "allowVolumeExpansion")) {
            return Ok(());
        }
        let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
        Err(request.forbidden_object(claim, why))
    }
}
