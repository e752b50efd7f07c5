//! Upstream's default roles and bindings, read from the table `policy.txt` beside this file.
//!
//! Kubernetes reference: "Using RBAC Authorization", default roles, auto-reconciliation: rules and subjects that are
//! missing are added at each start, unless the object says `rbac.authorization.kubernetes.io/autoupdate: "false"`.

use machinery::meta;
use machinery::status::Status;
use serde_json::{Value, json};

use super::ensure_as;
use crate::api::Api;

const TABLE: &str = include_str!("policy.txt");
const GROUP: &str = "rbac.authorization.k8s.io";
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

pub async fn ensure(api: &Api) -> Result<(), Status> {
    for (plural, object) in parse(TABLE) {
        let wanted = object.clone();
        ensure_as(api, GROUP, plural, object, |old| mend(old, &wanted)).await?;
    }
    Ok(())
}

/// The stored object with what it lacks of the wanted one.
fn mend(old: &Value, wanted: &Value) -> Value {
    let mut new = old.clone();
    if meta::annotation(old, AUTOUPDATE) == Some("false") {
        return new;
    }
    // Rules of an aggregating role are its controller's to write.
    let lists: &[&str] = if wanted["aggregationRule"].is_null() { &["rules", "subjects"] } else { &[] };
    for list in lists {
        let mut items = meta::list(old, list).to_vec();
        let missing: Vec<Value> =
            meta::list(wanted, list).iter().filter(|item| !items.contains(item)).cloned().collect();
        if !missing.is_empty() {
            items.extend(missing);
            new[list] = Value::Array(items);
        }
    }
    let mut labels = meta::map(old, "metadata.labels").clone();
    labels.extend(meta::map(wanted, "metadata.labels").clone());
    meta::metadata_mut(&mut new).insert("labels".into(), Value::Object(labels));
    new
}

/// The table's objects with their plural resource names. Lines that begin at the margin name an object, indented ones
/// are its rules (`verbs groups resources [names …]`, `verbs urls …`) or its subjects (`kind [namespace/]name`).
fn parse(table: &'static str) -> Vec<(&'static str, Value)> {
    let mut objects: Vec<(&'static str, Value)> = Vec::new();
    for line in table.lines().filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if line.starts_with(' ') {
            if let Some((plural, object)) = objects.last_mut() {
                let (list, item) =
                    if plural.ends_with("bindings") { ("subjects", subject(&words)) } else { ("rules", rule(&words)) };
                let items = &mut object[list];
                if let Some(items) = items.as_array_mut() {
                    items.push(item);
                } else {
                    *items = json!([item]);
                }
            }
        } else {
            objects.push(head(&words));
        }
    }
    objects
}

fn head(words: &[&'static str]) -> (&'static str, Value) {
    let word = |position: usize| words.get(position).copied().unwrap_or_default();
    let (plural, kind) = match word(0) {
        "clusterrole" => ("clusterroles", "ClusterRole"),
        "role" => ("roles", "Role"),
        "clusterrolebinding" => ("clusterrolebindings", "ClusterRoleBinding"),
        _ => ("rolebindings", "RoleBinding"),
    };
    // Names of namespaced objects stand behind their namespace; cluster-wide names have no slash.
    let (namespace, name) = word(1).split_once('/').unwrap_or(("", word(1)));
    let mut object = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": kind,
        "metadata": {
            "name": name, "annotations": {AUTOUPDATE: "true"},
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        },
    });
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = json!(namespace);
    }
    if let Some((kind, name)) = word(2).split_once('/').filter(|_| plural.ends_with("bindings")) {
        object["roleRef"] = json!({"apiGroup": GROUP, "kind": kind, "name": name});
    }
    for mark in &words[2..] {
        let label = |role: &str| format!("{GROUP}/aggregate-to-{role}");
        if let Some(role) = mark.strip_prefix("aggregate-to=") {
            object["metadata"]["labels"][label(role)] = json!("true");
        } else if let Some(role) = mark.strip_prefix("aggregates=") {
            object["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {label(role): "true"}}]});
        }
    }
    (plural, object)
}

fn list(words: &str) -> Value {
    words.split(',').map(|word| Value::from(word.trim_matches('"'))).collect()
}

fn rule(words: &[&str]) -> Value {
    match words {
        [verbs, "urls", urls] => json!({"nonResourceURLs": list(urls), "verbs": list(verbs)}),
        [verbs, groups, resources, rest @ ..] => {
            let mut rule = json!({"apiGroups": list(groups), "resources": list(resources), "verbs": list(verbs)});
            if let ["names", names] = rest {
                rule["resourceNames"] = list(names);
            }
            rule
        }
        _ => json!({}),
    }
}

fn subject(words: &[&str]) -> Value {
    let [kind, name] = words else { return json!({}) };
    match name.split_once('/') {
        Some((namespace, name)) if *kind == "ServiceAccount" => {
            json!({"kind": kind, "name": name, "namespace": namespace})
        }
        _ => json!({"apiGroup": GROUP, "kind": kind, "name": name}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_understood() {
        let objects = parse(TABLE);
        assert!(objects.len() > 100);
        for (plural, object) in &objects {
            for rule in meta::list(object, "rules") {
                assert!(rule["verbs"].is_array(), "{plural} {}: {rule}", meta::name(object));
            }
            for subject in meta::list(object, "subjects") {
                assert!(subject["name"].is_string(), "{plural} {}: {subject}", meta::name(object));
            }
            assert_eq!(plural.ends_with("bindings"), !object["roleRef"].is_null());
        }
    }

    #[test]
    fn what_is_missing_is_added_and_nothing_taken() {
        let wanted = json!({"metadata": {"labels": {"b": "2"}}, "rules": [{"verbs": ["get"]}]});
        let old = json!({"metadata": {"labels": {"a": "1"}}, "rules": [{"verbs": ["list"]}]});
        let mended = mend(&old, &wanted);
        assert_eq!(meta::list(&mended, "rules").len(), 2);
        assert_eq!(meta::map(&mended, "metadata.labels").len(), 2);
        assert_eq!(mend(&mended, &wanted), mended);
    }
}
