//! What claims ask for, with the devices of a node that would do. Pure.

use std::sync::Arc;

use k8s_openapi::api::resource::v1::{
    CapacityRequirements, DeviceClass, DeviceRequest, DeviceSelector, DeviceToleration, ResourceClaim,
};

use super::pools::{Found, Pool, State};
use super::{Taken, shares, shown};
use crate::snapshot::Devices;

/// Upstream's limit of devices in a claim.
pub(super) const DEVICES_MAX: usize = 32;

/// A request of a claim: one of the alternatives, the first that can be had.
#[derive(Debug)]
pub(super) struct Request<'a> {
    /// The claim's place.
    pub claim: usize,
    pub name: &'a str,
    pub alternatives: Vec<Alternative<'a>>,
}

#[derive(Debug)]
pub(super) struct Alternative<'a> {
    /// Its own name, where there are several.
    pub name: Option<&'a str>,
    pub class: &'a DeviceClass,
    pub tolerations: &'a [DeviceToleration],
    pub amount: Amount,
    /// An administrator looks at devices that may be others'.
    pub for_admins: bool,
    /// What is asked of each device.
    pub capacity: Option<&'a CapacityRequirements>,
    /// In the order in which they are tried.
    pub devices: Vec<Found<'a>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Amount {
    Exactly(usize),
    /// Every one that will do, and at least one.
    All,
}

/// Which devices of a claim belong together.
#[derive(Debug)]
pub(super) struct Constraint<'a> {
    pub attribute: &'a str,
    /// They have it in common; else no two have the same.
    pub alike: bool,
    /// `REQUEST` or `REQUEST/ALTERNATIVE`; empty for all.
    pub requests: &'a [String],
}

#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub requests: Vec<Request<'a>>,
    /// By claim.
    pub constraints: Vec<Vec<Constraint<'a>>>,
}

impl Request<'_> {
    /// `REQUEST` or `REQUEST/ALTERNATIVE`.
    pub(super) fn full_name(&self, alternative: usize) -> String {
        match self.alternatives[alternative].name {
            Some(name) => format!("{}/{name}", self.name),
            None => self.name.to_owned(),
        }
    }
}

/// The parts of a request that its two forms share.
struct Form<'a> {
    name: Option<&'a str>,
    class: &'a str,
    mode: Option<&'a str>,
    count: Option<i64>,
    selectors: Option<&'a [DeviceSelector]>,
    tolerations: Option<&'a [DeviceToleration]>,
    for_admins: bool,
    capacity: Option<&'a CapacityRequirements>,
}

fn forms(request: &DeviceRequest) -> Vec<Form<'_>> {
    if let Some(exact) = &request.exactly {
        return vec![Form {
            name: None,
            class: &exact.device_class_name,
            mode: exact.allocation_mode.as_deref(),
            count: exact.count,
            selectors: exact.selectors.as_deref(),
            tolerations: exact.tolerations.as_deref(),
            for_admins: exact.admin_access == Some(true),
            capacity: exact.capacity.as_ref(),
        }];
    }
    let alternatives = request.first_available.iter().flatten();
    let form = alternatives.map(|sub| Form {
        name: Some(&sub.name),
        class: &sub.device_class_name,
        mode: sub.allocation_mode.as_deref(),
        count: sub.count,
        selectors: sub.selectors.as_deref(),
        tolerations: sub.tolerations.as_deref(),
        for_admins: false,
        capacity: sub.capacity.as_ref(),
    });
    form.collect()
}

fn requests_of(claim: &ResourceClaim) -> impl Iterator<Item = &DeviceRequest> {
    claim.spec.devices.iter().flat_map(|devices| devices.requests.iter().flatten())
}

/// The classes that a claim names, with the requests that do.
pub(super) fn classes_of(claim: &ResourceClaim) -> impl Iterator<Item = (String, &str)> {
    requests_of(claim).flat_map(|request| {
        forms(request).into_iter().map(move |form| {
            let name = form.name.map_or_else(|| request.name.clone(), |name| format!("{}/{name}", request.name));
            (name, form.class)
        })
    })
}

