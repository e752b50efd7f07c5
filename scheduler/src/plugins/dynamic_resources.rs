//! DynamicResources: this scheduler allocates no devices, and says so of pods that claim some, rather than let them start
//! without.

use super::{Filter, Plugin, Rejection};
use crate::event::Event;
use crate::objects::Pod;
use crate::snapshot::Snapshot;

pub struct DynamicResources;

impl Plugin for DynamicResources {
    fn name(&self) -> &'static str {
        "DynamicResources"
    }

    fn filter<'a>(&'a self, pod: &'a Pod, _: &'a Snapshot) -> Filter<'a> {
        if pod.claims_devices {
            Filter::Refuse(Rejection::lasting("cannot allocate all claims: this scheduler allocates no devices"))
        } else {
            Filter::Skip
        }
    }

    fn wakes(&self, _: &Pod, _: &Event<'_>, _: &Snapshot) -> bool {
        false
    }
}
