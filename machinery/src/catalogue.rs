//! The resource catalogue: one row a resource. Discovery, routing, OpenAPI, storage keys and RBAC names read it.
//!
//! Enter at [`BUILTIN`]. Adding a kind is adding a row to [`builtin`]; what is special about a kind (defaults, validation,
//! columns) hangs beside it in the API server and is not known here. Custom resources are rows made at run time.

mod builtin;
mod infrastructure;
pub mod priorities;

use std::borrow::Cow;

pub use builtin::BUILTIN;

use crate::gvk::{Gvk, Gvr};
use crate::status::GroupResource;

pub const ALL_VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
pub const REVIEW_VERBS: &[&str] = &["create"];
pub const SUBRESOURCE_VERBS: &[&str] = &["get", "patch", "update"];

/// One resource: a collection of objects of one kind at one path.
#[derive(Clone, Debug)]
pub struct Resource {
    pub group: Cow<'static, str>,
    pub version: Cow<'static, str>,
    pub kind: Cow<'static, str>,
    /// Plural lower-case name, as in paths and RBAC rules.
    pub plural: Cow<'static, str>,
    pub singular: Cow<'static, str>,
    pub short_names: Cow<'static, [Cow<'static, str>]>,
    pub categories: Cow<'static, [Cow<'static, str>]>,
    pub namespaced: bool,
    pub verbs: &'static [&'static str],
    pub subresources: Cow<'static, [Subresource]>,
    /// Below the store's prefix: `services/specs`. `None` for what is never stored (reviews, ComponentStatus).
    pub storage: Option<Cow<'static, str>>,
    /// The kind in whose shape the objects lie in `storage`, where that is another row's: this row then shows that row's
    /// objects, converted (one store, two shapes). `None`: its own.
    pub stored_as: Option<Gvk>,
    /// What whoever still asks for it is told: since when it is deprecated, and what to use.
    pub deprecated: Option<&'static str>,
}

/// A subresource: its own verbs, sometimes its own kind.
#[derive(Clone, Debug)]
pub struct Subresource {
    pub name: Cow<'static, str>,
    /// The kind that bodies are of, where it is not the parent's: `autoscaling/v1 Scale`.
    pub kind: Option<(&'static str, &'static str, &'static str)>,
    pub verbs: &'static [&'static str],
}

impl Resource {
    pub fn gvk(&self) -> Gvk {
        Gvk::new(&self.group, &self.version, &self.kind)
    }

    pub fn gvr(&self) -> Gvr {
        Gvr::new(&self.group, &self.version, &self.plural)
    }

    /// The kind in whose shape the objects are stored.
    pub fn stored_gvk(&self) -> Gvk {
        self.stored_as.clone().unwrap_or_else(|| self.gvk())
    }

    pub fn api_version(&self) -> String {
        crate::gvk::api_version(&self.group, &self.version)
    }

    pub fn list_kind(&self) -> String {
        format!("{}List", self.kind)
    }

    pub fn group_resource(&self) -> GroupResource<'_> {
        GroupResource { group: &self.group, resource: &self.plural }
    }

    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }

    /// Whether status is written apart from the rest (Kubernetes API conventions: "Spec and Status").
    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }

    /// Whether a deletion is answered with what was deleted, where most kinds answer with a Status.
    pub fn answers_deleted(&self) -> bool {
        const CORE: [&str; 7] = [
            "persistentvolumeclaims",
            "persistentvolumes",
            "pods",
            "podtemplates",
            "resourcequotas",
            "serviceaccounts",
            "services",
        ];
        match self.group.as_ref() {
            "" => CORE.contains(&self.plural.as_ref()),
            "resource.k8s.io" => true,
            "storage.k8s.io" => self.plural != "csistoragecapacities",
            _ => false,
        }
    }

    pub fn allows(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_one_resource() {
        for (position, row) in BUILTIN.iter().enumerate() {
            let twin = BUILTIN[..position].iter().find(|other| other.gvr() == row.gvr());
            assert!(twin.is_none(), "{} stands twice", row.gvr());
            assert_eq!(row.singular, row.kind.to_lowercase(), "{}", row.gvr());
            assert_eq!(row.storage.is_some(), row.allows("watch"), "{}: stored resources can be watched", row.gvr());
            let shared: Vec<&Resource> =
                BUILTIN.iter().filter(|other| other.storage.is_some() && other.storage == row.storage).collect();
            let homes = shared.iter().filter(|other| other.stored_as.is_none()).count();
            assert_eq!(homes, usize::from(row.storage.is_some()), "{}: one row says how a store looks", row.gvr());
            assert!(shared.iter().all(|other| other.stored_gvk() == row.stored_gvk()), "{}", row.gvr());
        }
    }
}
