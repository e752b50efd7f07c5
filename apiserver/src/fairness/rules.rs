//! Which FlowSchema a request falls under. Pure; the rules are made ready once, when they change.

use k8s_openapi::api::flowcontrol::v1::{
    FlowSchemaSpec, NonResourcePolicyRule, PolicyRulesWithSubjects, ResourcePolicyRule, Subject,
};

use crate::request::{RequestInfo, User};

/// Whether any of the schema's rules is about the request.
pub fn matches(spec: &FlowSchemaSpec, info: &RequestInfo, user: &User) -> bool {
    spec.rules.iter().flatten().any(|rule| rule_matches(rule, info, user))
}

/// What tells the schema's flows apart.
pub fn distinguisher<'a>(spec: &FlowSchemaSpec, info: &'a RequestInfo, user: &'a User) -> &'a str {
    match spec.distinguisher_method.as_ref().map(|method| method.type_.as_str()) {
        Some("ByUser") => &user.name,
        Some("ByNamespace") => &info.namespace,
        _ => "",
    }
}

fn rule_matches(rule: &PolicyRulesWithSubjects, info: &RequestInfo, user: &User) -> bool {
    if !rule.subjects.iter().any(|subject| is_subject(subject, user)) {
        return false;
    }
    match info.is_resource {
        true => rule.resource_rules.iter().flatten().any(|rule| is_resource(rule, info)),
        false => rule.non_resource_rules.iter().flatten().any(|rule| is_path(rule, info)),
    }
}

fn is_subject(subject: &Subject, user: &User) -> bool {
    match subject.kind.as_str() {
        "User" => subject.user.as_ref().is_some_and(|wanted| wanted.name == "*" || wanted.name == user.name),
        "Group" => subject.group.as_ref().is_some_and(|wanted| wanted.name == "*" || user.is_in(&wanted.name)),
        "ServiceAccount" => {
            let (Some(wanted), Some((namespace, name))) = (&subject.service_account, user.service_account()) else {
                return false;
            };
            wanted.namespace == namespace && (wanted.name == "*" || wanted.name == name)
        }
        _ => false,
    }
}

fn is_resource(rule: &ResourcePolicyRule, info: &RequestInfo) -> bool {
    let in_namespace = match &rule.namespaces {
        _ if info.namespace.is_empty() => rule.cluster_scope == Some(true),
        Some(namespaces) => has(namespaces, &info.namespace),
        None => false,
    };
    in_namespace
        && has(&rule.verbs, &info.verb)
        && has(&rule.api_groups, &info.group)
        && rule.resources.iter().any(|wanted| wanted == "*" || is_named(wanted, info))
}

/// `resource`, or `resource/subresource`.
fn is_named(wanted: &str, info: &RequestInfo) -> bool {
    match wanted.split_once('/') {
        Some((resource, subresource)) => resource == info.resource && subresource == info.subresource,
        None => wanted == info.resource && info.subresource.is_empty(),
    }
}

fn is_path(rule: &NonResourcePolicyRule, info: &RequestInfo) -> bool {
    // A path stands for what lies below it, too.
    let covers = |wanted: &String| {
        let below = wanted.trim_end_matches('*').trim_end_matches('/');
        wanted == "*" || *wanted == info.path || info.path.strip_prefix(below).is_some_and(|rest| rest.starts_with('/'))
    };
    has(&rule.verbs, &info.verb) && rule.non_resource_urls.iter().any(covers)
}

fn has(list: &[String], value: &str) -> bool {
    list.iter().any(|own| own == "*" || own == value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::flow_standard::{mandatory_schemas, suggested_schemas};
    use crate::request::Query;
    use http::Method;

    fn level_of(method: &Method, path: &str, user: &str, groups: &[&str]) -> String {
        let info = RequestInfo::parse(method, path, &Query::default());
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        let user = User { name: user.to_owned(), groups, ..User::default() }.authenticated();
        let specs = mandatory_schemas().into_iter().chain(suggested_schemas());
        let mut specs: Vec<FlowSchemaSpec> =
            specs.map(|(_, spec)| serde_json::from_value(spec).expect("a standard schema")).collect();
        specs.sort_by_key(|spec| spec.matching_precedence);
        let found = specs.iter().find(|spec| matches(spec, &info, &user)).expect("some schema");
        found.priority_level_configuration.name.clone()
    }

    #[test]
    fn standard_schemas_sort_requests_as_upstream_does() {
        let get = &Method::GET;
        let put = &Method::PUT;
        let pods = "/api/v1/namespaces/a/pods";
        for (method, path, user, groups, level) in [
            (get, pods, "admin", &["system:masters"][..], "exempt"),
            (get, "/livez/ping", "u", &[], "exempt"),
            (get, "/livezz", "u", &[], "global-default"),
            (get, "/version", "u", &[], "global-default"),
            (put, "/api/v1/nodes/n/status", "system:node:n", &["system:nodes"], "node-high"),
            (
                put,
                "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n",
                "x",
                &["system:nodes"],
                "node-high",
            ),
            (get, pods, "system:node:n", &["system:nodes"], "system"),
            (get, pods, "system:kube-scheduler", &[], "workload-high"),
            (
                put,
                "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/x",
                "system:kube-scheduler",
                &[],
                "leader-election",
            ),
            (get, pods, "system:serviceaccount:kube-system:a", &["system:serviceaccounts"], "workload-high"),
            (get, pods, "system:serviceaccount:a:b", &["system:serviceaccounts"], "workload-low"),
            (get, pods, "someone", &[], "global-default"),
        ] {
            assert_eq!(level_of(method, path, user, groups), level, "{method} {path} {user}");
        }
    }
}
