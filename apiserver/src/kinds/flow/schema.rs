//! FlowSchemas: which requests are of which level.

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::Value;

use super::super::defaults::{set_number, spec};
use super::super::{Column, Hooks, MetadataRounds, RESETS_WITH_METADATA, reset_status, text_column, validate};
use super::standard;
use crate::rest::table::{AGE, NAME, age};

pub static HOOKS: Hooks = Hooks {
    metadata: MetadataRounds::WHOLE,
    status_metadata: MetadataRounds::NONE,
    default: |schema| set_number(spec(schema), "matchingPrecedence", 1000),
    prepare_create: reset_status,
    resets: RESETS_WITH_METADATA,
    prepare_status: super::keep_all_metadata,
    validate: validate_schema,
    validate_status: |new, _| validate::conditions(new),
    has_generation: true,
    columns: &[
        NAME,
        text_column("PriorityLevel", "The level of its requests."),
        Column {
            name: "MatchingPrecedence",
            kind: "string",
            priority: 0,
            description: "The lowest that fits is taken.",
        },
        text_column("DistinguisherMethod", "What tells its flows apart."),
        AGE,
        text_column("MissingPL", "references a broken or non-existent PriorityLevelConfiguration"),
    ],
    cells: |schema, now| {
        let mut conditions = meta::list(schema, "status.conditions").iter();
        let dangling = conditions.find(|condition| condition["type"] == "Dangling");
        vec![
            meta::name(schema).into(),
            meta::text(schema, "spec.priorityLevelConfiguration.name").into(),
            meta::at(schema, "spec.matchingPrecedence").clone(),
            meta::at(schema, "spec.distinguisherMethod.type").as_str().unwrap_or("<none>").into(),
            age(schema, now).into(),
            dangling.map_or("?", |condition| meta::text(condition, "status")).into(),
        ]
    },
    ..Hooks::PLAIN
};

const PRECEDENCE_MAX: i64 = 10_000;

fn validate_schema(schema: &Value) -> ErrorList {
    let (path, spec, name) = (Path::new("spec"), &schema["spec"], meta::name(schema));
    let mut errors: ErrorList = precedence(spec, name, &path.child("matchingPrecedence")).into_iter().collect();
    let methods = ["ByNamespace", "ByUser"];
    let method = &spec["distinguisherMethod"];
    if method.is_object() && !methods.contains(&meta::text(method, "type")) {
        let at = path.child("distinguisherMethod").child("type");
        // Upstream shows its own type.
        let shown = format!("{{\"Type\":{}}}", machinery::field::quote(meta::text(method, "type")));
        errors.push(Error::not_supported(&at, method.clone(), &methods).showing(shown));
    }
    let at = path.child("priorityLevelConfiguration").child("name");
    errors.extend(match meta::text(spec, "priorityLevelConfiguration.name") {
        "" => vec![Error::required(&at, "must reference a priority level")],
        name => validate::named(name, names::dns_subdomain, &at),
    });
    for (position, rule) in meta::list(spec, "rules").iter().enumerate() {
        errors.extend(validate_rule(rule, &path.child("rules").index(position)));
    }
    if standard::mandatory_schema(name).is_some_and(|wanted| !validate::is_alike(spec, &wanted)) {
        errors.push(Error::invalid(&path, spec.clone(), format!("spec of '{name}' must equal the fixed value")));
    }
    errors.extend(validate::conditions(schema));
    errors
}

fn precedence(spec: &Value, name: &str, path: &Path) -> Option<Error> {
    let precedence = spec["matchingPrecedence"].as_i64().unwrap_or(0);
    let why = match precedence {
        ..=0 => "must be a positive value".to_owned(),
        1 if name != "exempt" => "only the schema named 'exempt' may have matchingPrecedence 1".to_owned(),
        _ if precedence > PRECEDENCE_MAX => format!("must not be greater than {PRECEDENCE_MAX}"),
        _ => return None,
    };
    Some(Error::invalid(path, precedence, why))
}

