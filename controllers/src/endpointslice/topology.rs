//! Topology-aware hints: each zone gets as large a part of a Service's endpoints as it has of the nodes' CPUs.
//!
//! Pure. Enter by [`apply`]; [`shares`] says what part each zone has. Concepts: "Topology Aware Routing". Hints that are
//! still good are kept, so that a small change moves few endpoints.

use std::collections::BTreeMap;

use component::recorder::Type;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointHints, EndpointSlice, ForZone};
use machinery::quantity::Quantity;

use super::plan::{Note, Plan};
use crate::common::map;
use crate::common::nodes::is_ready as node_is_ready;

const ZONE: &str = "topology.kubernetes.io/zone";
const MODES: [&str; 2] = ["service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"];
/// Nodes that serve no pods of users.
const EXCLUDED: [&str; 2] = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];
/// How much more than its part an endpoint may have to bear.
const OVERLOAD: f64 = 0.20;

/// The part of all CPUs that each zone has.
pub(super) type Shares = BTreeMap<String, f64>;

/// Whether the Service asks for such hints; the older annotation wins.
pub(super) fn is_asked(service: &Service) -> bool {
    let annotations = map(&service.metadata.annotations);
    let mode = MODES.iter().find_map(|key| annotations.get(*key));
    mode.is_some_and(|mode| mode == "Auto" || mode == "auto")
}

/// None when a node does not say enough of itself, or all are in one zone.
pub(super) fn shares<'a>(nodes: impl Iterator<Item = &'a Node>) -> Option<Shares> {
    let mut by_zone: BTreeMap<String, i64> = BTreeMap::new();
    for node in nodes.filter(|node| serves(node)) {
        let cpu = milli_cpu(node);
        let zone = map(&node.metadata.labels).get(ZONE).filter(|zone| !zone.is_empty() && cpu > 0)?;
        *by_zone.entry(zone.clone()).or_default() += cpu;
    }
    let total: i64 = by_zone.values().sum();
    let share = |(zone, cpu): (String, i64)| (zone, cpu as f64 / total as f64);
    (by_zone.len() > 1).then(|| by_zone.into_iter().map(share).collect())
}

/// What of a node matters for the shares.
pub(super) fn part(node: &Node) -> (bool, Option<&String>, i64) {
    (serves(node), map(&node.metadata.labels).get(ZONE), milli_cpu(node))
}

fn serves(node: &Node) -> bool {
    let labels = map(&node.metadata.labels);
    node_is_ready(node) && !EXCLUDED.iter().any(|key| labels.contains_key(*key))
}

fn milli_cpu(node: &Node) -> i64 {
    let allocatable = node.status.as_ref().and_then(|s| s.allocatable.as_ref());
    let cpu = allocatable.and_then(|a| a.get("cpu")).and_then(|q| Quantity::parse(&q.0).ok());
    cpu.map_or(0, |cpu| cpu.milli_value())
}

/// How many endpoints a zone may have, and should.
struct Allocation {
    maximum: usize,
    desired: f64,
}

/// Sets the hints of all slices of a family that are written, and writes those whose hints alone are wrong. The error is
/// why there are none.
pub(super) fn apply(shares: Option<&Shares>, existing: &[&EndpointSlice], changes: &mut Plan) -> Result<(), String> {
    let touched: Vec<_> =
        changes.update.iter().chain(&changes.delete).filter_map(|s| s.metadata.name.clone()).collect();
    let untouched = existing.iter().filter(|s| s.metadata.name.as_ref().is_none_or(|n| !touched.contains(n)));
    let untouched: Vec<&EndpointSlice> = untouched.copied().collect();
    let given = give(shares, &untouched, changes);
    if given.is_err() {
        changes.update.extend(untouched.iter().filter(|slice| has_hints(slice)).map(|slice| (*slice).clone()));
        for slice in changes.create.iter_mut().chain(&mut changes.update) {
            slice.endpoints.iter_mut().flatten().for_each(|endpoint| endpoint.hints = None);
        }
    }
    given
}

