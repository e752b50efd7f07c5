//! What is written into claims for the devices that were chosen. Pure.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm};
use k8s_openapi::api::resource::v1::{
    AllocationResult, DeviceAllocationConfiguration, DeviceAllocationResult, DeviceRequestAllocationResult,
    ResourceClaim,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;

use super::pools::Found;
use super::requests::Asked;
use super::search::Pick;
use super::shares;

/// One for each claim.
pub(super) fn allocations(
    claims: &[&Arc<ResourceClaim>],
    asked: &Asked<'_>,
    picked: &[Pick<'_>],
    (node, nonce): (&str, u64),
) -> Vec<AllocationResult> {
    let of_claim = |(place, claim): (usize, &&Arc<ResourceClaim>)| {
        let own: Vec<Pick<'_>> =
            picked.iter().filter(|pick| asked.requests[pick.request].claim == place).copied().collect();
        let results = own.iter().enumerate().map(|(at, pick)| result(claim, asked, (at, pick), nonce)).collect();
        let devices = DeviceAllocationResult { results: Some(results), config: configurations(claim, asked, &own) };
        AllocationResult {
            devices: Some(devices),
            node_selector: node_selector(own.iter().map(|pick| pick.found), node),
            allocation_timestamp: None,
        }
    };
    claims.iter().enumerate().map(of_claim).collect()
}

fn result(
    claim: &ResourceClaim,
    asked: &Asked<'_>,
    (at, pick): (usize, &Pick<'_>),
    nonce: u64,
) -> DeviceRequestAllocationResult {
    let (request, id, device) = (&asked.requests[pick.request], pick.found.id(), pick.found.device);
    let alternative = &request.alternatives[pick.alternative];
    let tolerations = alternative.tolerations;
    let is_shared = shares::is_shared(device);
    let consumed = shares::consumed(device, alternative.capacity).filter(|consumed| is_shared && !consumed.is_empty());
    let consumed =
        consumed.map(|all| all.iter().map(|(name, n)| (str::to_owned(name), Amount(n.to_string()))).collect());
    DeviceRequestAllocationResult {
        request: request.full_name(pick.alternative),
        driver: id.driver.to_owned(),
        pool: id.pool.to_owned(),
        device: id.device.to_owned(),
        tolerations: (!tolerations.is_empty()).then(|| tolerations.to_vec()),
        admin_access: alternative.for_admins.then_some(true),
        binding_conditions: device.binding_conditions.clone(),
        binding_failure_conditions: device.binding_failure_conditions.clone(),
        share_id: is_shared.then(|| share_id(claim, at, nonce)),
        consumed_capacity: consumed,
    }
}

/// A UUID that no other share has: not even the same claim's of a former attempt.
fn share_id(claim: &ResourceClaim, at: usize, nonce: u64) -> String {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, &claim.metadata.uid, nonce, at).hash(&mut hasher);
        hasher.finish()
    };
    let (high, low) = (half(0), half(1));
    let fields = (high >> 32, high >> 16 & 0xffff, high & 0xfff, low >> 48 & 0x3fff | 0x8000, low & 0xffff_ffff_ffff);
    format!("{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}", fields.0, fields.1, fields.2, fields.3, fields.4)
}

/// What drivers are told: first by the classes, each once with all requests of it, then by the claim.
fn configurations(
    claim: &ResourceClaim,
    asked: &Asked<'_>,
    own: &[Pick<'_>],
) -> Option<Vec<DeviceAllocationConfiguration>> {
    let mut chosen: Vec<(usize, usize)> = own.iter().map(|pick| (pick.request, pick.alternative)).collect();
    chosen.dedup();
    let mut by_class: Vec<(&str, Vec<DeviceAllocationConfiguration>)> = Vec::new();
    for (request, alternative) in &chosen {
        let asked = &asked.requests[*request];
        let class = asked.alternatives[*alternative].class;
        let (class_name, name) = (class.metadata.name.as_deref().unwrap_or_default(), asked.full_name(*alternative));
        if let Some((_, told)) = by_class.iter_mut().find(|(known, _)| *known == class_name) {
            told.iter_mut().for_each(|one| one.requests.get_or_insert_default().push(name.clone()));
            continue;
        }
        let told = class.spec.config.iter().flatten().map(|config| DeviceAllocationConfiguration {
            source: "FromClass".to_owned(),
            requests: Some(vec![name.clone()]),
            opaque: config.opaque.clone(),
        });
        by_class.push((class_name, told.collect()));
    }
    let names: Vec<(&str, String)> =
        chosen.iter().map(|(r, a)| (asked.requests[*r].name, asked.requests[*r].full_name(*a))).collect();
    let concerns = |requests: &[String]| {
        let is_chosen = |wanted: &String| names.iter().any(|(name, full)| wanted == name || wanted == full);
        requests.is_empty() || requests.iter().any(is_chosen)
    };
    let of_claim = claim.spec.devices.iter().flat_map(|devices| devices.config.iter().flatten());
    let of_claim = of_claim.filter(|config| concerns(config.requests.as_deref().unwrap_or_default()));
    let of_claim = of_claim.map(|config| DeviceAllocationConfiguration {
        source: "FromClaim".to_owned(),
        requests: config.requests.clone(),
        opaque: config.opaque.clone(),
    });
    let all: Vec<_> = by_class.into_iter().flat_map(|(_, told)| told).chain(of_claim).collect();
    (!all.is_empty()).then_some(all)
}

/// Where the devices can be used; `None`: everywhere.
fn node_selector<'a>(devices: impl Iterator<Item = Found<'a>>, node: &str) -> Option<NodeSelector> {
    let mut term = NodeSelectorTerm::default();
    for Found { slice, device } in devices {
        let (name, selector) = match slice.spec.per_device_node_selection {
            Some(true) => (&device.node_name, &device.node_selector),
            _ => (&slice.spec.node_name, &slice.spec.node_selector),
        };
        if name.as_ref().is_some_and(|name| !name.is_empty()) || device.binds_to_node == Some(true) {
            return Some(only(node));
        }
        // The API takes one term here.
        if let Some(given) = selector.as_ref().and_then(|selector| selector.node_selector_terms.first()) {
            add(&mut term.match_fields, &given.match_fields);
            add(&mut term.match_expressions, &given.match_expressions);
        }
    }
    let is_empty = term.match_fields.is_none() && term.match_expressions.is_none();
    (!is_empty).then(|| NodeSelector { node_selector_terms: vec![term] })
}

fn only(node: &str) -> NodeSelector {
    let name = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    NodeSelector {
        node_selector_terms: vec![NodeSelectorTerm { match_fields: Some(vec![name]), ..Default::default() }],
    }
}

fn add(into: &mut Option<Vec<NodeSelectorRequirement>>, from: &Option<Vec<NodeSelectorRequirement>>) {
    for requirement in from.iter().flatten() {
        let known = into.get_or_insert_default();
        if !known.contains(requirement) {
            known.push(requirement.clone());
        }
    }
}
