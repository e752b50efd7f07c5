//! How well a choice of devices suits claims that name alternatives (`firstAvailable`). Pure.

use k8s_openapi::api::resource::v1::{AllocationResult, ResourceClaim};

use super::{Given, Wanted, allocation_of};

/// The API takes so many alternatives at most: the first of them counts so much.
const ALTERNATIVES_MAX: i64 = 8;

impl Wanted<'_> {
    pub fn has_alternatives(&self) -> bool {
        self.allocated.iter().chain(&self.open).any(|claim| alternatives(claim).next().is_some())
    }
}

/// The higher, the earlier are the alternatives that the pod's claims have got, or would get.
pub fn preference(wanted: &Wanted<'_>, given: &Given) -> i64 {
    let allocated = wanted.allocated.iter().filter_map(|claim| Some((claim, allocation_of(claim)?)));
    let all = allocated.chain(wanted.open.iter().zip(&given.of_claims));
    all.map(|(claim, allocation)| of_claim(claim, allocation)).sum()
}

fn of_claim(claim: &ResourceClaim, allocation: &AllocationResult) -> i64 {
    let results = || allocation.devices.iter().flat_map(|devices| devices.results.iter().flatten());
    let is_chosen = |name: &str| results().any(|result| result.request == name);
    let chosen = alternatives(claim).filter(|(_, name)| is_chosen(name));
    chosen.map(|(place, _)| ALTERNATIVES_MAX - place).sum()
}

/// Each alternative's place and full name.
fn alternatives(claim: &ResourceClaim) -> impl Iterator<Item = (i64, String)> {
    let requests = claim.spec.devices.iter().flat_map(|devices| devices.requests.iter().flatten());
    requests.flat_map(|request| {
        let subs = request.first_available.iter().flatten();
        (0..).zip(subs).map(move |(place, sub)| (place, format!("{}/{}", request.name, sub.name)))
    })
}
