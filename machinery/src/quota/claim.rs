//! PersistentVolumeClaims: their number and requested storage, in all and by storage class.

use serde_json::Value;

use crate::meta;
use crate::quantity::Quantity;
use crate::resources::ResourceList;

const COUNT: &str = "count/persistentvolumeclaims";
const COUNTED: [&str; 2] = ["persistentvolumeclaims", "requests.storage"];
const BY_CLASS: &str = ".storageclass.storage.k8s.io/";

pub(super) fn counts(name: &str) -> bool {
    name == COUNT
        || COUNTED.contains(&name)
        || COUNTED.iter().any(|own| name.strip_suffix(own).is_some_and(|rest| rest.ends_with(BY_CLASS)))
}

pub(super) fn usage(claim: &Value) -> ResourceList {
    let mut usage = ResourceList::default();
    usage.count(COUNT, 1);
    usage.count(COUNTED[0], 1);
    let class = storage_class(claim);
    if !class.is_empty() {
        usage.count(format!("{class}{BY_CLASS}{}", COUNTED[0]), 1);
    }
    if let Some(storage) = storage(claim) {
        if !class.is_empty() {
            usage.set(format!("{class}{BY_CLASS}{}", COUNTED[1]), storage.clone());
        }
        usage.set(COUNTED[1], storage);
    }
    usage
}

/// The class by the old annotation, which counts first, or by the field.
pub fn storage_class(claim: &Value) -> &str {
    let annotated = meta::annotation(claim, "volume.beta.kubernetes.io/storage-class");
    annotated.unwrap_or_else(|| meta::text(claim, "spec.storageClassName"))
}

/// In whole bytes; what is allocated counts where it is more than what is asked for.
fn storage(claim: &Value) -> Option<Quantity> {
    let of = |path: &str| ResourceList::from_value(meta::at(claim, path)).get("storage").cloned();
    let mut storage = of("spec.resources.requests")?;
    if let Some(allocated) = of("status.allocatedResources").filter(|allocated| *allocated > storage) {
        storage = allocated;
    }
    storage.round_up(0);
    Some(storage)
}
