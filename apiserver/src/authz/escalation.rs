//! Nobody grants more than they hold (Kubernetes reference: "Privilege escalation prevention and bootstrapping").
//!
//! Enter at [`check`]: before a role or a binding is written, its rules are compared with the writer's own. The verbs
//! `escalate` and `bind` are the ways around it.

use std::collections::BTreeMap;

use machinery::field::{aggregate, quote};
use machinery::meta;
use machinery::status::Status;
use serde_json::Value;

use super::rules::Rule;
use super::{Attributes, Decision};
use crate::api::Api;
use crate::catalogue::Served;
use crate::request::{MASTERS, RequestInfo, User};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Refuses a role or binding (`object`, about to be written over `old`) that would grant what `user` does not hold.
pub fn check(
    api: &Api,
    served: &Served,
    info: &RequestInfo,
    user: &User,
    object: &Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    if served.row.group != GROUP || user.is_in(MASTERS) || old.is_some_and(|old| differs_for_collector(object, old)) {
        return Ok(());
    }
    let held = || api.authorizer.rbac.held_by(user, &info.namespace);
    let refuse = |why: &str| Err(Status::forbidden(served.row.group_resource(), meta::name(object), why));
    let granted = if is_role(object) {
        if allows(api, user, RequestInfo { verb: "escalate".to_owned(), ..info.clone() }) {
            return Ok(());
        }
        let aggregates = |role: &Value| !meta::list(role, "aggregationRule.clusterRoleSelectors").is_empty();
        if (aggregates(object) || old.is_some_and(aggregates)) && !excess(&everything(), &held().rules).is_empty() {
            return refuse("must have cluster-admin privileges to use the aggregationRule");
        }
        rules_of(object)
    } else {
        if allows(api, user, bind(object, &info.namespace)) {
            return Ok(());
        }
        referenced(api, object, &info.namespace)?
    };
    let held = held();
    match excess(&granted, &held.rules).as_slice() {
        [] => Ok(()),
        missing if held.missing.is_empty() => refuse(&told(user, missing)),
        missing => refuse(&format!("{}; resolution errors: [{}]", told(user, missing), aggregate(&held.missing))),
    }
}

fn is_role(object: &Value) -> bool {
    object.get("roleRef").is_none()
}

fn allows(api: &Api, user: &User, info: RequestInfo) -> bool {
    let decision = api.authorizer.authorize(api, user, &Attributes { info, ..Attributes::default() });
    matches!(decision, Decision::Allow(_))
}

fn bind(binding: &Value, namespace: &str) -> RequestInfo {
    let resource = if meta::text(binding, "roleRef.kind") == "Role" { "roles" } else { "clusterroles" };
    RequestInfo {
        verb: "bind".to_owned(),
        is_resource: true,
        group: meta::text(binding, "roleRef.apiGroup").to_owned(),
        namespace: namespace.to_owned(),
        resource: resource.to_owned(),
        name: meta::text(binding, "roleRef.name").to_owned(),
        ..RequestInfo::default()
    }
}

/// The rules of the role that a binding refers to.
fn referenced(api: &Api, binding: &Value, namespace: &str) -> Result<Vec<Rule>, Status> {
    let (plural, namespace) = match meta::text(binding, "roleRef.kind") {
        "Role" => ("roles", namespace),
        _ => ("clusterroles", ""),
    };
    let name = meta::text(binding, "roleRef.name");
    let role = api.peek_named(GROUP, plural, namespace, name);
    let of = machinery::status::GroupResource { group: GROUP, resource: plural };
    role.map(|role| rules_of(&role)).ok_or_else(|| Status::not_found(of, name))
}

fn rules_of(role: &Value) -> Vec<Rule> {
    meta::list(role, "rules").iter().filter_map(Rule::parse).collect()
}

fn everything() -> [Rule; 2] {
    let all = || vec!["*".to_owned()];
    [
        Rule { verbs: all(), api_groups: all(), resources: all(), ..Rule::default() },
        Rule { verbs: all(), non_resource_urls: all(), ..Rule::default() },
    ]
}

/// What the granted rules allow and no held one does.
fn excess(granted: &[Rule], held: &[Rule]) -> Vec<Rule> {
    granted.iter().flat_map(|rule| rule.beyond(held)).collect()
}

/// The garbage collector may write owners and finalizers of roles that it does not hold.
fn differs_for_collector(new: &Value, old: &Value) -> bool {
    let without = |object: &Value| {
        let mut object = object.clone();
        for field in ["ownerReferences", "finalizers", "managedFields", "resourceVersion"] {
            meta::metadata_mut(&mut object).remove(field);
        }
        object
    };
    without(new) == without(old)
}

fn told(user: &User, missing: &[Rule]) -> String {
    let mut verbs: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for rule in missing {
        let without_verbs = Rule { verbs: Vec::new(), ..rule.clone() };
        let of_rule = verbs.entry(shown(&without_verbs)).or_default();
        of_rule
            .extend(rule.verbs.iter().map(String::as_str).filter(|verb| !of_rule.contains(verb)).collect::<Vec<_>>());
    }
    let lines: Vec<String> = verbs.iter().map(|(rule, verbs)| format!("{{{rule}, Verbs:{}}}", quoted(verbs))).collect();
    let groups: Vec<&str> = user.groups.iter().map(String::as_str).collect();
    format!(
        "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        quote(&user.name),
        quoted(&groups),
        lines.join("\n")
    )
}

fn shown(rule: &Rule) -> String {
    let parts = [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.non_resource_urls),
        ("ResourceNames", &rule.resource_names),
    ];
    let parts = parts.iter().filter(|(_, list)| !list.is_empty());
    let parts =
        parts.map(|(name, list)| format!("{name}:{}", quoted(&list.iter().map(String::as_str).collect::<Vec<_>>())));
    parts.collect::<Vec<_>>().join(", ")
}

/// As Go prints a list of strings: `["a" "b"]`.
fn quoted(list: &[&str]) -> String {
    format!("[{}]", list.iter().map(|text| quote(text)).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rules(rules: &Value) -> Vec<Rule> {
        rules_of(&json!({"rules": rules}))
    }

    #[test]
    fn tells_what_is_missing_in_upstreams_words() {
        let held = rules(&json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]));
        let granted = rules(&json!([
            {"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["pods"]},
            {"verbs": ["get"], "nonResourceURLs": ["/x"]},
        ]));
        assert!(excess(&held, &granted).is_empty());
        let user = User { name: "bob".into(), groups: vec!["a".into(), "b".into()], ..User::default() };
        assert_eq!(
            told(&user, &excess(&granted, &held)),
            "user \"bob\" (groups=[\"a\" \"b\"]) is attempting to grant RBAC permissions not currently held:\n\
             {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"list\" \"watch\"]}\n\
             {NonResourceURLs:[\"/x\"], Verbs:[\"get\"]}"
        );
    }

    #[test]
    fn the_collector_may_write_its_own_fields() {
        let old = json!({"metadata": {"name": "a", "finalizers": ["x"]}, "rules": []});
        let mut new = json!({"metadata": {"name": "a"}, "rules": []});
        assert!(differs_for_collector(&new, &old));
        new["rules"] = json!([{}]);
        assert!(!differs_for_collector(&new, &old));
    }
}
