//! Which devices a pod's claims get on a node (Kubernetes concept: "Dynamic Resource Allocation").
//!
//! Enter at [`wanted`] (the claims of a pod, or why it must wait) and [`plan`] (what has to be written before the pod goes
//! to a node). `pools` is what a node reaches, `requests` what claims ask for, `search` chooses. Pure: the clock
//! that ends a search (`filterTimeout`) is given.
//!
//! `shares` is what several have of one device, or devices of common counters; `readiness` is what a binding waits for.

mod extended;
mod pools;
mod preference;
pub mod readiness;
mod requests;
mod result;
mod search;
mod selectors;
mod shares;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use component::clock::Clock;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::NodeSelector;
use k8s_openapi::api::resource::v1::{AllocationResult, DeviceRequestAllocationResult, ResourceClaim};
use machinery::quantity::Quantity;

pub use self::extended::{ANNOTATION, Extended, counts, is_backed, is_by_device};
pub use self::preference::preference;
use self::readiness::Readiness;
pub use self::selectors::Selectors;
use self::shares::Amounts;
use crate::objects::{DeviceClaim, Node, NodeTerm, Pod};
use crate::snapshot::{DevicePlan, Devices, Snapshot};

/// What names a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct DeviceId<'a> {
    driver: &'a str,
    pool: &'a str,
    device: &'a str,
}

/// The claims of a pod.
#[derive(Debug, Default)]
pub struct Wanted<'a> {
    allocated: Vec<&'a Arc<ResourceClaim>>,
    open: Vec<&'a Arc<ResourceClaim>>,
    /// The pod, when devices stand behind its extended resources.
    extends: Option<&'a Pod>,
    /// How long a node may be searched.
    pub limit: Option<Limit>,
}

/// A time that a search may take, by the clock that is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    pub clock: Clock,
    pub timeout: Duration,
}

struct Deadline {
    clock: Clock,
    at: Timestamp,
}

impl Limit {
    /// The search begins.
    fn begin(&self) -> Deadline {
        let timeout = SignedDuration::try_from(self.timeout).unwrap_or(SignedDuration::MAX);
        Deadline { clock: self.clock, at: self.clock.now().checked_add(timeout).unwrap_or(Timestamp::MAX) }
    }
}

impl Deadline {
    fn has_passed(&self) -> bool {
        self.clock.now() >= self.at
    }
}

/// What a pod gets on a node.
#[derive(Debug, Default)]
pub struct Given {
    /// For its open claims, in their order.
    pub of_claims: Vec<AllocationResult>,
    pub extended: Option<(Extended, AllocationResult)>,
}

const UNAVAILABLE: &str = "resourceclaim not available on the node";
const LEFT_OVER: &str = "cannot schedule extended resource claim";
const TOO_FEW: &str = "cannot allocate all claims";

/// The claims of a pod, or why no node will do, in upstream's words.
pub fn wanted<'a>(pod: &'a Pod, devices: &'a Devices) -> Result<Wanted<'a>, String> {
    let mut wanted = Wanted::default();
    if is_backed(pod, devices) {
        if made_before(pod, devices).is_some() {
            return Err(LEFT_OVER.to_owned());
        }
        wanted.extends = Some(pod);
    }
    for asked in &pod.device_claims {
        let Some(claim) = find(pod, asked, devices)? else { continue };
        match allocation_of(claim) {
            Some(_) => wanted.allocated.push(claim),
            None => {
                check_open(claim, devices)?;
                wanted.open.push(claim);
            }
        }
    }
    Ok(wanted)
}

/// The claim for a pod's extended resources that a former attempt left behind.
pub fn made_before<'a>(pod: &Pod, devices: &'a Devices) -> Option<&'a Arc<ResourceClaim>> {
    let is_marked = |claim: &ResourceClaim| {
        let annotations = claim.metadata.annotations.as_ref();
        annotations.and_then(|all| all.get(ANNOTATION)).is_some_and(|value| value == "true")
    };
    devices.claims().find(|claim| is_marked(claim) && is_made_for(claim, pod))
}

