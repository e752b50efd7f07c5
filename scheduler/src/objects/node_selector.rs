//! Node selectors and node affinity, parsed once (Kubernetes concept: assigning pods to nodes).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm};
use machinery::field::{Error, ErrorList, Path};
use machinery::selector::{Operator, Requirement, Selector};

use super::node::Node;

/// One term: all of its expressions and fields must hold. A term that cannot be understood never matches.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeTerm {
    expressions: Selector,
    fields: Vec<FieldRequirement>,
}

#[derive(Clone, Debug, PartialEq)]
struct FieldRequirement {
    key: String,
    equal: bool,
    values: Vec<String>,
}

impl NodeTerm {
    /// `None` for an empty term, which matches nothing and is skipped.
    pub fn parse(term: &NodeSelectorTerm) -> Option<Self> {
        let expressions = term.match_expressions.as_deref().unwrap_or_default();
        let fields = term.match_fields.as_deref().unwrap_or_default();
        if expressions.is_empty() && fields.is_empty() {
            return None;
        }
        let requirements: Option<Vec<_>> = expressions.iter().map(requirement).collect();
        let fields: Option<Vec<_>> = fields.iter().map(field).collect();
        Some(match (requirements, fields) {
            (Some(requirements), Some(fields)) => Self { expressions: Selector::new(requirements), fields },
            _ => Self { expressions: Selector::nothing(), fields: Vec::new() },
        })
    }

    /// What is wrong with a term, in upstream's words; an empty term is not looked at.
    pub fn check(term: &NodeSelectorTerm, path: &Path) -> ErrorList {
        let indexed = |list: &Option<Vec<NodeSelectorRequirement>>, field: &str| -> Vec<_> {
            let list = list.clone().unwrap_or_default().into_iter().enumerate();
            list.map(|(index, requirement)| (path.child(field).index(index), requirement)).collect()
        };
        let expressions = indexed(&term.match_expressions, "matchExpressions").into_iter();
        let fields = indexed(&term.match_fields, "matchFields").into_iter();
        let errors = expressions.flat_map(|(path, expression)| check_expression(&expression, &path));
        errors.chain(fields.filter_map(|(path, field)| check_field(&field, &path))).collect()
    }

    pub fn matches(&self, node: &Node) -> bool {
        self.expressions.matches_labels(node.metadata.labels.as_ref())
            && self.fields.iter().all(|field| field.matches(node))
    }

    /// The node names that the term pins pods to, if it does: DaemonSet pods are bound to their node so.
    pub fn node_names(&self) -> Option<Vec<&str>> {
        let mut pins = self.fields.iter().filter(|f| f.equal && f.key == "metadata.name");
        let first = pins.next()?;
        let mut names: Vec<&str> = first.values.iter().map(String::as_str).collect();
        for pin in pins {
            names.retain(|name| pin.values.iter().any(|value| value == name));
        }
        Some(names)
    }
}

fn requirement(expression: &NodeSelectorRequirement) -> Option<Requirement> {
    let operator = Operator::from_node_selector(&expression.operator)?;
    let values = expression.values.clone().unwrap_or_default();
    Requirement::new(&expression.key, operator, values, &Path::root()).ok()
}

fn check_expression(expression: &NodeSelectorRequirement, path: &Path) -> Vec<Error> {
    let values = expression.values.as_deref().unwrap_or_default();
    match Operator::from_node_selector(&expression.operator) {
        Some(operator) => Requirement::check(&expression.key, operator, values, path),
        None => {
            let supported = ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"];
            vec![Error::not_supported(&path.child("operator"), expression.operator.as_str(), &supported)]
        }
    }
}

fn check_field(expression: &NodeSelectorRequirement, path: &Path) -> Option<Error> {
    let values = serde_json::json!(expression.values);
    match expression.operator.as_str() {
        "In" | "NotIn" if values.as_array().is_some_and(|values| values.len() == 1) => None,
        "In" | "NotIn" => Some(Error::invalid(&path.child("values"), values, "must have one element")),
        operator => Some(Error::not_supported(&path.child("operator"), operator, &["In", "NotIn"])),
    }
}

fn field(expression: &NodeSelectorRequirement) -> Option<FieldRequirement> {
    let equal = match expression.operator.as_str() {
        "In" => true,
        "NotIn" => false,
        _ => return None,
    };
    let values = expression.values.clone().filter(|values| values.len() == 1)?;
    Some(FieldRequirement { key: expression.key.clone(), equal, values })
}

impl FieldRequirement {
    fn matches(&self, node: &Node) -> bool {
        let value = if self.key == "metadata.name" { node.name() } else { "" };
        self.values.iter().any(|v| v == value) == self.equal
    }
}

/// A term that is wished for, with its weight of 1 to 100.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightedNodeTerm {
    pub term: NodeTerm,
    pub weight: i64,
}

/// What a pod demands of its node's labels and name: `spec.nodeSelector` and required node affinity.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequiredNodeAffinity {
    pub labels: BTreeMap<String, String>,
    /// Any of these; `None` when the pod has no required node affinity.
    pub terms: Option<Vec<NodeTerm>>,
}

impl RequiredNodeAffinity {
    pub fn new(labels: BTreeMap<String, String>, selector: Option<&NodeSelector>) -> Self {
        let terms = selector.map(|s| s.node_selector_terms.iter().filter_map(NodeTerm::parse).collect());
        Self { labels, terms }
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.terms.is_none()
    }

    pub fn matches(&self, node: &Node) -> bool {
        self.labels.iter().all(|(key, value)| node.label(key) == Some(value))
            && self.terms.as_ref().is_none_or(|terms| terms.iter().any(|term| term.matches(node)))
    }
}
