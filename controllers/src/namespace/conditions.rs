//! How far the deletion of a namespace has come, as its conditions.
//!
//! Pure. Types, reasons and messages are what people look for when a namespace hangs in Terminating.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{NamespaceCondition, NamespaceStatus};

use crate::common::time;

/// What one pass over the namespace found.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Group versions that could not be discovered, with the reason.
    pub(super) undiscovered: Vec<(String, String)>,
    pub(super) failures: Vec<String>,
    /// Objects left, by `resource.group`.
    pub(super) remaining: BTreeMap<String, usize>,
    /// Objects left that wait for a finalizer, by finalizer.
    pub(super) finalizers: BTreeMap<String, usize>,
}

/// Type, and reason and message when there is nothing to complain of.
const FINE: [(&str, &str, &str); 5] = [
    ("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "All resources successfully discovered"),
    ("NamespaceDeletionGroupVersionParsingFailure", "ParsedGroupVersions", "All legacy kube types successfully parsed"),
    (
        "NamespaceDeletionContentFailure",
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    ("NamespaceContentRemaining", "ContentRemoved", "All content successfully removed"),
    ("NamespaceFinalizersRemaining", "ContentHasNoFinalizers", "All content-preserving finalizers finished"),
];

/// Brings the conditions up to date; returns whether any changed.
pub(super) fn update(status: &mut NamespaceStatus, report: &Report, now: Timestamp) -> bool {
    let conditions = status.conditions.get_or_insert_default();
    let mut changed = false;
    for (type_, reason, message) in FINE {
        let complaint = complaint(type_, report);
        let (value, reason, message) = match complaint {
            Some((reason, message)) => ("True", reason, message),
            None => ("False", reason, message.to_string()),
        };
        let new = NamespaceCondition {
            type_: type_.into(),
            status: value.into(),
            reason: Some(reason.into()),
            message: Some(message),
            last_transition_time: Some(time(now)),
        };
        match conditions.iter_mut().find(|c| c.type_ == type_) {
            None => conditions.push(new),
            Some(old) if (&old.status, &old.reason, &old.message) == (&new.status, &new.reason, &new.message) => {
                continue;
            }
            Some(old) => {
                let since = old.last_transition_time.take().filter(|_| old.status == new.status);
                *old = NamespaceCondition { last_transition_time: since.or(new.last_transition_time.clone()), ..new };
            }
        }
        changed = true;
    }
    changed
}

fn complaint(type_: &str, report: &Report) -> Option<(&'static str, String)> {
    let list = |entries: Vec<String>| entries.join(", ");
    match type_ {
        "NamespaceDeletionDiscoveryFailure" if !report.undiscovered.is_empty() => {
            let groups = report.undiscovered.iter().map(|(gv, e)| format!("{gv}: {e}")).collect();
            let message = format!(
                "Discovery failed for some groups, {} failing: unable to retrieve the complete list of server APIs: {}",
                report.undiscovered.len(),
                list(groups)
            );
            Some(("DiscoveryFailed", message))
        }
        "NamespaceDeletionContentFailure" if !report.failures.is_empty() => {
            let mut failures = report.failures.clone();
            failures.sort();
            let message =
                format!("Failed to delete all resource types, {} remaining: {}", failures.len(), list(failures));
            Some(("ContentDeletionFailed", message))
        }
        "NamespaceContentRemaining" if !report.remaining.is_empty() => {
            let each = report.remaining.iter().map(|(r, n)| format!("{r} has {n} resource instances")).collect();
            Some(("SomeResourcesRemain", format!("Some resources are remaining: {}", list(each))))
        }
        "NamespaceFinalizersRemaining" if !report.finalizers.is_empty() => {
            let each = report.finalizers.iter().map(|(f, n)| format!("{f} in {n} resource instances")).collect();
            let message = format!("Some content in the namespace has finalizers remaining: {}", list(each));
            Some(("SomeFinalizersRemain", message))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_come_and_go() {
        let mut status = NamespaceStatus::default();
        let now = Timestamp::from_second(2_000_000_000).unwrap();
        let later = Timestamp::from_second(2_000_000_060).unwrap();
        let stuck = Report {
            remaining: [("pods.".to_string(), 2)].into(),
            finalizers: [("example.com/hold".to_string(), 1)].into(),
            ..Default::default()
        };
        assert!(update(&mut status, &stuck, now));
        assert!(!update(&mut status, &stuck, later), "nothing new");
        let find = |s: &NamespaceStatus, t: &str| {
            s.conditions.as_ref().unwrap().iter().find(|c| c.type_ == t).unwrap().clone()
        };
        let remaining = find(&status, "NamespaceContentRemaining");
        assert_eq!(remaining.message.as_deref(), Some("Some resources are remaining: pods. has 2 resource instances"));
        assert_eq!(find(&status, "NamespaceDeletionContentFailure").status, "False");
        let fewer = Report { remaining: [("pods.".to_string(), 1)].into(), ..Default::default() };
        assert!(update(&mut status, &fewer, later));
        assert_eq!(find(&status, "NamespaceContentRemaining").last_transition_time, Some(time(now)));
        assert_eq!(find(&status, "NamespaceFinalizersRemaining").last_transition_time, Some(time(later)));
    }
}
