//! Conflicts and their words.

use std::collections::BTreeMap;
use std::fmt;

use super::managers::Identity;
use super::set::{Element, show};

/// A field that another manager owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// `conflict with "kubectl" using apps/v1`: the cause's message.
    pub message: String,
    /// `.spec.replicas`: the cause's field.
    pub field: String,
    manager: String,
    pub(super) path: Vec<Element>,
}

/// Not empty. The text is that of the Status; its causes have the type `FieldManagerConflict`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflicts(pub Vec<Conflict>);

impl Conflict {
    pub(super) fn new(manager: &Identity, path: Vec<Element>) -> Self {
        let manager = manager.show();
        Self { message: format!("conflict with {manager}"), field: show(&path), manager, path }
    }
}

impl fmt::Display for Conflicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.0.as_slice() {
            return write!(f, "Apply failed with 1 conflict: {}: {}", only.message, only.field);
        }
        let mut managers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        self.0.iter().for_each(|conflict| managers.entry(&conflict.manager).or_default().push(&conflict.field));
        let lines = managers.iter().flat_map(|(manager, fields)| {
            let fields = fields.iter().map(|field| format!("- {field}"));
            std::iter::once(format!("conflicts with {manager}:")).chain(fields)
        });
        let lines: Vec<String> = lines.collect();
        write!(f, "Apply failed with {} conflicts: {}", self.0.len(), lines.join("\n"))
    }
}