fn validate_rule(rule: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let list = |name: &str| meta::list(rule, name).iter().enumerate();
    if list("subjects").len() == 0 {
        errors.push(Error::required(&path.child("subjects"), "subjects must contain at least one value"));
    }
    for (position, subject) in list("subjects") {
        errors.extend(validate_subject(subject, &path.child("subjects").index(position)));
    }
    if list("resourceRules").len() == 0 && list("nonResourceRules").len() == 0 {
        let why = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.push(Error::required(path, why));
    }
    for (position, rule) in list("resourceRules") {
        errors.extend(resource_rule(rule, &path.child("resourceRules").index(position)));
    }
    for (position, rule) in list("nonResourceRules") {
        errors.extend(path_rule(rule, &path.child("nonResourceRules").index(position)));
    }
    errors
}

/// Each kind of subject and the field that tells of it.
const SUBJECTS: [(&str, &str); 3] = [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];

fn validate_subject(subject: &Value, path: &Path) -> ErrorList {
    let kind = meta::text(subject, "kind");
    if !SUBJECTS.iter().any(|(known, _)| *known == kind) {
        return vec![Error::not_supported(&path.child("kind"), kind, &["Group", "ServiceAccount", "User"])];
    }
    let mut errors = ErrorList::new();
    for (owner, field) in SUBJECTS {
        let (value, at) = (&subject[field], path.child(field));
        match (owner == kind, value.is_null()) {
            (true, true) => {
                errors.push(Error::required(&at, format!("{field} is required when subject kind is '{kind}'")));
            }
            (true, false) if kind == "ServiceAccount" => errors.extend(service_account(value, &at)),
            (true, false) if meta::text(value, "name").is_empty() => {
                errors.push(Error::required(&at.child("name"), ""));
            }
            (false, false) => {
                let why = format!("{field} is forbidden when subject kind is not '{owner}'");
                errors.push(Error::forbidden(&at, why));
            }
            _ => {}
        }
    }
    errors
}

fn service_account(account: &Value, path: &Path) -> ErrorList {
    let mut errors = match meta::text(account, "name") {
        "" => vec![Error::required(&path.child("name"), "")],
        "*" => ErrorList::new(),
        name => validate::named(name, names::dns_subdomain, &path.child("name")),
    };
    errors.extend(match meta::text(account, "namespace") {
        "" => vec![Error::required(&path.child("namespace"), "must specify namespace for service account")],
        namespace => validate::named(namespace, names::dns_label, &path.child("namespace")),
    });
    errors
}

const VERBS: [&str; 9] = ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

fn texts<'a>(rule: &'a Value, field: &str) -> Vec<&'a str> {
    meta::list(rule, field).iter().filter_map(Value::as_str).collect()
}

/// `*` says all, and then stands alone.
fn lonely_wildcard(rule: &Value, field: &str, others: &str, path: &Path) -> Option<Error> {
    let values = texts(rule, field);
    let crowded = values.len() > 1 && values.contains(&"*");
    crowded.then(|| {
        let why = format!("if '*' is present, must not specify other {others}");
        Error::invalid(&path.child(field), rule[field].clone(), why)
    })
}

fn verbs(rule: &Value, path: &Path) -> Option<Error> {
    let verbs = texts(rule, "verbs");
    if verbs.is_empty() {
        return Some(Error::required(&path.child("verbs"), "verbs must contain at least one value"));
    }
    if verbs.contains(&"*") {
        return lonely_wildcard(rule, "verbs", "verbs", path);
    }
    let unknown = verbs.iter().any(|verb| !VERBS.contains(verb));
    unknown.then(|| Error::not_supported(&path.child("verbs"), rule["verbs"].clone(), &VERBS))
}

fn resource_rule(rule: &Value, path: &Path) -> ErrorList {
    let mut errors: ErrorList = verbs(rule, path).into_iter().collect();
    for (field, one, others) in [("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")] {
        if texts(rule, field).is_empty() {
            let why = format!("resource rules must supply at least one {one}");
            errors.push(Error::required(&path.child(field), why));
        }
        errors.extend(lonely_wildcard(rule, field, others, path));
    }
    let (namespaces, at) = (texts(rule, "namespaces"), path.child("namespaces"));
    if namespaces.is_empty() && !meta::is_true(rule, "clusterScope") {
        let why = "resource rules that are not cluster scoped must supply at least one namespace";
        errors.push(Error::required(&at, why));
    } else if namespaces.contains(&"*") {
        errors.extend(lonely_wildcard(rule, "namespaces", "namespaces", path));
    } else {
        for (position, namespace) in namespaces.into_iter().enumerate() {
            let wrong = names::dns_label(namespace).into_iter();
            let words = wrong.map(|words| format!("each member of this list must be '*' or a DNS-1123 label; {words}"));
            errors.extend(words.map(|words| Error::invalid(&at.index(position), namespace, words)));
        }
    }
    errors
}

