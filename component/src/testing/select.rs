//! Label and field selectors, as much of them as clients send.

use serde_json::Value;

/// Whether an object fits both selectors.
pub(super) fn matches(object: &Value, labels: &str, fields: &str) -> bool {
    terms(labels).into_iter().all(|term| label_matches(object, term))
        && terms(fields).into_iter().all(|term| field_matches(object, term))
}

/// Splits at commas that are not in parentheses.
fn terms(selector: &str) -> Vec<&str> {
    let (mut terms, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, letter) in selector.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                terms.push(selector[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(selector[start..].trim());
    terms.retain(|term| !term.is_empty());
    terms
}

fn label_matches(object: &Value, term: &str) -> bool {
    let label = |key: &str| object["metadata"]["labels"].get(key.trim()).and_then(Value::as_str);
    if let Some((left, values)) = term.split_once('(') {
        let mut words = left.split_whitespace();
        let (key, operator) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut values = values.trim_end_matches(')').split(',').map(str::trim);
        let found = label(key).is_some_and(|value| values.any(|one| one == value));
        return found == (operator == "in");
    }
    match equality(term) {
        Some((key, value, equal)) => (label(key) == Some(value)) == equal,
        None => match term.strip_prefix('!') {
            Some(key) => label(key).is_none(),
            None => label(term).is_some(),
        },
    }
}

fn field_matches(object: &Value, term: &str) -> bool {
    let Some((path, value, equal)) = equality(term) else {
        return false;
    };
    let found = path.split('.').try_fold(object, |value, name| value.get(name));
    let found = match found {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    (found == value) == equal
}

fn equality(term: &str) -> Option<(&str, &str, bool)> {
    let (key, value, equal) = match (term.split_once("!="), term.split_once("==")) {
        (Some((key, value)), _) => (key, value, false),
        (None, Some((key, value))) => (key, value, true),
        (None, None) => term.split_once('=').map(|(key, value)| (key, value, true))?,
    };
    Some((key.trim(), value.trim(), equal))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_usual_forms() {
        let object =
            json!({"metadata": {"name": "a", "labels": {"app": "web", "tier": "x"}}, "spec": {"nodeName": "n"}});
        let good = ["", "app=web", "app==web,tier=x", "app!=db", "app", "!other", "app in (db, web)", "app notin (db)"];
        good.into_iter().for_each(|labels| assert!(matches(&object, labels, ""), "{labels}"));
        let bad = ["app=db", "!app", "other", "app in (db)", "app notin (web)"];
        bad.into_iter().for_each(|labels| assert!(!matches(&object, labels, ""), "{labels}"));
        assert!(matches(&object, "", "spec.nodeName=n,metadata.name!=b,status.phase="));
        assert!(!matches(&object, "", "spec.nodeName=m"));
    }
}
