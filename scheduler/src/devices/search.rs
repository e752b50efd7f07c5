//! Finds devices for all requests at once: the first in order that go together. Pure.

use std::collections::HashSet;

use component::scheduling::taints::tolerates_device;
use k8s_openapi::api::resource::v1::{Device, DeviceAttribute, DeviceToleration};

use super::DeviceId;
use super::pools::Found;
use super::requests::{Amount, Asked, Constraint, DEVICES_MAX};

/// Constraints can be such that only trying everything tells; upstream gives up by the clock.
const STEPS_MAX: usize = 100_000;

/// The search took too long.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TimedOut;

/// A device that was chosen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pick<'a> {
    /// Places in [`Asked`].
    pub request: usize,
    pub alternative: usize,
    pub found: Found<'a>,
}

/// `None`: there is no such choice.
pub(super) fn search<'a>(asked: &Asked<'a>, taken: &HashSet<DeviceId<'_>>) -> Result<Option<Vec<Pick<'a>>>, TimedOut> {
    let mut search = Search { asked, taken, picked: Vec::new(), steps: 0 };
    Ok(search.next(0)?.then_some(search.picked))
}

struct Search<'s, 'a> {
    asked: &'s Asked<'a>,
    taken: &'s HashSet<DeviceId<'s>>,
    picked: Vec<Pick<'a>>,
    steps: usize,
}

impl<'a> Search<'_, 'a> {
    /// From this request on.
    fn next(&mut self, request: usize) -> Result<bool, TimedOut> {
        let asked = self.asked;
        let Some(wanted) = asked.requests.get(request) else { return Ok(true) };
        for (alternative, one) in wanted.alternatives.iter().enumerate() {
            let missing = match one.amount {
                Amount::Exactly(count) => count,
                Amount::All if one.devices.is_empty() => continue,
                Amount::All => one.devices.len(),
            };
            if self.fill(request, alternative, 0, missing)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Devices of one request are tried in order only: in another order they would be the same ones.
    fn fill(&mut self, request: usize, alternative: usize, from: usize, missing: usize) -> Result<bool, TimedOut> {
        if missing == 0 {
            return self.next(request + 1);
        }
        let asked = self.asked;
        let one = &asked.requests[request].alternatives[alternative];
        let last = (one.devices.len() + 1).saturating_sub(missing);
        for at in from..last {
            self.steps += 1;
            if self.steps > STEPS_MAX {
                return Err(TimedOut);
            }
            let pick = Pick { request, alternative, found: one.devices[at] };
            if self.takes(&pick) {
                self.picked.push(pick);
                if self.fill(request, alternative, at + 1, missing - 1)? {
                    return Ok(true);
                }
                self.picked.pop();
            }
            if one.amount == Amount::All {
                break;
            }
        }
        Ok(false)
    }

    fn takes(&self, pick: &Pick<'a>) -> bool {
        let request = &self.asked.requests[pick.request];
        let id = pick.found.id();
        let is_own = |other: &Pick<'_>| self.asked.requests[other.request].claim == request.claim;
        !self.taken.contains(&id)
            && !self.picked.iter().any(|other| other.found.id() == id)
            && self.picked.iter().filter(|other| is_own(other)).count() < DEVICES_MAX
            && is_plain(pick.found.device)
            && is_tolerated(pick.found.device, request.alternatives[pick.alternative].tolerations)
            && self.asked.constraints[request.claim].iter().all(|constraint| self.agrees(constraint, pick))
    }

    fn agrees(&self, constraint: &Constraint<'_>, pick: &Pick<'a>) -> bool {
        if !self.concerns(constraint, pick) {
            return true;
        }
        let Some(value) = attribute(pick.found, constraint.attribute) else { return false };
        let claim = self.asked.requests[pick.request].claim;
        let mut others = self
            .picked
            .iter()
            .filter(|other| self.asked.requests[other.request].claim == claim && self.concerns(constraint, other));
        others.all(|other| (attribute(other.found, constraint.attribute) == Some(value)) == constraint.alike)
    }

    fn concerns(&self, constraint: &Constraint<'_>, pick: &Pick<'_>) -> bool {
        let request = &self.asked.requests[pick.request];
        let full = request.full_name(pick.alternative);
        constraint.requests.is_empty() || constraint.requests.iter().any(|name| name == request.name || *name == full)
    }
}

/// What shares with others or waits for conditions is not given out here.
fn is_plain(device: &Device) -> bool {
    device.consumes_counters.as_ref().is_none_or(Vec::is_empty)
        && device.binding_conditions.as_ref().is_none_or(Vec::is_empty)
        && device.allow_multiple_allocations != Some(true)
}

fn is_tolerated(device: &Device, tolerations: &[DeviceToleration]) -> bool {
    let mut hard = device.taints.iter().flatten().filter(|t| matches!(&*t.effect, "NoExecute" | "NoSchedule"));
    hard.all(|taint| tolerations.iter().any(|toleration| tolerates_device(toleration, taint)))
}

/// By its full name, or, in the driver's own domain, by what is behind the slash.
fn attribute<'a>(found: Found<'a>, name: &str) -> Option<&'a DeviceAttribute> {
    let attributes = found.device.attributes.as_ref()?;
    attributes.get(name).or_else(|| {
        let (domain, own) = name.split_once('/')?;
        attributes.get(own).filter(|_| domain == found.slice.spec.driver)
    })
}