/// What there is to tell of a family. `hinted` is whether the Service is known to have hints; it holds for all of its
/// families, so that the first that comes, or goes, tells.
pub(super) fn note(asked: Option<Result<(), String>>, family: &str, hinted: &mut bool) -> Option<Note> {
    let had = *hinted;
    let (is_given, why) = match asked {
        Some(Ok(())) => (true, "Topology Aware Hints has been enabled".to_owned()),
        Some(Err(why)) => (false, why),
        None if had => (false, "Topology Aware Hints has been disabled".to_owned()),
        None => return None,
    };
    *hinted = is_given;
    let message = format!("{why}, addressType: {family}");
    match (is_given, had) {
        (true, true) => None,
        (true, false) => Some((Type::Normal, "TopologyAwareHintsEnabled", message)),
        (false, _) => Some((Type::Warning, "TopologyAwareHintsDisabled", message)),
    }
}

fn has_hints(slice: &EndpointSlice) -> bool {
    slice.endpoints.iter().flatten().any(|endpoint| endpoint.hints.is_some())
}

fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|c| c.ready) != Some(false)
}

fn ready(slice: &EndpointSlice) -> impl Iterator<Item = &Endpoint> {
    slice.endpoints.iter().flatten().filter(|endpoint| is_ready(endpoint))
}

fn give(shares: Option<&Shares>, untouched: &[&EndpointSlice], changes: &mut Plan) -> Result<(), String> {
    let all = changes.create.iter().chain(&changes.update).chain(untouched.iter().copied());
    let allocations = allocate(shares, all.map(|slice| ready(slice).count()).sum())?;
    let mut given: BTreeMap<String, usize> = BTreeMap::new();
    for slice in untouched {
        match kept(slice, &given, &allocations) {
            Some(hints) => hints.into_iter().for_each(|(zone, count)| *given.entry(zone).or_default() += count),
            None => changes.update.push((*slice).clone()),
        }
    }
    let mut slices: Vec<&mut EndpointSlice> = changes.create.iter_mut().chain(&mut changes.update).collect();
    for endpoint in slices.iter_mut().flat_map(|slice| slice.endpoints.iter_mut().flatten()) {
        endpoint.hints = None;
        if is_ready(endpoint) {
            let zone = endpoint.zone.clone().filter(|zone| !zone.is_empty());
            let zone = zone.ok_or("One or more endpoints do not have a zone specified")?;
            *given.entry(zone.clone()).or_default() += 1;
            endpoint.hints = hint(zone);
        }
    }
    let (mut giving, mut receiving) = moves(&allocations, &given);
    let endpoints = slices.iter_mut().flat_map(|slice| slice.endpoints.iter_mut().flatten());
    for endpoint in endpoints.filter(|endpoint| is_ready(endpoint)) {
        let from = endpoint.zone.as_ref().and_then(|zone| giving.get_mut(zone)).filter(|left| **left > 0);
        let to = receiving.iter_mut().find(|(_, left)| **left > 0);
        if let (Some(from), Some((zone, to))) = (from, to) {
            *from -= 1;
            *to -= 1;
            endpoint.hints = hint(zone.clone());
        }
    }
    if given.is_empty() { Err("No hints allocated for zones".into()) } else { Ok(()) }
}

fn hint(zone: String) -> Option<EndpointHints> {
    Some(EndpointHints { for_zones: Some(vec![ForZone { name: zone }]), for_nodes: None })
}

/// Each zone's allocation of so many endpoints; the error is why there cannot be one.
fn allocate(shares: Option<&Shares>, endpoints: usize) -> Result<BTreeMap<String, Allocation>, String> {
    let Some(shares) = shares else {
        let why = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes";
        return Err(why.into());
    };
    let counted = |why: &str| format!("{why} ({endpoints} endpoints, {} zones)", shares.len());
    if shares.len() > endpoints {
        return Err(counted("Insufficient number of endpoints"));
    }
    let desired = |share: f64| share * endpoints as f64;
    let minimum = |share: f64| (desired(share) / (1.0 + OVERLOAD)).ceil() as usize;
    let least: usize = shares.values().map(|share| minimum(*share)).sum();
    let Some(spare) = endpoints.checked_sub(least) else {
        let why = "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold";
        return Err(counted(why));
    };
    let allocation =
        |share: f64| Allocation { maximum: minimum(share) + spare, desired: desired(share).max(minimum(share) as f64) };
    Ok(shares.iter().map(|(zone, share)| (zone.clone(), allocation(*share))).collect())
}

