//! NodeUnschedulable: cordoned nodes take only pods that tolerate it.

use super::{Check, Filter, Plugin, Rejection};
use crate::event::Event;
use crate::objects::{Pod, Taint, tolerates};
use crate::snapshot::Snapshot;

pub struct NodeUnschedulable;

fn tolerates_cordon(pod: &Pod) -> bool {
    let cordon =
        Taint { key: "node.kubernetes.io/unschedulable".into(), value: "".into(), effect: "NoSchedule".into() };
    tolerates(&pod.tolerations, &cordon)
}

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn filter<'a>(&'a self, pod: &'a Pod, _: &'a Snapshot) -> Filter<'a> {
        if tolerates_cordon(pod) {
            return Filter::Skip;
        }
        let check: Check<'_> = Box::new(|candidate| {
            let refuse = || Rejection::lasting("node(s) were unschedulable");
            if candidate.node.unschedulable { Err(refuse()) } else { Ok(()) }
        });
        Filter::Check(check)
    }

    fn wakes(&self, pod: &Pod, event: &Event<'_>, _: &Snapshot) -> bool {
        match event {
            Event::OwnUpdate { .. } => tolerates_cordon(pod),
            event => {
                event.node().is_some_and(|(old, new)| !new.unschedulable && old.is_none_or(|old| old.unschedulable))
            }
        }
    }
}
