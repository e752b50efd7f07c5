//! What names one object for ever: its coordinates and its UID.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// Shared: it stands in the graph for the object, and with each of its owners.
pub(super) type Uid = Arc<str>;

/// Ordered as upstream orders alternatives: kind, version, namespace, name, UID.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Identity {
    pub(super) kind: Arc<str>,
    pub(super) api_version: Arc<str>,
    /// Empty for cluster-scoped objects, and for owners of which it is not known.
    pub(super) namespace: Box<str>,
    pub(super) name: Box<str>,
    pub(super) uid: Uid,
}

impl Identity {
    pub(super) fn of(api_version: &Arc<str>, kind: &Arc<str>, meta: &ObjectMeta) -> Self {
        Identity {
            kind: kind.clone(),
            api_version: api_version.clone(),
            namespace: meta.namespace.as_deref().unwrap_or_default().into(),
            name: meta.name.as_deref().unwrap_or_default().into(),
            uid: meta.uid.as_deref().unwrap_or_default().into(),
        }
    }

    pub(super) fn of_owner(reference: &OwnerReference, namespace: &str) -> Self {
        Identity {
            kind: reference.kind.as_str().into(),
            api_version: reference.api_version.as_str().into(),
            namespace: namespace.into(),
            name: reference.name.as_str().into(),
            uid: reference.uid.as_str().into(),
        }
    }

    /// Whether the reference means this object; a reference has no namespace.
    pub(super) fn fits(&self, reference: &OwnerReference) -> bool {
        let own = [&*self.uid, &*self.name, &*self.kind, &*self.api_version];
        own == [&reference.uid, &reference.name, &reference.kind, &reference.api_version]
    }

    pub(super) fn object_ref(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some(self.api_version.to_string()),
            kind: Some(self.kind.to_string()),
            namespace: Some(self.namespace.to_string()).filter(|n| !n.is_empty()),
            name: Some(self.name.to_string()),
            uid: Some(self.uid.to_string()),
            ..Default::default()
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Identity { kind, api_version, namespace, name, uid } = self;
        write!(f, "[{api_version}/{kind}, namespace: {namespace}, name: {name}, uid: {uid}]")
    }
}
