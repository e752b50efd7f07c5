//! Role-based access control: roles and bindings, kept ready in memory.
//!
//! Enter at [`Rbac::authorize`]. A task ([`follow`]) rebuilds the index when a role or binding changes; a request looks
//! only at grants of its own user and groups.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use machinery::meta;
use serde_json::Value;

use super::rules::Rule;
use super::{Attributes, Decision};
use crate::api::Api;
use crate::cache::{WatchFrom, Watcher};
use crate::request::User;
use crate::rest::current::Current;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subject {
    User(String),
    Group(String),
}

/// Rules that a binding gives to a subject.
#[derive(Clone, Debug)]
struct Grant {
    /// `None`: in the whole cluster.
    namespace: Option<String>,
    rules: Arc<[Rule]>,
    /// Names the binding in an allowing decision.
    origin: Arc<str>,
}

#[derive(Default)]
struct Index {
    grants: HashMap<Subject, Vec<Grant>>,
}

#[derive(Default)]
pub struct Rbac {
    index: RwLock<Arc<Index>>,
}

impl Rbac {
    pub fn authorize(&self, user: &User, attributes: &Attributes) -> Decision {
        let info = &attributes.info;
        for grant in self.index().grants_of(user) {
            let applies =
                grant.namespace.as_ref().is_none_or(|namespace| info.is_resource && *namespace == info.namespace);
            if applies && grant.rules.iter().any(|rule| rule.covers(info)) {
                return Decision::Allow(format!("RBAC: allowed by {}", grant.origin));
            }
        }
        Decision::NoOpinion(String::new())
    }

    /// All rules that hold for a user in a namespace (the cluster's too).
    pub fn rules_of(&self, user: &User, namespace: &str) -> Vec<Rule> {
        let index = self.index();
        let grants =
            index.grants_of(user).filter(|grant| grant.namespace.as_deref().is_none_or(|own| own == namespace));
        grants.flat_map(|grant| grant.rules.iter().cloned()).collect()
    }

    fn index(&self) -> Arc<Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, index: Index) {
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(index);
    }
}

impl Index {
    fn grants_of<'a>(&'a self, user: &User) -> impl Iterator<Item = &'a Grant> + use<'a> {
        let subjects: Vec<Subject> = std::iter::once(Subject::User(user.name.clone()))
            .chain(user.groups.iter().cloned().map(Subject::Group))
            .collect();
        subjects.into_iter().flat_map(|subject| self.grants.get(&subject).map(Vec::as_slice).unwrap_or_default())
    }

    fn build(roles: &[Value], bindings: &[Value]) -> Self {
        let rules: HashMap<(String, String), Arc<[Rule]>> = roles
            .iter()
            .map(|role| ((meta::namespace(role).to_owned(), meta::name(role).to_owned()), rules_of(role)))
            .collect();
        let mut index = Self::default();
        for binding in bindings {
            index.add(binding, &rules);
        }
        index
    }

    fn add(&mut self, binding: &Value, rules: &HashMap<(String, String), Arc<[Rule]>>) {
        let namespace = meta::namespace(binding);
        let (kind, role) = (meta::text(binding, "roleRef.kind"), meta::text(binding, "roleRef.name"));
        let home = if kind == "Role" { namespace } else { "" };
        let Some(rules) = rules.get(&(home.to_owned(), role.to_owned())) else { return };
        let origin = origin(binding, namespace, kind, role);
        for subject in meta::list(binding, "subjects").iter().filter_map(|subject| parse_subject(subject, namespace)) {
            self.grants.entry(subject).or_default().push(Grant {
                namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
                rules: rules.clone(),
                origin: origin.as_str().into(),
            });
        }
    }
}

fn origin(binding: &Value, namespace: &str, kind: &str, role: &str) -> String {
    let name = meta::name(binding);
    if namespace.is_empty() {
        format!("ClusterRoleBinding \"{name}\" of {kind} \"{role}\"")
    } else {
        format!("RoleBinding \"{name}/{namespace}\" of {kind} \"{role}\"")
    }
}

