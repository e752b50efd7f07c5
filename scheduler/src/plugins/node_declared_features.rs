//! NodeDeclaredFeatures: a pod that needs a feature of the kubelet goes where the node's status declares it.

use super::{Check, Filter, Plugin, Rejection};
use crate::event::Event;
use crate::objects::{Node, Pod};
use crate::snapshot::Snapshot;

pub struct NodeDeclaredFeatures;

fn declares_all(node: &Node, pod: &Pod) -> bool {
    pod.needed_features.iter().all(|needed| node.declared_features.iter().any(|declared| **declared == **needed))
}

impl Plugin for NodeDeclaredFeatures {
    fn name(&self) -> &'static str {
        "NodeDeclaredFeatures"
    }

    fn filter<'a>(&'a self, pod: &'a Pod, _: &'a Snapshot) -> Filter<'a> {
        if pod.needed_features.is_empty() {
            return Filter::Skip;
        }
        let check: Check<'_> = Box::new(|candidate| {
            let refuse = || Rejection::lasting("node(s) didn't match Pod's required features");
            if declares_all(candidate.node, pod) { Ok(()) } else { Err(refuse()) }
        });
        Filter::Check(check)
    }

    fn wakes(&self, pod: &Pod, event: &Event<'_>, _: &Snapshot) -> bool {
        match event {
            Event::OwnUpdate { old, new } => old.needed_features != new.needed_features,
            event => event
                .node()
                .is_some_and(|(old, new)| declares_all(new, pod) && !old.is_some_and(|old| declares_all(old, pod))),
        }
    }
}
