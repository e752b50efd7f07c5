//! What `--node-labels` may ask for: an API server lets a kubelet set no other labels of Kubernetes' own (KEP-279). Pure.

use std::collections::BTreeMap;

use machinery::names;

/// Sorted, as the refusal shows them.
const ALLOWED: [&str; 11] = [
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
const ALLOWED_PREFIXES: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

/// What is wrong with labels, in upstream's words.
pub(crate) fn problem(labels: &BTreeMap<String, String>) -> Option<String> {
    let unknown: Vec<&str> = labels.keys().map(String::as_str).filter(|key| is_refused(key)).collect();
    if !unknown.is_empty() {
        return Some(format!(
            "unknown 'kubernetes.io' or 'k8s.io' labels specified with --node-labels: [{}]\n--node-labels in the \
             'kubernetes.io' namespace must begin with an allowed prefix ({}) or be in the specifically allowed set ({})",
            unknown.join(" "),
            ALLOWED_PREFIXES.join(", "),
            ALLOWED.join(", ")
        ));
    }
    let of =
        |text: &str, errors: Vec<String>| (!errors.is_empty()).then(|| format!("'{text}' - {}", errors.join(", ")));
    let invalid = labels.iter().flat_map(|(key, value)| {
        [of(key, names::qualified_name(key)), of(value, names::label_value(value))].into_iter().flatten()
    });
    let invalid: Vec<String> = invalid.collect();
    (!invalid.is_empty()).then(|| format!("invalid node labels: {}", invalid.join("; ")))
}

fn is_refused(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let is_in = |of: &str| domain.strip_suffix(of).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    let is_own = ["kubernetes.io", "k8s.io"].into_iter().any(is_in);
    is_own && !ALLOWED.contains(&key) && !ALLOWED_PREFIXES.into_iter().any(is_in)
}

#[test]
fn labels_are_checked_as_upstream_does() {
    let of = |pairs: &[(&str, &str)]| {
        problem(&pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    };
    let fine = [
        ("tier", "a"),
        ("example.com/a", ""),
        ("kubernetes.io/arch", "arm64"),
        ("x.node.kubernetes.io/a", "b"),
        ("kubelet.kubernetes.io/a", "b"),
        ("notkubernetes.io/a", "b"),
    ];
    assert_eq!(of(&fine), None);
    let refused = of(&[("node-role.kubernetes.io/worker", ""), ("a.k8s.io/b", ""), ("tier", "a")]).expect("refused");
    let words = "unknown 'kubernetes.io' or 'k8s.io' labels specified with --node-labels: \
                 [a.k8s.io/b node-role.kubernetes.io/worker]\n--node-labels in the 'kubernetes.io' namespace must begin \
                 with an allowed prefix (kubelet.kubernetes.io, node.kubernetes.io) or be in";
    assert!(refused.starts_with(words), "{refused}");
    let invalid = of(&[("-a", "b"), ("c", "d e")]).expect("refused");
    assert!(invalid.starts_with("invalid node labels: '-a' - name part must"), "{invalid}");
    assert!(invalid.contains("; 'd e' - a valid label must be"), "{invalid}");
}