fn find<'a>(pod: &Pod, asked: &DeviceClaim, devices: &'a Devices) -> Result<Option<&'a Arc<ResourceClaim>>, String> {
    let at = format!("{}/{}", pod.namespace(), pod.name());
    let name = match asked {
        DeviceClaim::Named(name) | DeviceClaim::Own(Some(name)) => name,
        DeviceClaim::Own(None) => return Ok(None),
        DeviceClaim::Awaited => return Err(format!("pod \"{at}\": ResourceClaim not created yet")),
    };
    let Some(claim) = devices.claim(pod.namespace(), name) else {
        return Err(format!("resourceclaim.resource.k8s.io \"{name}\" not found"));
    };
    if claim.metadata.deletion_timestamp.is_some() {
        return Err(format!("resourceclaim \"{name}\" is being deleted"));
    }
    if matches!(asked, DeviceClaim::Own(_)) && !is_made_for(claim, pod) {
        return Err(format!("ResourceClaim {} was not created for Pod {at} (Pod is not owner)", shown(claim)));
    }
    Ok(Some(claim))
}

pub fn is_made_for(claim: &ResourceClaim, pod: &Pod) -> bool {
    let mut owners = claim.metadata.owner_references.iter().flatten();
    owners.any(|owner| owner.controller == Some(true) && owner.uid == pod.uid())
}

fn check_open(claim: &ResourceClaim, devices: &Devices) -> Result<(), String> {
    if devices.pending().any(|(pending, _)| pending.metadata.uid == claim.metadata.uid) {
        return Err(format!("resource claim {} is in the process of being allocated", shown(claim)));
    }
    for (request, class) in requests::classes_of(claim) {
        if devices.class(class).is_none() {
            return Err(format!("request {request}: device class {class} does not exist"));
        }
    }
    Ok(())
}

fn shown(claim: &ResourceClaim) -> String {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    format!("{}/{}", text(&claim.metadata.namespace), text(&claim.metadata.name))
}

fn allocation_of(claim: &ResourceClaim) -> Option<&AllocationResult> {
    claim.status.as_ref()?.allocation.as_ref()
}

/// Whether the devices of a claim can be used there, now or soon.
fn is_available(claim: &ResourceClaim, node: &Node) -> bool {
    let is_there = allocation_of(claim).is_none_or(|allocation| is_on(allocation, node));
    is_there && !matches!(readiness::of(claim), Readiness::Failed(_))
}

fn is_on(allocation: &AllocationResult, node: &Node) -> bool {
    allocation.node_selector.as_ref().is_none_or(|selector| selects(selector, node))
}

fn selects(selector: &NodeSelector, node: &Node) -> bool {
    selector.node_selector_terms.iter().filter_map(NodeTerm::parse).any(|term| term.matches(node))
}

/// The devices that are somebody's, or about to be.
#[derive(Debug, Default)]
pub struct Taken<'a> {
    whole: HashSet<DeviceId<'a>>,
    /// Those that several have, with what is taken of each.
    shared: HashMap<DeviceId<'a>, Amounts<'a>>,
}

impl Taken<'_> {
    fn has(&self, id: &DeviceId<'_>) -> bool {
        self.whole.contains(id) || self.shared.contains_key(id)
    }
}

pub fn taken(devices: &Devices) -> Taken<'_> {
    let told = devices.claims().filter_map(|claim| allocation_of(claim));
    let all = told.chain(devices.pending().map(|(_, allocation)| allocation));
    let results = all.filter_map(|allocation| allocation.devices.as_ref()).flat_map(|d| d.results.iter().flatten());
    let mut taken = Taken::default();
    let mut shares_seen = HashSet::new();
    // Administrators look at devices that are others'.
    for result in results.filter(|result| result.admin_access != Some(true)) {
        let Some(share_id) = &result.share_id else {
            taken.whole.insert(id_of(result));
            continue;
        };
        // From the write to the binding both the claim and the plan have it.
        if !shares_seen.insert((id_of(result), share_id.as_str())) {
            continue;
        }
        let share = taken.shared.entry(id_of(result)).or_default();
        for (name, amount) in result.consumed_capacity.iter().flatten() {
            share.entry(name).or_default().add(&Quantity::parse(&amount.0).unwrap_or_default());
        }
    }
    taken
}