fn rules_of(role: &Value) -> Arc<[Rule]> {
    meta::list(role, "rules").iter().filter_map(Rule::parse).collect()
}

fn parse_subject(subject: &Value, binding_namespace: &str) -> Option<Subject> {
    let name = subject["name"].as_str()?;
    match subject["kind"].as_str()? {
        "User" => Some(Subject::User(name.to_owned())),
        "Group" => Some(Subject::Group(name.to_owned())),
        "ServiceAccount" => {
            let namespace = subject["namespace"].as_str().filter(|text| !text.is_empty()).unwrap_or(binding_namespace);
            Some(Subject::User(format!("system:serviceaccount:{namespace}:{name}")))
        }
        _ => None,
    }
}

impl Rule {
    pub fn parse(rule: &Value) -> Option<Rule> {
        serde::Deserialize::deserialize(rule).ok()
    }
}

const GROUP: &str = "rbac.authorization.k8s.io";
const ROLES: [&str; 2] = ["roles", "clusterroles"];
const BINDINGS: [&str; 2] = ["rolebindings", "clusterrolebindings"];

/// Builds the index from the cache, now.
pub fn rebuild(api: &Api) {
    let objects = |plurals: [&str; 2]| -> Vec<Value> {
        let rows = plurals.iter().filter_map(|plural| api.catalogue.find(GROUP, "v1", plural));
        rows.flat_map(|served| {
            let snapshot = api.cache.list(served.id, &api.catalogue.prefix(served, ""));
            snapshot
                .iter()
                .filter_map(|item| Current::from_item(item).ok())
                .map(|current| current.object)
                .collect::<Vec<_>>()
        })
        .collect()
    };
    api.authorizer.rbac.replace(Index::build(&objects(ROLES), &objects(BINDINGS)));
}

/// Keeps the index up to date until shutdown.
pub async fn follow_when_ready(api: Arc<Api>) {
    if !api.is_loaded().await {
        return;
    }
    loop {
        let mut watchers: Vec<Watcher> = ROLES
            .iter()
            .chain(&BINDINGS)
            .filter_map(|plural| api.catalogue.find(GROUP, "v1", plural))
            .map(|served| api.cache.watch(served.id, &api.catalogue.prefix(served, ""), WatchFrom::Now))
            .collect();
        // After the watches are open: what comes between is seen by both, never by neither.
        rebuild(&api);
        let changed = futures::future::select_all(watchers.iter_mut().map(|watcher| Box::pin(watcher.next())));
        tokio::select! {
            biased;
            (event, ..) = changed => if event.is_err() && api.shutdown.is_triggered() { return },
            () = api.shutdown.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::RequestInfo;
    use serde_json::json;

    #[test]
    fn bindings_give_rules_to_their_subjects() {
        let roles = [
            json!({"metadata": {"name": "reader"}, "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]}),
        ];
        let bindings = [json!({
            "metadata": {"name": "b", "namespace": "a"},
            "roleRef": {"kind": "ClusterRole", "name": "reader"},
            "subjects": [{"kind": "ServiceAccount", "name": "x"}, {"kind": "Group", "name": "g"}],
        })];
        let rbac = Rbac::default();
        rbac.replace(Index::build(&roles, &bindings));
        let ask = |name: &str, group: &str, namespace: &str| {
            let user = User { name: name.into(), groups: vec![group.into()], ..User::default() };
            let info = RequestInfo {
                verb: "get".into(),
                is_resource: true,
                resource: "pods".into(),
                namespace: namespace.into(),
                ..RequestInfo::default()
            };
            matches!(rbac.authorize(&user, &Attributes { info, ..Attributes::default() }), Decision::Allow(_))
        };
        assert!(ask("system:serviceaccount:a:x", "", "a"));
        assert!(ask("bob", "g", "a"));
        assert!(!ask("bob", "g", "b"));
        assert!(!ask("bob", "", "a"));
    }
}
