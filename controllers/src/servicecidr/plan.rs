//! Whether a ServiceCIDR serves, has to stay although it is deleted, or may go.
//!
//! Pure. Concepts: "Service ClusterIP allocation".

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use kube::ResourceExt;

use crate::common::{map, ranges};

pub(super) const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// So long after its deletion every API server has seen it, and gives no more addresses out of it.
const GRACE: Duration = Duration::from_secs(10);

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    Serve,
    /// Addresses would be in no range any more.
    Hold,
    LetGoIn(Duration),
    LetGo,
}

/// The condition `Ready`: its status, reason and message.
pub(super) type Ready = (&'static str, &'static str, &'static str);

pub(super) const SERVING: Ready = ("True", "", "Kubernetes Service CIDR is ready");
pub(super) const HELD: Ready = (
    "False",
    "Terminating",
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
);

pub(super) fn is_told(of: &ServiceCIDR, (status, reason, message): Ready) -> bool {
    let mut conditions = of.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|c| c.type_ == "Ready" && (&*c.status, &*c.reason, &*c.message) == (status, reason, message))
}

fn ranges_of(of: &ServiceCIDR) -> impl Iterator<Item = IpNet> {
    let texts = of.spec.iter().flat_map(|spec| spec.cidrs.iter().flatten());
    texts.filter_map(|text| ranges::parse(text).ok())
}

/// The address of an object that the API server keeps for a Service.
pub(super) fn address_of(object: &IPAddress) -> Option<IpAddr> {
    let is_own = map(&object.metadata.labels).get("ipaddress.kubernetes.io/managed-by").map(String::as_str)
        == Some("ipallocator.k8s.io");
    object.name_any().parse().ok().filter(|_| is_own)
}

/// Names of those that share addresses with this one.
pub(super) fn overlapping(all: &[Arc<ServiceCIDR>], of: &ServiceCIDR) -> BTreeSet<String> {
    let own: Vec<IpNet> = ranges_of(of).collect();
    let shares = |other: &ServiceCIDR| ranges_of(other).any(|range| own.iter().any(|own| ranges::overlap(own, &range)));
    all.iter().filter(|other| shares(other)).map(|other| other.name_any()).collect()
}

/// Names of those that an address may come from.
pub(super) fn serving(all: &[Arc<ServiceCIDR>], address: IpAddr) -> BTreeSet<String> {
    let serves = |one: &ServiceCIDR| ranges_of(one).any(|range| ranges::serves(&range, address));
    all.iter().filter(|one| serves(one)).map(|one| one.name_any()).collect()
}

pub(super) fn plan(
    of: &ServiceCIDR,
    all: &[Arc<ServiceCIDR>],
    addresses: impl Iterator<Item = IpAddr>,
    now: Timestamp,
) -> Plan {
    let Some(deleted) = &of.metadata.deletion_timestamp else { return Plan::Serve };
    if !is_covered(of, all) && would_orphan(of, all, addresses) {
        return Plan::Hold;
    }
    let age = Duration::try_from(now.duration_since(deleted.0)).unwrap_or_default();
    match GRACE.saturating_sub(age) {
        Duration::ZERO => Plan::LetGo,
        left => Plan::LetGoIn(left),
    }
}

/// Whether each of its ranges lies in another one's.
fn is_covered(of: &ServiceCIDR, all: &[Arc<ServiceCIDR>]) -> bool {
    let others = || all.iter().filter(|other| other.metadata.name != of.metadata.name);
    ranges_of(of).all(|own| others().any(|other| ranges_of(other).any(|range| range.contains(&own))))
}

fn would_orphan(of: &ServiceCIDR, all: &[Arc<ServiceCIDR>], mut addresses: impl Iterator<Item = IpAddr>) -> bool {
    let only = BTreeSet::from([of.name_any()]);
    addresses.any(|address| serving(all, address) == only)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cidr(name: &str, cidrs: &[&str], deleted: bool) -> Arc<ServiceCIDR> {
        let mut object = json!({"metadata": {"name": name}, "spec": {"cidrs": cidrs}});
        if deleted {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn at(second: i64) -> Timestamp {
        "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_secs(second)
    }

    #[test]
    fn it_goes_when_no_address_loses_its_range() {
        let held = |others: &[Arc<ServiceCIDR>], addresses: &[&str]| {
            let own = cidr("own", &["10.1.0.0/24", "fd00::/120"], true);
            let all: Vec<_> = others.iter().cloned().chain([own.clone()]).collect();
            let addresses = addresses.iter().map(|text| text.parse().unwrap());
            plan(&own, &all, addresses, at(60)) == Plan::Hold
        };
        let larger = cidr("larger", &["10.0.0.0/8"], false);
        let all = cidr("all", &["10.0.0.0/8", "fd00::/108"], false);
        let part = cidr("part", &["10.1.0.0/28"], false);
        type Row<'a> = (&'a [Arc<ServiceCIDR>], &'a [&'a str], bool);
        let rows: [Row<'_>; 9] = [
            (&[], &[], false),
            (&[], &["10.1.0.7"], true),
            (&[], &["fd00::7"], true),
            (&[], &["10.1.1.7"], false),
            (std::slice::from_ref(&larger), &["10.1.0.7"], false),
            (std::slice::from_ref(&larger), &["10.1.0.7", "fd00::7"], true),
            (std::slice::from_ref(&all), &["10.1.0.7", "fd00::7"], false),
            (std::slice::from_ref(&part), &["10.1.0.7"], false),
            (std::slice::from_ref(&part), &["10.1.0.15"], true),
        ];
        for (number, (others, addresses, want)) in rows.into_iter().enumerate() {
            assert_eq!(held(others, addresses), want, "row {number}");
        }
    }

    #[test]
    fn servers_have_a_while_to_see_it_go() {
        let own = cidr("own", &["10.1.0.0/24"], true);
        let plan_at = |second| plan(&own, std::slice::from_ref(&own), std::iter::empty(), at(second));
        assert_eq!(plan_at(0), Plan::LetGoIn(Duration::from_secs(10)));
        assert_eq!(plan_at(9), Plan::LetGoIn(Duration::from_secs(1)));
        assert_eq!(plan_at(10), Plan::LetGo);
        let there = cidr("own", &["10.1.0.0/24"], false);
        assert_eq!(plan(&there, &[], std::iter::empty(), at(0)), Plan::Serve);
    }

    #[test]
    fn neighbours() {
        let all =
            [cidr("a", &["10.0.0.0/8"], false), cidr("b", &["10.1.0.0/16"], false), cidr("c", &["fd00::/108"], false)];
        let names = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>();
        assert_eq!(names(overlapping(&all, &all[1])), ["a", "b"]);
        assert_eq!(names(serving(&all, "10.1.0.1".parse().unwrap())), ["a", "b"]);
        assert_eq!(names(serving(&all, "10.1.0.0".parse().unwrap())), ["a"]);
        let own = json!({"metadata": {"name": "10.0.0.1", "labels": {"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}}});
        assert_eq!(address_of(&serde_json::from_value(own).unwrap()), "10.0.0.1".parse().ok());
        assert_eq!(address_of(&serde_json::from_value(json!({"metadata": {"name": "10.0.0.1"}})).unwrap()), None);
    }
}
