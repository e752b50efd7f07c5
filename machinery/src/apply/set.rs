//! Sets of field paths, and their JSON form `FieldsV1`.
//!
//! Every write makes and combines some of these: nodes are sorted vectors, combined in place or by one merge.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use crate::wire::go_json;

/// One step of a path in its written form: `f:name`, `k:{"name":"x"}`, `v:"x"` or `i:0`.
pub(super) type Element = String;

/// A set of paths. A path is in the set apart from the paths below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// Sorted by step, none empty.
    nodes: Vec<(Element, Node)>,
}

/// What a set holds at and below one step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    /// The path that ends here is in the set.
    pub(super) member: bool,
    pub(super) below: FieldSet,
}

impl Node {
    pub(super) fn leaf() -> Self {
        Self { member: true, below: FieldSet::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }
}

pub(super) fn field(name: &str) -> Element {
    ["f:", name].concat()
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

    fn search(&self, element: &str) -> Result<usize, usize> {
        self.nodes.binary_search_by(|(own, _)| own.as_str().cmp(element))
    }

    fn node(&self, element: &str) -> Option<&Node> {
        self.search(element).ok().map(|at| &self.nodes[at].1)
    }

    /// Puts a node at a step that the set does not have yet; an empty one is left out.
    pub(super) fn put(&mut self, element: Element, node: Node) {
        if node.is_empty() {
            return;
        }
        match self.nodes.last() {
            Some((last, _)) if *last >= element => match self.search(&element) {
                Ok(at) => self.nodes[at].1 = node,
                Err(at) => self.nodes.insert(at, (element, node)),
            },
            _ => self.nodes.push((element, node)),
        }
    }

    pub(super) fn insert(&mut self, path: &[Element]) {
        let Some((first, rest)) = path.split_first() else { return };
        let at = self.search(first).unwrap_or_else(|at| {
            self.nodes.insert(at, (first.clone(), Node::default()));
            at
        });
        let node = &mut self.nodes[at].1;
        match rest {
            [] => node.member = true,
            rest => node.below.insert(rest),
        }
    }

    /// Whether the path that is this one step is in the set.
    pub(super) fn has(&self, element: &str) -> bool {
        self.node(element).is_some_and(|node| node.member)
    }

    /// The paths below a step.
    pub(super) fn below(&self, element: &str) -> Option<&FieldSet> {
        self.node(element).map(|node| &node.below).filter(|below| !below.is_empty())
    }

    /// Adds the other's paths.
    pub fn add(&mut self, other: Self) {
        if self.is_empty() {
            *self = other;
            return;
        }
        let mut theirs = other.nodes.into_iter().peekable();
        let mut all = Vec::with_capacity(self.nodes.len() + theirs.len());
        for (element, mut node) in std::mem::take(&mut self.nodes) {
            while let Some(before) = theirs.next_if(|(their, _)| *their < element) {
                all.push(before);
            }
            if let Some((_, same)) = theirs.next_if(|(their, _)| *their == element) {
                node.member |= same.member;
                node.below.add(same.below);
            }
            all.push((element, node));
        }
        all.extend(theirs);
        self.nodes = all;
    }

    /// Takes out the other's paths, not what is below them.
    pub fn subtract(&mut self, other: &Self) {
        if other.is_empty() {
            return;
        }
        self.nodes.retain_mut(|(element, node)| {
            if let Some(theirs) = other.node(element) {
                node.member &= !theirs.member;
                node.below.subtract(&theirs.below);
            }
            !node.is_empty()
        });
    }

    /// Takes out the other's paths and all below them.
    pub fn subtract_recursively(&mut self, other: &Self) {
        if other.is_empty() {
            return;
        }
        self.nodes.retain_mut(|(element, node)| match other.node(element) {
            Some(theirs) if theirs.member => false,
            Some(theirs) => {
                node.below.subtract_recursively(&theirs.below);
                !node.is_empty()
            }
            None => true,
        });
    }

    /// The paths of both.
    pub fn intersection(&self, other: &Self) -> Self {
        let mut both = Self::default();
        let (mut ours, mut theirs) = (self.nodes.iter().peekable(), other.nodes.iter().peekable());
        while let (Some((our, own)), Some((their, node))) = (ours.peek(), theirs.peek()) {
            match our.cmp(their) {
                Ordering::Less => drop(ours.next()),
                Ordering::Greater => drop(theirs.next()),
                Ordering::Equal => {
                    let member = own.member && node.member;
                    both.put(our.clone(), Node { member, below: own.below.intersection(&node.below) });
                    ours.next();
                    theirs.next();
                }
            }
        }
        both
    }

    /// Changes every node of the first level; what becomes empty goes.
    pub(super) fn change_nodes(&mut self, mut change: impl FnMut(&str, &mut Node)) {
        self.nodes.retain_mut(|(element, node)| {
            change(element, node);
            !node.is_empty()
        });
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
    pub fn into_fields_v1(self) -> Value {
        Value::Object(self.into_map(false))
    }

    fn into_map(self, own: bool) -> Map<String, Value> {
        let dot = (own && !self.is_empty()).then(|| (".".to_owned(), Value::Object(Map::new())));
        let nodes =
            self.nodes.into_iter().map(|(element, node)| (element, Value::Object(node.below.into_map(node.member))));
        dot.into_iter().chain(nodes).collect()
    }

    /// Reads the JSON form. `None` when it is not one.
    pub fn from_fields_v1(fields: &Value) -> Option<Self> {
        let mut set = Self::default();
        for (element, below) in fields.as_object()?.iter().filter(|(element, _)| *element != ".") {
            let map = below.as_object()?;
            let member = map.is_empty() || map.contains_key(".");
            set.put(canonical(element)?, Node { member, below: Self::from_fields_v1(below)? });
        }
        Some(set)
    }
}

/// Clients may write keys with spaces, and characters as they are that Go escapes, or the other way round.
fn canonical(element: &str) -> Option<Element> {
    let (kind, content) = element.split_at_checked(2)?;
    match kind {
        "f:" | "i:" => Some(element.to_owned()),
        "k:" | "v:" if is_spelt_one_way(content) => Some(element.to_owned()),
        "k:" | "v:" => Some(format!("{kind}{}", go_json(&serde_json::from_str(content).ok()?))),
        _ => None,
    }
}

/// Of the last, the first byte of the line separators, it does not matter that others have it too.
fn is_spelt_one_way(content: &str) -> bool {
    const RESPELT: &[u8] = b" \t\n\r\\<>&\xe2";
    !content.bytes().any(|byte| RESPELT.contains(&byte))
}
