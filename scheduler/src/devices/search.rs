//! Finds devices for all requests at once: the first in order that go together. Pure; the clock that ends a search
//! which takes longer than the filter may is given.

use std::cell::OnceCell;

use component::scheduling::taints::tolerates_device;
use k8s_openapi::api::resource::v1::{Device, DeviceAttribute, DeviceToleration};

use super::pools::{Found, Pool};
use super::requests::{Alternative, Amount, Asked, Constraint, DEVICES_MAX};
use super::shares::{self, Amounts, Counters, is_shared};
use super::{Deadline, DeviceId, Taken};

/// Constraints can be such that only trying everything tells. Nobody else is served meanwhile: the clock alone, as upstream
/// has it, would let one claim hold all pods up.
const STEPS_MAX: usize = 100_000;
/// How often the clock is looked at.
const STEPS_PER_LOOK: usize = 64;

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
pub(super) fn search<'a>(
    asked: &Asked<'a>,
    pools: &[Pool<'a>],
    taken: &Taken<'_>,
    until: Option<Deadline>,
) -> Result<Option<Vec<Pick<'a>>>, TimedOut> {
    let left = pools.iter().map(|_| OnceCell::new()).collect();
    let mut search = Search { asked, pools, left, taken, picked: Vec::new(), steps: 0, until };
    Ok(search.next(0)?.then_some(search.picked))
}

struct Search<'s, 'a> {
    asked: &'s Asked<'a>,
    pools: &'s [Pool<'a>],
    /// What is left of each pool's counters; made when a device has some.
    left: Vec<OnceCell<Counters<'a>>>,
    taken: &'s Taken<'s>,
    picked: Vec<Pick<'a>>,
    steps: usize,
    until: Option<Deadline>,
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
            self.step()?;
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

    fn step(&mut self) -> Result<(), TimedOut> {
        self.steps += 1;
        let looks = self.steps.is_multiple_of(STEPS_PER_LOOK);
        let is_late = || self.until.as_ref().is_some_and(Deadline::has_passed);
        if self.steps > STEPS_MAX || (looks && is_late()) { Err(TimedOut) } else { Ok(()) }
    }

    fn takes(&self, pick: &Pick<'a>) -> bool {
        let request = &self.asked.requests[pick.request];
        let (device, one) = (pick.found.device, self.alternative(pick));
        let is_own = |other: &&Pick<'_>| self.asked.requests[other.request].claim == request.claim;
        self.is_free(pick)
            && self.picked.iter().filter(is_own).count() < DEVICES_MAX
            && is_tolerated(device, one.tolerations)
            && self.has_counters(pick)
            && self.has_room(pick)
            && self.asked.constraints[request.claim].iter().all(|constraint| self.agrees(constraint, pick))
    }

    fn alternative(&self, pick: &Pick<'_>) -> &Alternative<'a> {
        &self.asked.requests[pick.request].alternatives[pick.alternative]
    }

    /// Administrators need no free device, but none twice in a claim.
    fn is_free(&self, pick: &Pick<'a>) -> bool {
        let (id, claim) = (pick.found.id(), self.asked.requests[pick.request].claim);
        let mut picked = self.picked.iter().filter(|other| other.found.id() == id);
        match (is_shared(pick.found.device), self.alternative(pick).for_admins) {
            (true, for_admins) => for_admins || !self.taken.whole.contains(&id),
            (false, true) => !picked.any(|other| self.asked.requests[other.request].claim == claim),
            (false, false) => !self.taken.whole.contains(&id) && picked.next().is_none(),
        }
    }

    /// A device takes of its pool's counters once, however many share it.
    fn has_counters(&self, pick: &Pick<'a>) -> bool {
        let id = pick.found.id();
        let is_in_use =
            || self.taken.shared.contains_key(&id) || self.picked.iter().any(|other| other.found.id() == id);
        let device = pick.found.device;
        if device.consumes_counters.as_ref().is_none_or(Vec::is_empty) || (is_shared(device) && is_in_use()) {
            return true;
        }
        let Some(place) = self.pools.iter().position(|pool| pool.has(&id)) else { return false };
        let pool = &self.pools[place];
        let left = self.left[place].get_or_init(|| shares::left(&pool.slices, pool.counters.clone(), self.taken));
        let mut used = Counters::new();
        let mut ids: Vec<DeviceId<'_>> = Vec::new();
        for other in self.picked.iter().chain([pick]).map(|pick| pick.found).filter(|other| pool.has(&other.id())) {
            if !ids.contains(&other.id()) {
                ids.push(other.id());
                shares::consumption(other.device).for_each(|(counter, n)| used.entry(counter).or_default().add(&n));
            }
        }
        used.iter().all(|(counter, used)| left.get(counter).is_some_and(|left| used <= left))
    }

    /// What is asked for is left of the device's capacity.
    fn has_room(&self, pick: &Pick<'a>) -> bool {
        let id = pick.found.id();
        let consumed = |pick: &Pick<'a>| shares::consumed(pick.found.device, self.alternative(pick).capacity);
        let others = self.picked.iter().filter(|other| other.found.id() == id && is_shared(other.found.device));
        let picked: Option<Vec<Amounts<'_>>> = others.chain([pick]).map(consumed).collect();
        let told = self.taken.shared.get(&id).filter(|_| is_shared(pick.found.device));
        picked.is_some_and(|picked| shares::has_room(pick.found.device, told.into_iter().chain(&picked)))
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
