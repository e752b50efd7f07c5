//! NodeName: a pod that names its node goes nowhere else.

use super::{Filter, Plugin, Rejection};
use crate::event::Event;
use crate::objects::Pod;
use crate::snapshot::Snapshot;

pub struct NodeName;

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn filter<'a>(&'a self, pod: &'a Pod, _: &'a Snapshot) -> Filter<'a> {
        if pod.node_name.is_empty() {
            return Filter::Skip;
        }
        Filter::Check(Box::new(|candidate| {
            let refuse = || Rejection::lasting("node(s) didn't match the requested node name");
            if candidate.node.name() == &*pod.node_name { Ok(()) } else { Err(refuse()) }
        }))
    }

    fn wakes(&self, _: &Pod, event: &Event<'_>, _: &Snapshot) -> bool {
        matches!(event, Event::NodeAdd(_))
    }
}
