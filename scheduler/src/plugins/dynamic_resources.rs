//! DynamicResources: nodes where the pod's claims have their devices, or can get some (Kubernetes concept: "Dynamic
//! Resource Allocation"). Which ones is [`crate::devices`]'s business.

use std::time::Duration;

use super::{Candidate, Check, Filter, Normalize, Plugin, Rejection, Score};
use crate::devices::{self, Wanted, is_made_for};
use crate::event::Event;
use crate::objects::{DeviceClaim, Pod};
use crate::snapshot::{Slot, Snapshot};

pub const NAME: &str = "DynamicResources";

pub struct DynamicResources {
    /// How long devices may be searched for on one node; zero sets no limit of time.
    pub filter_timeout: Duration,
}

impl Default for DynamicResources {
    fn default() -> Self {
        Self { filter_timeout: Duration::from_secs(10) }
    }
}

impl DynamicResources {
    fn limited<'a>(&self, mut wanted: Wanted<'a>, snapshot: &Snapshot) -> Wanted<'a> {
        let timeout = Some(self.filter_timeout).filter(|timeout| !timeout.is_zero());
        wanted.limit = timeout.map(|timeout| devices::Limit { clock: snapshot.clock, timeout });
        wanted
    }
}

impl Plugin for DynamicResources {
    fn name(&self) -> &'static str {
        NAME
    }

    fn filter<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot) -> Filter<'a> {
        if pod.device_claims.is_empty() && !devices::is_backed(pod, &snapshot.devices) {
            return Filter::Skip;
        }
        let wanted = match devices::wanted(pod, &snapshot.devices) {
            Ok(wanted) => self.limited(wanted, snapshot),
            Err(why) => return Filter::Refuse(Rejection::lasting(why)),
        };
        let taken = devices::taken(&snapshot.devices);
        let check: Check<'a> = Box::new(move |candidate: Candidate<'_>| {
            let found = devices::allocations(&wanted, &taken, &snapshot.devices, candidate.node, 0);
            found.map(drop).map_err(Rejection::lasting)
        });
        Filter::Check(check)
    }

    fn score<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot, _: &'a [Slot]) -> Score<'a> {
        if pod.device_claims.is_empty() {
            return Score::Skip;
        }
        let devices = &snapshot.devices;
        // Without a choice all nodes are equal: there is no need to search them again.
        let Some(wanted) = devices::wanted(pod, devices).ok().filter(|wanted| wanted.has_alternatives()) else {
            return Score::Skip;
        };
        let wanted = self.limited(wanted, snapshot);
        let taken = devices::taken(devices);
        let score = move |candidate: Candidate<'_>| {
            let given = devices::allocations(&wanted, &taken, devices, candidate.node, 0);
            given.map_or(0, |given| devices::preference(&wanted, &given))
        };
        Score::Run { score: Box::new(score), normalize: Normalize::Highest }
    }

    fn wakes(&self, pod: &Pod, event: &Event<'_>, _: &Snapshot) -> bool {
        match event {
            Event::DeviceClass(_) | Event::ResourceSlice(_) => true,
            Event::ResourceClaim { old, new } => {
                let is_allocated = |status: &Option<k8s_openapi::api::resource::v1::ResourceClaimStatus>| {
                    status.as_ref().is_some_and(|status| status.allocation.is_some())
                };
                let is_freed = old.is_some_and(|old| is_allocated(&old.status) && !is_allocated(&new.status));
                let name = new.metadata.name.as_deref().unwrap_or_default();
                let is_named = |claim: &DeviceClaim| matches!(claim, DeviceClaim::Named(own) | DeviceClaim::Own(Some(own)) if **own == *name);
                let is_here = new.metadata.namespace.as_deref() == Some(pod.namespace());
                is_freed || (is_here && (pod.device_claims.iter().any(is_named) || is_made_for(new, pod)))
            }
            Event::OwnUpdate { old, new } => old.device_claims != new.device_claims,
            event => {
                event.node().is_some_and(|(old, new)| old.is_none_or(|old| old.metadata.labels != new.metadata.labels))
            }
        }
    }
}
