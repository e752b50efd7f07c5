//! Node labels as numbers by slot: two nodes are in the same topology domain when their numbers are equal.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use super::NodeInfo;
use crate::objects::Node;

/// The number of a node that lacks the label.
pub const NO_VALUE: u32 = u32::MAX;

/// One label's values.
#[derive(Debug, Default)]
pub struct Column {
    /// By slot; [`NO_VALUE`] where the node has no such label or does not exist.
    pub values: Vec<u32>,
    /// How many different values there are.
    pub len: usize,
    /// Every node that exists has the label.
    pub is_complete: bool,
}

/// Columns are made when first asked for. All are thrown away when any node comes or goes; when one changes its labels,
/// those of the labels that changed.
#[derive(Debug, Default)]
pub(super) struct Columns(RefCell<HashMap<Box<str>, Arc<Column>>>);

impl Columns {
    pub(super) fn clear(&mut self) {
        self.0.get_mut().clear();
    }

    /// The node in one slot has become another.
    pub(super) fn clear_changed(&mut self, old: &Node, new: &Node) {
        self.0.get_mut().retain(|label, _| old.label(label) == new.label(label));
    }

    pub(super) fn of(&self, label: &str, nodes: &[NodeInfo]) -> Arc<Column> {
        if let Some(column) = self.0.borrow().get(label) {
            return column.clone();
        }
        let column = Arc::new(build(label, nodes));
        self.0.borrow_mut().insert(label.into(), column.clone());
        column
    }
}

fn build(label: &str, nodes: &[NodeInfo]) -> Column {
    let mut known: HashMap<&str, u32> = HashMap::new();
    let number = |info| {
        let value = NodeInfo::node(info).and_then(|node| node.label(label));
        value.map_or(NO_VALUE, |value| {
            let next = known.len() as u32;
            *known.entry(value).or_insert(next)
        })
    };
    let values: Vec<u32> = nodes.iter().map(number).collect();
    let is_complete = nodes.iter().zip(&values).all(|(info, value)| *value != NO_VALUE || !info.exists());
    Column { values, len: known.len(), is_complete }
}
