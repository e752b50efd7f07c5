//! What a pod demands of its node's labels and name: `spec.nodeSelector` and required node affinity.
//!
//! Pure. Concepts: "Assigning Pods to Nodes". Preferences are the scheduler's business.

use k8s_openapi::api::core::v1::{Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec};
use machinery::field::Path;
use machinery::selector::{Operator, Requirement};

/// Whether the pod may run on the node as far as both of its demands go.
pub fn matches(spec: &PodSpec, node: &Node) -> bool {
    let selected = spec.node_selector.iter().flatten().all(|(key, value)| label(node, key) == Some(value.as_str()));
    let affinity = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    selected && required.is_none_or(|selector| selects(selector, node))
}

/// One term is enough, and all of a term must hold.
pub fn selects(selector: &NodeSelector, node: &Node) -> bool {
    selector.node_selector_terms.iter().any(|term| term_matches(term, node))
}

fn label<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

/// An empty term matches nothing, and so does one that cannot be understood.
fn term_matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(|e| expression_matches(e, label(node, &e.key)))
        && fields.iter().all(|f| field_matches(f, node))
}

fn expression_matches(expression: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = expression.values.clone().unwrap_or_default();
    let requirement = Operator::from_node_selector(&expression.operator)
        .and_then(|operator| Requirement::new(&expression.key, operator, values, &Path::root()).ok());
    requirement.is_some_and(|r| r.matches(value))
}

/// The one field there is: the node's name.
fn field_matches(field: &NodeSelectorRequirement, node: &Node) -> bool {
    let values = field.values.as_deref().unwrap_or_default();
    let named = values.len() == 1 && field.key == "metadata.name" && node.metadata.name.as_ref() == values.first();
    match field.operator.as_str() {
        "In" => named,
        "NotIn" => values.len() == 1 && !named,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn demands() {
        let node = json!({"metadata": {"name": "n1", "labels": {"zone": "a", "cpus": "8"}}});
        let node: Node = serde_json::from_value(node).expect("a node");
        let terms = |terms: Value| json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}});
        let expression = |key: &str, operator: &str, values: Value| json!([{"matchExpressions": [{"key": key, "operator": operator, "values": values}]}]);
        let field = |operator: &str, values: Value| json!([{"matchFields": [{"key": "metadata.name", "operator": operator, "values": values}]}]);
        let rows = [
            (json!({}), true),
            (json!({"nodeSelector": {"zone": "a"}}), true),
            (json!({"nodeSelector": {"zone": "b"}}), false),
            (terms(json!([])), false),
            (terms(json!([{}])), false),
            (terms(expression("zone", "In", json!(["a", "b"]))), true),
            (terms(expression("zone", "NotIn", json!(["a"]))), false),
            (terms(expression("zone", "Exists", json!([]))), true),
            (terms(expression("disk", "DoesNotExist", json!([]))), true),
            (terms(expression("cpus", "Gt", json!(["4"]))), true),
            (terms(expression("cpus", "Lt", json!(["4"]))), false),
            (terms(expression("cpus", "Nonsense", json!(["4"]))), false),
            (terms(field("In", json!(["n1"]))), true),
            (terms(field("In", json!(["n2"]))), false),
            (terms(field("In", json!(["n1", "n2"]))), false),
            (terms(field("NotIn", json!(["n2"]))), true),
        ];
        for (spec, want) in rows {
            let mut full = spec.clone();
            full["containers"] = json!([]);
            let pod: PodSpec = serde_json::from_value(full).expect("a spec");
            assert_eq!(matches(&pod, &node), want, "{spec}");
        }
    }
}
