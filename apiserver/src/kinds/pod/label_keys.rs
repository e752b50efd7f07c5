//! `matchLabelKeys` and `mismatchLabelKeys`: selectors that go by the new pod's own labels (Kubernetes concepts: "Assigning
//! Pods to Nodes", "Pod Topology Spread Constraints").
//!
//! Enter at [`merge`], once, on a create: from then on the selector says it all, and the scheduler need know no more.

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::{Map, Value, json};

use crate::kinds::validate;

const WAYS: [(&str, &str); 2] = [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")];

pub fn merge(pod: &mut Value) {
    if ["topologySpreadConstraints", "affinity"].iter().all(|field| pod["spec"][field].is_null()) {
        return;
    }
    let labels = meta::map(pod, "metadata.labels").clone();
    let spec = &mut pod["spec"];
    for term in spec["topologySpreadConstraints"].as_array_mut().into_iter().flatten() {
        merge_term(term, &labels);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(affinity) = spec.pointer_mut(&format!("/affinity/{kind}")) else { continue };
        for weighted in affinity["preferredDuringSchedulingIgnoredDuringExecution"].as_array_mut().into_iter().flatten()
        {
            merge_term(&mut weighted["podAffinityTerm"], &labels);
        }
        for term in affinity["requiredDuringSchedulingIgnoredDuringExecution"].as_array_mut().into_iter().flatten() {
            merge_term(term, &labels);
        }
    }
}

/// A term without a selector is for no pod, whatever its keys.
fn merge_term(term: &mut Value, labels: &Map<String, Value>) {
    let more: Vec<Value> = WAYS
        .iter()
        .flat_map(|(field, operator)| meta::list(term, field).iter().map(move |key| (key, operator)))
        .filter_map(|(key, operator)| {
            let value = labels.get(key.as_str()?)?;
            Some(json!({"key": key, "operator": operator, "values": [value]}))
        })
        .collect();
    let Some(selector) = term.get_mut("labelSelector").and_then(Value::as_object_mut) else { return };
    if more.is_empty() {
        return;
    }
    if let Value::Array(expressions) = selector.entry("matchExpressions").or_insert_with(|| json!([])) {
        expressions.extend(more);
    }
}

/// Rules of the keys of a term; `path` is the term's.
pub fn validate(term: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (field, _) in WAYS {
        let (keys, at) = (meta::list(term, field), path.child(field));
        if !keys.is_empty() && term["labelSelector"].is_null() {
            errors.push(Error::forbidden(&at, "must not be specified when labelSelector is not set"));
            continue;
        }
        for (position, key) in keys.iter().filter_map(Value::as_str).enumerate() {
            errors.extend(validate::named(key, names::qualified_name, &at.index(position)));
        }
    }
    errors.extend(twice_in_selector(term, path));
    let others = meta::list(term, "mismatchLabelKeys");
    for (position, key) in meta::list(term, "matchLabelKeys").iter().enumerate().filter(|(_, key)| others.contains(key))
    {
        let at = path.child("matchLabelKeys").index(position);
        errors.push(Error::invalid(&at, key.clone(), "exists in both matchLabelKeys and mismatchLabelKeys"));
    }
    errors
}

/// Once is what the keys themselves put there.
fn twice_in_selector(term: &Value, path: &Path) -> ErrorList {
    let keys = meta::list(term, "matchLabelKeys");
    let mut seen: Vec<&str> = meta::map(term, "labelSelector.matchLabels").keys().map(String::as_str).collect();
    let mut errors = ErrorList::new();
    for key in meta::list(term, "labelSelector.matchExpressions").iter().map(|own| meta::text(own, "key")) {
        if let Some(position) = keys.iter().rposition(|own| own == key).filter(|_| seen.contains(&key)) {
            // Upstream's path lacks the field's name.
            errors.push(Error::invalid(&path.index(position), key, "exists in both matchLabelKeys and labelSelector"));
        }
        seen.push(key);
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_say_what_the_keys_mean() {
        let term = json!({
            "labelSelector": {"matchLabels": {"app": "a"}}, "matchLabelKeys": ["hash", "none"], "mismatchLabelKeys": ["tenant"],
        });
        let spread = json!({"matchLabelKeys": ["hash"]});
        let mut pod = json!({
            "metadata": {"labels": {"hash": "1", "tenant": "t"}},
            "spec": {
                "topologySpreadConstraints": [spread.clone()],
                "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}},
            },
        });
        merge(&mut pod);
        let term = &pod["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0];
        assert_eq!(
            term["labelSelector"]["matchExpressions"],
            json!([
                {"key": "hash", "operator": "In", "values": ["1"]},
                {"key": "tenant", "operator": "NotIn", "values": ["t"]},
            ])
        );
        assert_eq!(pod["spec"]["topologySpreadConstraints"][0], spread);
        assert!(validate(term, &Path::new("t")).is_empty());
    }

    #[test]
    fn keys_that_say_too_much_are_refused() {
        let told =
            |term: Value| -> Vec<String> { validate(&term, &Path::new("t")).iter().map(ToString::to_string).collect() };
        for (term, want) in [
            (
                json!({"matchLabelKeys": ["a"]}),
                vec!["t.matchLabelKeys: Forbidden: must not be specified when labelSelector is not set"],
            ),
            (
                json!({"matchLabelKeys": ["a"], "mismatchLabelKeys": ["a"], "labelSelector": {}}),
                vec!["t.matchLabelKeys[0]: Invalid value: \"a\": exists in both matchLabelKeys and mismatchLabelKeys"],
            ),
            (
                json!({"matchLabelKeys": ["a"], "labelSelector": {
                    "matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}}),
                vec!["t[0]: Invalid value: \"a\": exists in both matchLabelKeys and labelSelector"],
            ),
        ] {
            assert_eq!(told(term.clone()), want, "{term}");
        }
    }
}
