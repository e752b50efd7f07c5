//! Owner references: who controls an object, and whether a controller takes it, keeps it or lets it go.
//!
//! Pure but for two readers of caches. The rule is upstream's ControllerRefManager (Concepts: "Owners and Dependents").

use std::sync::Arc;

use component::informer::{Informer, Object};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::Resource;
use kube::core::{Selector, SelectorExt};

use super::map;

/// The one owner that manages the object, if any.
pub(crate) fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|o| o.controller == Some(true))
}

pub(crate) fn is_controlled_by(meta: &ObjectMeta, uid: &str) -> bool {
    controller_of(meta).is_some_and(|o| o.uid == uid)
}

/// The index by the UID of the controller; orphans are under [`orphans_of`] their namespace.
pub(crate) const BY_CONTROLLER: &str = "controller";

pub(crate) fn index_by_controller<K: Object>(informer: &Informer<K>) {
    informer.index(BY_CONTROLLER, |object| {
        let meta = object.meta();
        let controller = controller_of(meta).map(|o| o.uid.clone());
        vec![controller.unwrap_or_else(|| orphans_of(meta.namespace.as_deref().unwrap_or_default()))]
    });
}

fn orphans_of(namespace: &str) -> String {
    format!("orphans/{namespace}")
}

/// What `owner` controls, and what it might adopt. Needs [`index_by_controller`].
pub(crate) fn controlled_or_orphan<K: Object>(informer: &Informer<K>, owner: &ObjectMeta) -> Vec<Arc<K>> {
    let mut found = informer.by_index(BY_CONTROLLER, owner.uid.as_deref().unwrap_or_default());
    found.extend(informer.by_index(BY_CONTROLLER, &orphans_of(owner.namespace.as_deref().unwrap_or_default())));
    found
}

/// The reference by which `owner` controls what it makes; it blocks the owner's foreground deletion.
pub(crate) fn controller_ref<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    let meta = owner.meta();
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// A label selector ready to match. An invalid one (the API lets none in) is None: match nothing.
pub(crate) fn selector(selector: &LabelSelector) -> Option<Selector> {
    selector.clone().try_into().ok()
}

/// What a controller does about an object that might be its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It is ours and stays so.
    Keep,
    /// It matches and has no controller.
    Adopt,
    /// It is ours and matches no longer.
    Release,
    /// It is no business of ours.
    Ignore,
}

/// Decides over one object. A controller being deleted neither adopts nor releases.
pub(crate) fn claim(owner: &ObjectMeta, selector: &Selector, object: &ObjectMeta) -> Claim {
    let matches = selector.matches(map(&object.labels));
    match controller_of(object) {
        Some(controller) if Some(&controller.uid) != owner.uid.as_ref() => Claim::Ignore,
        Some(_) if matches => Claim::Keep,
        Some(_) if owner.deletion_timestamp.is_some() => Claim::Ignore,
        Some(_) => Claim::Release,
        None if !matches || owner.deletion_timestamp.is_some() || object.deletion_timestamp.is_some() => Claim::Ignore,
        None if owner.namespace != object.namespace => Claim::Ignore,
        None => Claim::Adopt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn object(labels: &[(&str, &str)], controller: Option<&str>, deleting: bool) -> ObjectMeta {
        ObjectMeta {
            namespace: Some("n".into()),
            labels: Some(labels.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()),
            owner_references: controller
                .map(|uid| vec![OwnerReference { uid: uid.into(), controller: Some(true), ..Default::default() }]),
            deletion_timestamp: deleting.then(|| super::super::time(jiff::Timestamp::UNIX_EPOCH)),
            ..Default::default()
        }
    }

    #[test]
    fn claims() {
        let web = Selector::try_from(LabelSelector {
            match_labels: Some(BTreeMap::from([("app".to_string(), "web".to_string())])),
            ..Default::default()
        })
        .unwrap();
        let owner = |deleting| ObjectMeta { uid: Some("me".into()), ..object(&[], None, deleting) };
        let app = [("app", "web")];
        let rows = [
            (owner(false), object(&app, Some("me"), false), Claim::Keep),
            (owner(false), object(&[], Some("me"), false), Claim::Release),
            (owner(false), object(&app, None, false), Claim::Adopt),
            (owner(false), object(&app, None, true), Claim::Ignore),
            (owner(false), object(&[], None, false), Claim::Ignore),
            (owner(false), object(&app, Some("other"), false), Claim::Ignore),
            (owner(true), object(&app, None, false), Claim::Ignore),
            (owner(true), object(&[], Some("me"), false), Claim::Ignore),
            (owner(true), object(&app, Some("me"), false), Claim::Keep),
        ];
        for (i, (owner, object, want)) in rows.iter().enumerate() {
            assert_eq!(claim(owner, &web, object), *want, "row {i}");
        }
    }
}