/// The hints of a slice by zone, if all of them can stay.
fn kept(
    slice: &EndpointSlice,
    given: &BTreeMap<String, usize>,
    allocations: &BTreeMap<String, Allocation>,
) -> Option<BTreeMap<String, usize>> {
    let mut hints: BTreeMap<String, usize> = BTreeMap::new();
    for endpoint in ready(slice) {
        let zones = endpoint.hints.as_ref()?.for_zones.as_ref().filter(|zones| !zones.is_empty())?;
        zones.iter().for_each(|zone| *hints.entry(zone.name.clone()).or_default() += 1);
    }
    let fits = |(zone, count): (&String, &usize)| {
        let there = given.get(zone).copied().unwrap_or(0);
        allocations.get(zone).is_some_and(|allocation| count + there <= allocation.maximum)
    };
    hints.iter().all(fits).then_some(hints)
}

type Counts = BTreeMap<String, usize>;

/// How many endpoints which zones give to others, and which zones get: from where there are most too many to where most
/// are missing, as long as a whole one is worth moving.
fn moves(allocations: &BTreeMap<String, Allocation>, given: &Counts) -> (Counts, Counts) {
    let surplus = |zone: &String, a: &Allocation| given.get(zone).copied().unwrap_or(0) as f64 - a.desired;
    let mut left: BTreeMap<&String, f64> = allocations.iter().map(|(zone, a)| (zone, surplus(zone, a))).collect();
    let (mut giving, mut receiving) = (Counts::new(), Counts::new());
    loop {
        let most = left.iter().max_by(|a, b| a.1.total_cmp(b.1)).map(|(zone, n)| (*zone, *n));
        let least = left.iter().min_by(|a, b| a.1.total_cmp(b.1)).map(|(zone, n)| (*zone, -*n));
        let (Some((from, give)), Some((to, get))) = (most, least) else { break };
        if (give < 1.0 && get < 1.0) || give < 0.5 || get < 0.5 {
            break;
        }
        *giving.entry(from.clone()).or_default() += 1;
        *receiving.entry(to.clone()).or_default() += 1;
        left.entry(from).and_modify(|n| *n -= 1.0);
        left.entry(to).and_modify(|n| *n += 1.0);
    }
    (giving, receiving)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn slice(name: &str, zones: &[&str], hints: &[&str]) -> EndpointSlice {
        let endpoint = |(i, zone): (usize, &&str)| {
            let mut endpoint = json!({"addresses": ["192.0.2.1"], "conditions": {"ready": true}, "zone": zone});
            if let Some(hint) = hints.get(i) {
                endpoint["hints"] = json!({"forZones": [{"name": hint}]});
            }
            endpoint
        };
        let endpoints: Vec<_> = zones.iter().enumerate().map(endpoint).collect();
        serde_json::from_value(json!({"metadata": {"name": name}, "addressType": "IPv4", "endpoints": endpoints}))
            .unwrap()
    }

    fn hints(slice: &EndpointSlice) -> Vec<String> {
        let hint = |e: &Endpoint| e.hints.as_ref()?.for_zones.as_ref().map(|z| z[0].name.clone());
        slice.endpoints.iter().flatten().map(|e| hint(e).unwrap_or_default()).collect()
    }

    fn halves() -> Shares {
        [("a".to_owned(), 0.5), ("b".to_owned(), 0.5)].into()
    }

    #[test]
    fn endpoints_go_where_the_cpus_are() {
        let rows: [(&[&str], &[&str]); 4] = [
            (&["a", "b"], &["a", "b"]),
            (&["a", "a", "b", "b"], &["a", "a", "b", "b"]),
            (&["a", "a", "a", "b"], &["b", "a", "a", "b"]),
            (&["a", "a", "a", "a"], &["b", "b", "a", "a"]),
        ];
        for (zones, want) in rows {
            let mut changes = Plan { create: vec![slice("s", zones, &[])], ..Plan::default() };
            assert_eq!(apply(Some(&halves()), &[], &mut changes), Ok(()), "{zones:?}");
            assert_eq!(hints(&changes.create[0]), want, "{zones:?}");
        }
    }

    #[test]
    fn good_hints_stay() {
        let old = slice("old", &["a", "a", "b", "b"], &["a", "b", "b", "a"]);
        let mut changes = Plan::default();
        assert_eq!(apply(Some(&halves()), &[&old], &mut changes), Ok(()));
        assert_eq!(changes, Plan::default());
        // A zone that is gone takes its hints along.
        let other: Shares = [("a".to_owned(), 0.5), ("c".to_owned(), 0.5)].into();
        assert_eq!(apply(Some(&other), &[&old], &mut changes), Ok(()));
        assert_eq!(changes.update.len(), 1);
    }

    #[test]
    fn why_there_are_none() {
        let check = |shares: Option<Shares>, zones: &[&str], want: &str| {
            let old = slice("old", zones, &["a", "b", "a"]);
            let mut changes = Plan::default();
            assert_eq!(apply(shares.as_ref(), &[&old], &mut changes).unwrap_err(), want);
            assert!(hints(&changes.update[0]).iter().all(String::is_empty), "old hints go");
        };
        let nodes = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes";
        check(None, &["a", "b"], nodes);
        check(Some(halves()), &["a"], "Insufficient number of endpoints (1 endpoints, 2 zones)");
        let skewed: Shares = [("a".to_owned(), 0.98), ("b".to_owned(), 0.01), ("c".to_owned(), 0.01)].into();
        let least = "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold";
        check(Some(skewed), &["a", "b", "a"], &format!("{least} (3 endpoints, 3 zones)"));
    }

    #[test]
    fn hints_are_told_when_they_come_and_go() {
        let no = || Some(Err("Nodes only ready in one zone".to_owned()));
        // Whether the Service has hints before and after, and what is told.
        let rows = [
            (Some(Ok(())), false, true, Some("Normal TopologyAwareHintsEnabled Topology Aware Hints has been enabled")),
            (Some(Ok(())), true, true, None),
            (no(), true, false, Some("Warning TopologyAwareHintsDisabled Nodes only ready in one zone")),
            (no(), false, false, Some("Warning TopologyAwareHintsDisabled Nodes only ready in one zone")),
            (None, true, false, Some("Warning TopologyAwareHintsDisabled Topology Aware Hints has been disabled")),
            (None, false, false, None),
        ];
        for (asked, mut hinted, after, want) in rows {
            let told = note(asked.clone(), "IPv6", &mut hinted);
            let told = told.map(|(kind, reason, message)| format!("{kind:?} {reason} {message}"));
            assert_eq!(told, want.map(|want| format!("{want}, addressType: IPv6")), "{asked:?}");
            assert_eq!(hinted, after, "{asked:?}");
        }
    }

    #[test]
    fn parts_of_zones() {
        let node = |zone: &str, cpu: &str, ready: &str, role: &str| -> Node {
            serde_json::from_value(json!({"metadata": {"labels": {ZONE: zone, role: ""}},
                "status": {"allocatable": {"cpu": cpu}, "conditions": [{"type": "Ready", "status": ready}]}}))
            .unwrap()
        };
        let of = |nodes: &[Node]| shares(nodes.iter());
        let (a, b) = (node("a", "3", "True", "x"), node("b", "1000m", "True", "x"));
        let down = node("c", "8", "False", "x");
        let control = node("c", "8", "True", "node-role.kubernetes.io/control-plane");
        let both = of(&[a.clone(), b.clone(), down, control]).unwrap();
        assert_eq!(both, [("a".to_owned(), 0.75), ("b".to_owned(), 0.25)].into());
        assert_eq!(of(std::slice::from_ref(&a)), None);
        assert_eq!(of(&[a.clone(), b.clone(), node("", "1", "True", "x")]), None);
        assert_eq!(of(&[a, b, node("c", "0", "True", "x")]), None);
    }
}
