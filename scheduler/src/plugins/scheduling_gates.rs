//! SchedulingGates: a pod with gates waits outside the queue until the last one is gone.

use super::Plugin;
use crate::event::Event;
use crate::objects::Pod;
use crate::snapshot::Snapshot;

pub struct SchedulingGates;

impl Plugin for SchedulingGates {
    fn name(&self) -> &'static str {
        "SchedulingGates"
    }

    fn wakes(&self, _: &Pod, event: &Event<'_>, _: &Snapshot) -> bool {
        matches!(event, Event::OwnUpdate { new, .. } if new.gates.is_empty())
    }
}
