//! Sets of field paths, and their JSON form `FieldsV1`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// One step of a path in its written form: `f:name`, `k:{"name":"x"}`, `v:"x"` or `i:0`.
pub(super) type Element = String;

/// A set of paths. A path is in the set apart from the paths below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    nodes: BTreeMap<Element, Node>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    /// The path that ends here is in the set.
    member: bool,
    below: FieldSet,
}

impl Node {
    fn kept(member: bool, below: FieldSet) -> Option<Self> {
        (member || !below.is_empty()).then_some(Self { member, below })
    }
}

pub(super) fn field(name: &str) -> Element {
    format!("f:{name}")
}

/// A path as messages show it: `.spec.containers[name="web"].image`.
pub(super) fn show(path: &[Element]) -> String {
    path.iter().map(|element| show_element(element)).collect()
}

fn show_element(element: &str) -> String {
    match element.split_at_checked(2) {
        Some(("f:", name)) => format!(".{name}"),
        Some(("v:", value)) => format!("[={value}]"),
        Some(("i:", index)) => format!("[{index}]"),
        Some(("k:", fields)) => {
            let fields: Map<String, Value> = serde_json::from_str(fields).unwrap_or_default();
            let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("[{}]", fields.join(","))
        }
        _ => element.to_owned(),
    }
}

impl FieldSet {
    /// A set of dotted field paths: `status`, `metadata.name`.
    pub fn of(paths: &[&str]) -> Self {
        let mut set = Self::default();
        for path in paths {
            let elements: Vec<Element> = path.split('.').map(field).collect();
            set.insert(&elements);
        }
        set
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub(super) fn insert(&mut self, path: &[Element]) {
        let Some((first, rest)) = path.split_first() else { return };
        let node = self.nodes.entry(first.clone()).or_default();
        match rest {
            [] => node.member = true,
            rest => node.below.insert(rest),
        }
    }

    /// Whether the path that is this one step is in the set.
    pub(super) fn has(&self, element: &str) -> bool {
        self.nodes.get(element).is_some_and(|node| node.member)
    }

    /// The paths below a step.
    pub(super) fn below(&self, element: &str) -> Option<&FieldSet> {
        self.nodes.get(element).map(|node| &node.below).filter(|below| !below.is_empty())
    }

    fn combine(&self, other: &Self, rule: fn(Option<&Node>, Option<&Node>) -> Option<Node>) -> Self {
        let keys = self.nodes.keys().chain(other.nodes.keys().filter(|key| !self.nodes.contains_key(*key)));
        let nodes = keys.filter_map(|key| Some((key.clone(), rule(self.nodes.get(key), other.nodes.get(key))?)));
        Self { nodes: nodes.collect() }
    }

    pub fn union(&self, other: &Self) -> Self {
        self.combine(other, |a, b| match (a, b) {
            (Some(a), Some(b)) => Node::kept(a.member || b.member, a.below.union(&b.below)),
            (a, b) => a.or(b).cloned(),
        })
    }

    pub fn intersection(&self, other: &Self) -> Self {
        self.combine(other, |a, b| Node::kept(a?.member && b?.member, a?.below.intersection(&b?.below)))
    }

    /// Takes out the other's paths, not what is below them.
    pub fn difference(&self, other: &Self) -> Self {
        self.combine(other, |a, b| match b {
            Some(b) => Node::kept(a?.member && !b.member, a?.below.difference(&b.below)),
            None => a.cloned(),
        })
    }

    /// Takes out the other's paths and all below them.
    pub fn recursive_difference(&self, other: &Self) -> Self {
        self.combine(other, |a, b| match b {
            Some(b) if b.member => None,
            Some(b) => Node::kept(a?.member, a?.below.recursive_difference(&b.below)),
            None => a.cloned(),
        })
    }

    /// Rewrites every node: `rule` is given the step, whether it is a member, and what is below.
    pub(super) fn map_nodes(&self, mut rule: impl FnMut(&str, bool, &FieldSet) -> (bool, FieldSet)) -> Self {
        let nodes = self.nodes.iter().filter_map(|(element, node)| {
            let (member, below) = rule(element, node.member, &node.below);
            Some((element.clone(), Node::kept(member, below)?))
        });
        Self { nodes: nodes.collect() }
    }

    /// Every path: those that end at a level before those below it.
    pub(super) fn paths(&self) -> Vec<Vec<Element>> {
        let mut all = Vec::new();
        self.collect(&mut Vec::new(), &mut all);
        all
    }

    fn collect(&self, prefix: &mut Vec<Element>, all: &mut Vec<Vec<Element>>) {
        for (element, _) in self.nodes.iter().filter(|(_, node)| node.member) {
            all.push(prefix.iter().chain([element]).cloned().collect());
        }
        for (element, node) in &self.nodes {
            prefix.push(element.clone());
            node.below.collect(prefix, all);
            prefix.pop();
        }
    }

    /// The JSON form: `{"f:spec": {"f:replicas": {}}}`; `"."` where a path ends that others go on from.
    pub fn to_fields_v1(&self) -> Value {
        Value::Object(self.to_map())
    }

    fn to_map(&self) -> Map<String, Value> {
        let entry = |(element, node): (&Element, &Node)| {
            let mut below = node.below.to_map();
            if node.member && !below.is_empty() {
                below.insert(".".to_owned(), Value::Object(Map::new()));
            }
            (element.clone(), Value::Object(below))
        };
        self.nodes.iter().map(entry).collect()
    }

    /// Reads the JSON form. `None` when it is not one.
    pub fn from_fields_v1(fields: &Value) -> Option<Self> {
        let mut set = Self::default();
        for (element, below) in fields.as_object()?.iter().filter(|(element, _)| *element != ".") {
            let below_map = below.as_object()?;
            let member = below_map.is_empty() || below_map.contains_key(".");
            let node = Node { member, below: Self::from_fields_v1(below)? };
            set.nodes.insert(canonical(element)?, node);
        }
        Some(set)
    }
}

/// Clients may write keys with spaces or in another order.
fn canonical(element: &str) -> Option<Element> {
    let (kind, content) = element.split_at_checked(2)?;
    match kind {
        "f:" | "i:" => Some(element.to_owned()),
        "k:" | "v:" => Some(format!("{kind}{}", serde_json::from_str::<Value>(content).ok()?)),
        _ => None,
    }
}
