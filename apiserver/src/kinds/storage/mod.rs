//! Kinds of storage.k8s.io (Kubernetes concepts: "Storage Classes", "Volume Attributes Classes", "Storage Capacity").
//!
//! One file a concern; rules that they share with volumes stand here.

pub mod attachment;
pub mod capacity;
pub mod class;
pub mod driver;

use machinery::field::{Error, ErrorList, Path};
use machinery::names;

const DRIVER_NAME_BYTES_MAX: usize = 63;

/// The name of a CSI driver: a domain, in any case.
pub fn driver_name(name: &str, path: &Path) -> ErrorList {
    if name.is_empty() {
        return vec![Error::required(path, "")];
    }
    let mut errors = ErrorList::new();
    if name.len() > DRIVER_NAME_BYTES_MAX {
        errors.push(Error::too_long(path, DRIVER_NAME_BYTES_MAX));
    }
    let wrong = names::dns_subdomain(&name.to_lowercase());
    errors.extend(wrong.into_iter().map(|words| Error::invalid(path, name, words)));
    errors
}
