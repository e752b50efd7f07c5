//! NodePorts: two pods cannot take the same port of a node.

use super::{Filter, Plugin, Rejection};
use crate::event::Event;
use crate::objects::Pod;
use crate::snapshot::{Snapshot, ports_conflict};

pub struct NodePorts;

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn filter<'a>(&'a self, pod: &'a Pod, _: &'a Snapshot) -> Filter<'a> {
        if pod.host_ports.is_empty() {
            return Filter::Skip;
        }
        Filter::Check(Box::new(|candidate| {
            let taken = pod.host_ports.iter().any(|port| candidate.info.port_taken(port));
            let refuse = || Rejection::preemptable("node(s) didn't have free ports for the requested pod ports");
            if taken { Err(refuse()) } else { Ok(()) }
        }))
    }

    fn wakes(&self, pod: &Pod, event: &Event<'_>, _: &Snapshot) -> bool {
        match event {
            Event::NodeAdd(_) => true,
            Event::PodDelete(gone) => {
                gone.host_ports.iter().any(|freed| pod.host_ports.iter().any(|wanted| ports_conflict(freed, wanted)))
            }
            _ => false,
        }
    }
}
