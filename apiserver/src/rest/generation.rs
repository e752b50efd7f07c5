//! When `metadata.generation` goes up: with each change of the desired state.

use serde_json::Value;

use crate::kinds::Hooks;

/// How one write is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Counting {
    Changes,
    /// Who writes a status may write annotations, and asks for nothing by them.
    OfStatus,
    /// The same state in other words: an empty list or map where there is none once it is stored.
    OtherWords,
}

impl Counting {
    /// `asked` is what [`asked`] took of the object, `kept` the object in the form that it is stored in.
    pub fn of(is_status: bool, asked: Option<&Value>, kept: &Value) -> Self {
        match asked {
            _ if is_status => Self::OfStatus,
            Some(asked) if says_empty(asked, &kept["spec"]) => Self::OtherWords,
            _ => Self::Changes,
        }
    }
}

/// The desired state as it was sent, of a kind that counts other words for it.
pub fn asked(sent: &Value, hooks: &Hooks) -> Option<Value> {
    hooks.counts_other_words.then(|| sent["spec"].clone())
}

fn says_empty(asked: &Value, kept: &Value) -> bool {
    match asked {
        Value::Array(items) if items.is_empty() => kept.is_null(),
        Value::Object(fields) if fields.is_empty() => kept.is_null(),
        Value::Array(items) => items.iter().zip(kept.as_array().into_iter().flatten()).any(|(a, b)| says_empty(a, b)),
        Value::Object(fields) => fields.iter().any(|(name, value)| says_empty(value, &kept[name.as_str()])),
        _ => false,
    }
}

pub fn is_counted(new: &Value, old: &Value, hooks: &Hooks, counting: Counting) -> bool {
    let annotated = hooks.counts_annotations
        && counting != Counting::OfStatus
        && new["metadata"]["annotations"] != old["metadata"]["annotations"];
    hooks.has_generation && (annotated || counting == Counting::OtherWords || desired_changed(new, old))
}

/// Whether anything but `metadata` and `status` differs.
fn desired_changed(new: &Value, old: &Value) -> bool {
    let desired = |object: &Value, other: &Value| {
        object.as_object().is_some_and(|fields| {
            fields.iter().any(|(name, value)| {
                !matches!(name.as_str(), "metadata" | "status" | "apiVersion" | "kind")
                    && other.get(name) != Some(value)
            })
        })
    };
    desired(new, old) || desired(old, new)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_desired_state_counts_as_a_new_generation() {
        let old = json!({"metadata": {"a": 1}, "spec": {"x": 1}, "status": {}});
        assert!(!desired_changed(&json!({"metadata": {}, "spec": {"x": 1}, "status": {"y": 1}}), &old));
        assert!(desired_changed(&json!({"metadata": {}, "spec": {"x": 2}, "status": {}}), &old));
        assert!(desired_changed(&json!({"metadata": {}}), &old));
    }

    #[test]
    fn other_words_for_nothing_are_told() {
        let kept = json!({"podSelector": {}, "ingress": [{"from": [{}]}]});
        for (asked, says) in [
            (json!({"podSelector": {}, "ingress": [{"from": [{}]}]}), false),
            (json!({"podSelector": {}, "egress": []}), true),
            (json!({"podSelector": {"matchLabels": {}}}), true),
            (json!({"ingress": [{"from": [{}], "ports": []}]}), true),
            (json!({"ingress": null}), false),
        ] {
            assert_eq!(says_empty(&asked, &kept), says, "{asked}");
        }
    }
}