fn id_of(result: &DeviceRequestAllocationResult) -> DeviceId<'_> {
    DeviceId { driver: &result.driver, pool: &result.pool, device: &result.device }
}

/// What the pod would be given on this node, or why it will not do. Another `nonce` gives shares other names.
pub fn allocations(
    wanted: &Wanted<'_>,
    taken: &Taken<'_>,
    devices: &Devices,
    node: &Node,
    nonce: u64,
) -> Result<Given, String> {
    if !wanted.allocated.iter().all(|claim| is_available(claim, node)) {
        return Err(UNAVAILABLE.to_owned());
    }
    let extended = wanted.extends.and_then(|pod| extended::on_node(pod, node, devices));
    let own = extended.as_ref().map(|extended| Arc::new(extended.claim.clone()));
    let open: Vec<&Arc<ResourceClaim>> = wanted.open.iter().copied().chain(own.as_ref()).collect();
    if open.is_empty() {
        return Ok(Given::default());
    }
    let pools = pools::reachable(devices, node);
    let asked = requests::read(&open, devices, &pools, taken)?;
    let until = wanted.limit.as_ref().map(Limit::begin);
    let picked = search::search(&asked, &pools, taken, until)
        .map_err(|search::TimedOut| format!("node {}: timed out trying to allocate devices", node.name()))?;
    match picked {
        Some(picked) => {
            let mut of_claims = result::allocations(&open, &asked, &picked, (node.name(), nonce));
            let extended = extended.and_then(|extended| Some((extended, of_claims.pop()?)));
            Ok(Given { of_claims, extended })
        }
        None if pools.iter().any(|pool| pool.state == pools::State::Invalid) => {
            Err("invalid resource pools were encountered".to_owned())
        }
        None => Err(TOO_FEW.to_owned()),
    }
}

/// What has to be written before the pod goes to this node, where the filter let it pass. Each attempt has its own
/// `nonce`.
pub fn plan(pod: &Pod, snapshot: &Snapshot, node: &Node, nonce: u64) -> Option<DevicePlan> {
    let devices = &snapshot.devices;
    let wanted = wanted(pod, devices).ok()?;
    let given = allocations(&wanted, &taken(devices), devices, node, nonce).ok()?;
    let open = wanted.open.iter().zip(given.of_claims).map(|(claim, allocation)| ((*claim).clone(), Some(allocation)));
    let kept = wanted.allocated.iter().filter(|claim| !is_reserved_for(claim, pod.uid()));
    let claims: Vec<_> = open.chain(kept.map(|claim| ((*claim).clone(), None))).collect();
    let extended = given.extended.map(Box::new);
    (!claims.is_empty() || extended.is_some()).then_some(DevicePlan { claims, extended })
}

pub fn is_reserved_for(claim: &ResourceClaim, pod_uid: &str) -> bool {
    reserved(claim).any(|uid| uid == pod_uid)
}

fn reserved(claim: &ResourceClaim) -> impl Iterator<Item = &str> {
    claim.status.iter().flat_map(|status| status.reserved_for.iter().flatten()).map(|consumer| consumer.uid.as_str())
}

/// A claim of the pod that has to be given up: left over from a former attempt, or one whose devices are where some nodes
/// are not, and which nobody else uses: without them the pod may fit elsewhere.
pub fn stuck(pod: &Pod, snapshot: &Snapshot) -> Option<Arc<ResourceClaim>> {
    if let Some(left_over) = made_before(pod, &snapshot.devices) {
        return Some(left_over.clone());
    }
    let wanted = wanted(pod, &snapshot.devices).ok()?;
    let nodes = || snapshot.order().iter().filter_map(|slot| snapshot.node(*slot).node());
    let is_stuck = |claim: &ResourceClaim| {
        reserved(claim).all(|uid| uid == pod.uid()) && nodes().any(|node| !is_available(claim, node))
    };
    wanted.allocated.into_iter().find(|claim| is_stuck(claim)).cloned()
}
