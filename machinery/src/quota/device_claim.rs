//! ResourceClaims: their number, and the devices that they ask for, by DeviceClass and as extended resources.

use std::collections::BTreeMap;

use serde_json::Value;

use super::devices::Devices;
use crate::meta;
use crate::resources::ResourceList;

const COUNT: &str = "count/resourceclaims.resource.k8s.io";
const BY_CLASS: &str = ".deviceclass.resource.k8s.io/devices";
/// What a claim for all devices may get.
const DEVICES_MAX: i64 = 32;

pub(super) fn counts(name: &str, devices: &Devices) -> bool {
    name == COUNT || name.ends_with(BY_CLASS) || devices.counts(name)
}

/// Of alternatives the dearest counts, for each class.
pub(super) fn usage(claim: &Value, devices: &Devices) -> ResourceList {
    let mut by_class: BTreeMap<&str, i64> = BTreeMap::new();
    for request in meta::list(claim, "spec.devices.requests") {
        let alternatives = meta::list(request, "firstAvailable");
        let forms = if alternatives.is_empty() { std::slice::from_ref(&request["exactly"]) } else { alternatives };
        let mut dearest: BTreeMap<&str, i64> = BTreeMap::new();
        for form in forms.iter().filter(|form| form.is_object()) {
            let most = dearest.entry(meta::text(form, "deviceClassName")).or_default();
            *most = (*most).max(number(form));
        }
        for (class, count) in dearest {
            let sum = by_class.entry(class).or_default();
            *sum = sum.saturating_add(count);
        }
    }
    let mut usage = ResourceList::default();
    usage.count(COUNT, 1);
    by_class.iter().for_each(|(class, count)| usage.count(format!("{class}{BY_CLASS}"), *count));
    devices.add_to(&mut usage, claim, &by_class);
    usage
}

fn number(form: &Value) -> i64 {
    match meta::text(form, "allocationMode") {
        "" | "ExactCount" => form["count"].as_i64().unwrap_or(1),
        "All" => DEVICES_MAX,
        _ => 0,
    }
}