fn path_rule(rule: &Value, path: &Path) -> ErrorList {
    let mut errors: ErrorList = verbs(rule, path).into_iter().collect();
    let (urls, at) = (texts(rule, "nonResourceURLs"), path.child("nonResourceURLs"));
    if urls.is_empty() {
        errors.push(Error::required(&at, "nonResourceURLs must contain at least one value"));
    } else if urls.contains(&"*") {
        errors.extend(lonely_wildcard(rule, "nonResourceURLs", "non-resource URLs", path));
    } else {
        let wrong = urls.iter().enumerate();
        errors
            .extend(wrong.filter_map(|(position, url)| Some(Error::invalid(&at.index(position), *url, bad_url(url)?))));
    }
    errors
}

fn bad_url(url: &str) -> Option<&'static str> {
    let wildcards = url.matches('*').count();
    Some(match url {
        "" => "must not be empty",
        "/" => return None,
        _ if !url.starts_with('/') => "must start with slash",
        _ if url.contains(' ') => "must not contain white-space",
        _ if url.contains("//") => "must not contain double slash",
        _ if wildcards > 1 || (wildcards == 1 && !url.ends_with("/*")) => "wildcard can only do suffix matching",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(name: &str, spec: Value) -> Vec<String> {
        let mut schema = json!({"metadata": {"name": name}, "spec": spec});
        (HOOKS.default)(&mut schema);
        validate_schema(&schema).iter().map(Error::to_string).collect()
    }

    #[test]
    fn mandatory_schemas_stay() {
        for name in ["exempt", "catch-all"] {
            assert_eq!(told(name, standard::mandatory_schema(name).unwrap()), [""; 0]);
        }
        let mut other = standard::mandatory_schema("catch-all").unwrap();
        other["matchingPrecedence"] = json!(9999);
        assert_eq!(told("catch-all", other).len(), 1);
    }

    #[test]
    fn rules_good_and_bad() {
        let check =
            |rule: Value| -> Vec<String> { path_rule(&rule, &Path::new("r")).iter().map(Error::to_string).collect() };
        assert_eq!(check(json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/apis/*", "/"]})), [""; 0]);
        assert_eq!(
            check(json!({"verbs": ["get", "*"], "nonResourceURLs": ["x", "/a b", "/a//b", "/a*", ""]})),
            [
                "r.verbs: Invalid value: [\"get\",\"*\"]: if '*' is present, must not specify other verbs",
                "r.nonResourceURLs[0]: Invalid value: \"x\": must start with slash",
                "r.nonResourceURLs[1]: Invalid value: \"/a b\": must not contain white-space",
                "r.nonResourceURLs[2]: Invalid value: \"/a//b\": must not contain double slash",
                "r.nonResourceURLs[3]: Invalid value: \"/a*\": wildcard can only do suffix matching",
                "r.nonResourceURLs[4]: Invalid value: \"\": must not be empty",
            ]
        );
    }

    #[test]
    fn subjects_good_and_bad() {
        let check = |subject: Value| -> Vec<String> {
            validate_subject(&subject, &Path::new("s")).iter().map(Error::to_string).collect()
        };
        assert_eq!(
            check(json!({"kind": "ServiceAccount", "serviceAccount": {"name": "*", "namespace": "a"}})),
            [""; 0]
        );
        assert_eq!(
            check(json!({"kind": "Group", "user": {"name": "u"}, "group": {}})),
            ["s.user: Forbidden: user is forbidden when subject kind is not 'User'", "s.group.name: Required value"]
        );
        assert_eq!(
            check(json!({"kind": "ServiceAccount"})),
            ["s.serviceAccount: Required value: serviceAccount is required when subject kind is 'ServiceAccount'"]
        );
    }
}