/// The error says, in upstream's words, why a claim cannot be had on this node.
pub(super) fn read<'a>(
    claims: &[&'a Arc<ResourceClaim>],
    devices: &'a Devices,
    pools: &[Pool<'a>],
    taken: &Taken<'_>,
) -> Result<Asked<'a>, String> {
    let mut asked = Asked { requests: Vec::new(), constraints: Vec::new() };
    for (place, claim) in claims.iter().enumerate() {
        let claim: &'a ResourceClaim = claim;
        let mut least = 0_usize;
        for request in requests_of(claim) {
            let reader = Reader { claim, request, devices, pools, taken };
            let alternatives = forms(request).iter().map(|form| reader.read(form)).collect::<Result<Vec<_>, _>>()?;
            let amounts = alternatives.iter().map(|one| match one.amount {
                Amount::Exactly(count) => count,
                Amount::All => one.devices.len(),
            });
            least = least.saturating_add(amounts.min().unwrap_or(0));
            asked.requests.push(Request { claim: place, name: &request.name, alternatives });
        }
        if least > DEVICES_MAX {
            let why = format!("number of requested devices {least} exceeds the claim limit of {DEVICES_MAX}");
            return Err(format!("claim {}: {why}", shown(claim)));
        }
        asked.constraints.push(constraints(claim)?);
    }
    Ok(asked)
}

fn constraints(claim: &ResourceClaim) -> Result<Vec<Constraint<'_>>, String> {
    let all = claim.spec.devices.iter().flat_map(|devices| devices.constraints.iter().flatten());
    let read = all.enumerate().map(|(number, constraint)| {
        let requests = constraint.requests.as_deref().unwrap_or_default();
        match (&constraint.match_attribute, &constraint.distinct_attribute) {
            (Some(attribute), _) => Ok(Constraint { attribute, alike: true, requests }),
            (None, Some(attribute)) => Ok(Constraint { attribute, alike: false, requests }),
            (None, None) => {
                let why = "empty constraint (unsupported constraint type?)";
                Err(format!("claim {}, constraint #{number}: {why}", shown(claim)))
            }
        }
    });
    read.collect()
}

struct Reader<'a, 'p> {
    taken: &'p Taken<'p>,
    claim: &'a ResourceClaim,
    request: &'a DeviceRequest,
    devices: &'a Devices,
    pools: &'p [Pool<'a>],
}

impl<'a> Reader<'a, '_> {
    fn refused(&self, why: &str) -> String {
        format!("claim {}, request {}: {why}", shown(self.claim), self.request.name)
    }

    fn read(&self, form: &Form<'a>) -> Result<Alternative<'a>, String> {
        let Some(class) = self.devices.class(form.class) else {
            return Err(self.refused(&format!("could not retrieve device class {}", form.class)));
        };
        let amount = match form.mode {
            None | Some("" | "ExactCount") => {
                Amount::Exactly(usize::try_from(form.count.unwrap_or(1)).unwrap_or(usize::MAX))
            }
            Some("All") => Amount::All,
            Some(mode) => return Err(self.refused(&format!("unsupported count mode {mode}"))),
        };
        if amount == Amount::All {
            self.check_pools()?;
        }
        let mut found = Vec::new();
        for device in self.pools.iter().flat_map(|pool| &pool.devices) {
            if self.matches(class, form, *device)? && self.has_room(form, *device) {
                found.push(*device);
            }
        }
        let tolerations = form.tolerations.unwrap_or_default();
        let (for_admins, capacity) = (form.for_admins, form.capacity);
        Ok(Alternative { name: form.name, class, tolerations, amount, for_admins, capacity, devices: found })
    }

    fn has_room(&self, form: &Form<'_>, found: Found<'_>) -> bool {
        let own = shares::consumed(found.device, form.capacity);
        let others = self.taken.shared.get(&found.id());
        own.is_some_and(|own| shares::has_room(found.device, others.into_iter().chain([&own])))
    }

    /// All are known only of pools that are whole.
    fn check_pools(&self) -> Result<(), String> {
        let odd = self.pools.iter().find(|pool| pool.state != State::Whole);
        let Some(pool) = odd else { return Ok(()) };
        let state = if pool.state == State::Invalid { "invalid" } else { "being updated" };
        Err(self.refused(&format!("asks for all devices, but resource pool {} is currently {state}", pool.name)))
    }

    fn matches(&self, class: &DeviceClass, form: &Form<'_>, found: Found<'_>) -> Result<bool, String> {
        let selectors = &self.devices.selectors;
        let of_class = selectors.match_all(class.spec.selectors.as_deref(), found);
        let of_class =
            of_class.map_err(|why| format!("class {}: {why}", class.metadata.name.as_deref().unwrap_or_default()))?;
        if !of_class {
            return Ok(false);
        }
        let own = selectors.match_all(form.selectors, found);
        own.map_err(|why| format!("claim {}: {why}", shown(self.claim)))
    }
}
