//! Labels of nodes that have newer names, and the words of warning where one is still used.

use machinery::field::Path;
use machinery::meta;
use serde_json::Value;

const DEPRECATED: [(&str, &str); 8] = [
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    ("failure-domain.beta.kubernetes.io/zone", "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"),
    ("beta.kubernetes.io/instance-type", "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    ("scheduler.alpha.kubernetes.io/preferAvoidPods", "deprecated since v1.22; use Taints and Tolerations instead"),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
];

pub fn deprecation(label: &str) -> Option<&'static str> {
    DEPRECATED.iter().find(|(old, _)| *old == label).map(|(_, words)| *words)
}

/// Of the `matchExpressions` of a selector of nodes.
pub fn expression_warnings(selector: &Value, path: &Path) -> Vec<String> {
    let expressions = meta::list(selector, "matchExpressions").iter().enumerate();
    expressions
        .filter_map(|(position, expression)| {
            let key = meta::text(expression, "key");
            let at = path.child("matchExpressions").index(position).child("key");
            Some(format!("{at}: {key} is {}", deprecation(key)?))
        })
        .collect()
}

/// Of a whole LabelSelector of nodes.
pub fn selector_warnings(selector: &Value, path: &Path) -> Vec<String> {
    let mut warnings = expression_warnings(selector, path);
    let labels = meta::map(selector, "matchLabels").keys();
    warnings.extend(
        labels.filter_map(|label| Some(format!("{}: {}", path.child("matchLabels").child(label), deprecation(label)?))),
    );
    warnings
}

/// Labels that a selector of nodes may exchange for their new names even where it may not change.
const RENAMED: [(&str, &str); 5] = [
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
    ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
];

/// Whether a volume's node affinity is the old one, but for labels that got their new names.
pub fn is_same_but_renamed(new: &Value, old: &Value) -> bool {
    let mut old = old.clone();
    let terms = old.pointer_mut("/required/nodeSelectorTerms").and_then(Value::as_array_mut);
    for (position, term) in terms.into_iter().flatten().enumerate() {
        let twins = meta::list(
            &meta::list(new, "required.nodeSelectorTerms").get(position).cloned().unwrap_or_default(),
            "matchExpressions",
        )
        .to_vec();
        let expressions = term.get_mut("matchExpressions").and_then(Value::as_array_mut);
        for (expression, twin) in expressions.into_iter().flatten().zip(twins) {
            let (before, now) = (meta::text(expression, "key"), meta::text(&twin, "key"));
            if RENAMED.contains(&(before, now)) {
                expression["key"] = now.into();
            }
        }
    }
    *new == old
}
