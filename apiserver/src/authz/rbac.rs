//! Role-based access control: roles and bindings, kept ready in memory.
//!
//! Enter at [`Rbac::authorize`]. A task ([`follow`]) rebuilds the index when a role or binding changes; a request looks
//! only at grants of its own user and groups.

use std::collections::HashMap;
use std::iter::once;
use std::sync::{Arc, PoisonError, RwLock};

use machinery::field::{aggregate, quote};
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

impl Subject {
    fn is(&self, user: &User) -> bool {
        match self {
            Self::User(name) => user.name == *name,
            Self::Group(name) => user.groups.contains(name),
        }
    }
}

/// A binding, and what it gives.
#[derive(Debug)]
struct Grant {
    /// `None`: in the whole cluster.
    namespace: Option<String>,
    /// Or that there is no such role.
    rules: Result<Arc<[Rule]>, String>,
    /// Names the binding in an allowing decision.
    origin: String,
    /// To whom, and what they are called there.
    subjects: Vec<(Subject, String)>,
}

#[derive(Default)]
struct Index {
    grants: HashMap<Subject, Vec<Arc<Grant>>>,
}

#[derive(Default)]
pub struct Rbac {
    index: RwLock<Arc<Index>>,
}

/// What a user may do in a namespace.
#[derive(Debug, Default)]
pub struct Held {
    pub rules: Vec<Rule>,
    /// Roles that are bound and not there.
    pub missing: Vec<String>,
}

impl Rbac {
    pub fn authorize(&self, user: &User, attributes: &Attributes) -> Decision {
        let info = &attributes.info;
        let namespace = if info.is_resource { info.namespace.as_str() } else { "" };
        let (index, mut missing) = (self.index(), Vec::new());
        for grant in index.grants_of(user, namespace) {
            match &grant.rules {
                Ok(rules) if rules.iter().any(|rule| rule.covers(info)) => {
                    return Decision::Allow(grant.reason(user));
                }
                Ok(_) => {}
                Err(why) => missing.push(why),
            }
        }
        Decision::NoOpinion(if missing.is_empty() { String::new() } else { format!("RBAC: {}", aggregate(missing)) })
    }

    /// All that holds for a user in a namespace (what holds in the cluster does, too).
    pub fn held_by(&self, user: &User, namespace: &str) -> Held {
        let index = self.index();
        let mut grants: Vec<&Arc<Grant>> = Vec::new();
        for grant in index.grants_of(user, namespace) {
            // One binding may name a user and several groups of theirs.
            if !grants.iter().any(|known| Arc::ptr_eq(known, grant)) {
                grants.push(grant);
            }
        }
        let mut held = Held::default();
        for grant in grants {
            match &grant.rules {
                Ok(rules) => held.rules.extend(rules.iter().cloned()),
                Err(why) => held.missing.push(why.clone()),
            }
        }
        held
    }

    fn index(&self) -> Arc<Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, index: Index) {
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(index);
    }
}

impl Grant {
    fn reason(&self, user: &User) -> String {
        let subject = self.subjects.iter().find(|(subject, _)| subject.is(user));
        let shown = subject.map(|(_, shown)| shown.as_str()).unwrap_or_default();
        format!("RBAC: allowed by {} to {shown}", self.origin)
    }
}

impl Index {
    fn grants_of<'a>(&'a self, user: &User, namespace: &str) -> impl Iterator<Item = &'a Arc<Grant>> {
        let subjects = once(Subject::User(user.name.clone())).chain(user.groups.iter().cloned().map(Subject::Group));
        subjects
            .flat_map(|subject| self.grants.get(&subject).map(Vec::as_slice).unwrap_or_default())
            .filter(move |grant| grant.namespace.as_deref().is_none_or(|own| own == namespace))
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
        let subjects = meta::list(binding, "subjects").iter().filter_map(|subject| parse_subject(subject, namespace));
        let grant = Arc::new(Grant {
            namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
            rules: rules
                .get(&(home.to_owned(), role.to_owned()))
                .cloned()
                .ok_or_else(|| format!("{}.rbac.authorization.k8s.io {} not found", kind.to_lowercase(), quote(role))),
            origin: origin(binding, namespace, kind, role),
            subjects: subjects.collect(),
        });
        for (subject, _) in &grant.subjects {
            self.grants.entry(subject.clone()).or_default().push(grant.clone());
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

/// Who it is, and what they are called.
fn parse_subject(subject: &Value, binding_namespace: &str) -> Option<(Subject, String)> {
    let (kind, name) = (subject["kind"].as_str()?, subject["name"].as_str()?);
    let (subject, shown) = match kind {
        "User" => (Subject::User(name.to_owned()), quote(name)),
        "Group" => (Subject::Group(name.to_owned()), quote(name)),
        "ServiceAccount" => {
            let namespace = subject["namespace"].as_str().filter(|text| !text.is_empty()).unwrap_or(binding_namespace);
            let user = format!("system:serviceaccount:{namespace}:{name}");
            (Subject::User(user), quote(&format!("{name}/{namespace}")))
        }
        _ => return None,
    };
    Some((subject, format!("{kind} {shown}")))
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
        let bindings = [
            json!({
                "metadata": {"name": "b", "namespace": "a"},
                "roleRef": {"kind": "ClusterRole", "name": "reader"},
                "subjects": [{"kind": "ServiceAccount", "name": "x"}, {"kind": "Group", "name": "g"}],
            }),
            json!({
                "metadata": {"name": "none"},
                "roleRef": {"kind": "ClusterRole", "name": "gone"},
                "subjects": [{"kind": "User", "name": "bob"}],
            }),
        ];
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
            match rbac.authorize(&user, &Attributes { info, ..Attributes::default() }) {
                Decision::Allow(reason) | Decision::NoOpinion(reason) => reason,
            }
        };
        let of = "RBAC: allowed by RoleBinding \"b/a\" of ClusterRole \"reader\" to";
        assert_eq!(ask("system:serviceaccount:a:x", "", "a"), format!("{of} ServiceAccount \"x/a\""));
        assert_eq!(ask("bob", "g", "a"), format!("{of} Group \"g\""));
        assert_eq!(ask("system:serviceaccount:a:x", "g", "a"), format!("{of} ServiceAccount \"x/a\""));
        let gone = "RBAC: clusterrole.rbac.authorization.k8s.io \"gone\" not found";
        assert_eq!([ask("bob", "g", "b"), ask("bob", "", "a")], [gone, gone]);
        assert_eq!(ask("eve", "g", "b"), "");
        let both = User { name: "system:serviceaccount:a:x".into(), groups: vec!["g".into()], ..User::default() };
        assert_eq!(rbac.held_by(&both, "a").rules.len(), 1, "one binding gives once");
    }
}
