//! What allocations take of a device that several may have, and of counters that devices have in common. Pure.
//!
//! Kubernetes concept: "Dynamic Resource Allocation", "Consumable capacity" and "Partitionable devices".

use std::collections::BTreeMap;

use k8s_openapi::api::resource::v1::{
    CapacityRequestPolicy, CapacityRequestPolicyRange, CapacityRequirements, Counter, Device, DeviceCapacity,
    ResourceSlice,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use machinery::quantity::{Format, Quantity};

use super::{DeviceId, Taken};

/// By the capacity's name.
pub(super) type Amounts<'a> = BTreeMap<&'a str, Quantity>;

/// By counter set and counter.
pub(super) type Counters<'a> = BTreeMap<(&'a str, &'a str), Quantity>;

pub(super) fn is_shared(device: &Device) -> bool {
    device.allow_multiple_allocations == Some(true)
}

/// What API validation lets through can be read.
fn read(quantity: &ApiQuantity) -> Quantity {
    Quantity::parse(&quantity.0).unwrap_or_default()
}

/// What an allocation takes of the device's capacity. `None`: it asks for what the device has not, or may not be asked
/// for.
pub(super) fn consumed<'a>(device: &'a Device, asked: Option<&CapacityRequirements>) -> Option<Amounts<'a>> {
    let asked = asked.and_then(|asked| asked.requests.as_ref());
    let capacity = || device.capacity.iter().flatten();
    let is_known = |name: &String| device.capacity.as_ref().is_some_and(|known| known.contains_key(name));
    if !asked.into_iter().flatten().all(|(name, _)| is_known(name)) {
        return None;
    }
    let taken = capacity().map(|(name, capacity)| {
        let amount = amount(capacity, asked.and_then(|asked| asked.get(name)).map(read));
        let is_allowed = capacity.request_policy.as_ref().is_none_or(|policy| allows(policy, &amount));
        is_allowed.then_some((name.as_str(), amount))
    });
    taken.collect()
}

fn amount(capacity: &DeviceCapacity, asked: Option<Quantity>) -> Quantity {
    let policy = capacity.request_policy.as_ref();
    let Some(asked) = asked else {
        return read(policy.and_then(|policy| policy.default.as_ref()).unwrap_or(&capacity.value));
    };
    if let Some(range) = policy.and_then(|policy| policy.valid_range.as_ref()) {
        return round_up(asked, range);
    }
    let mut valid = policy.iter().flat_map(|policy| policy.valid_values.iter().flatten()).map(read);
    valid.find(|valid| asked <= *valid).unwrap_or(asked)
}

fn round_up(asked: Quantity, range: &CapacityRequestPolicyRange) -> Quantity {
    let least = read(&range.min);
    let step = range.step.as_ref().map_or(0, |step| read(step).value());
    if asked < least {
        return least;
    }
    if step <= 0 {
        return asked;
    }
    let over = asked.value().saturating_sub(least.value());
    let steps = over / step + i64::from(over % step != 0);
    Quantity::new(least.value().saturating_add(steps.saturating_mul(step)), Format::BinarySi)
}

fn allows(policy: &CapacityRequestPolicy, amount: &Quantity) -> bool {
    if policy.default.as_ref().is_some_and(|default| read(default) == *amount) {
        return true;
    }
    if let Some(range) = &policy.valid_range {
        let step = range.step.as_ref().map_or(0, |step| read(step).value());
        let over = amount.value().saturating_sub(read(&range.min).value());
        return range.max.as_ref().is_none_or(|max| *amount <= read(max)) && (step <= 0 || over % step == 0);
    }
    let mut valid = policy.valid_values.iter().flatten();
    policy.valid_values.as_ref().is_none_or(Vec::is_empty) || valid.any(|valid| read(valid) == *amount)
}

/// Whether the device has enough for all of these.
pub(super) fn has_room<'a>(device: &Device, taken: impl Iterator<Item = &'a Amounts<'a>>) -> bool {
    let mut sums: BTreeMap<&str, Quantity> = BTreeMap::new();
    for (name, amount) in taken.flatten() {
        sums.entry(name).or_default().add(amount);
    }
    let mut capacity = device.capacity.iter().flatten();
    capacity.all(|(name, capacity)| sums.get(name.as_str()).is_none_or(|sum| *sum <= read(&capacity.value)))
}

fn counted(counters: &BTreeMap<String, Counter>) -> impl Iterator<Item = (&str, Quantity)> {
    counters.iter().map(|(name, counter)| (name.as_str(), read(&counter.value)))
}

/// What the device takes of its pool's counters.
pub(super) fn consumption(device: &Device) -> impl Iterator<Item = ((&str, &str), Quantity)> {
    let consumed = device.consumes_counters.iter().flatten();
    consumed.flat_map(|of| counted(&of.counters).map(|(name, amount)| ((of.counter_set.as_str(), name), amount)))
}

/// The counters of a pool, full; `None` when its slices do not fit each other.
pub(super) fn counters<'a>(slices: &[&'a ResourceSlice]) -> Option<Counters<'a>> {
    let mut all = Counters::new();
    for set in slices.iter().flat_map(|slice| slice.spec.shared_counters.iter().flatten()) {
        for (name, amount) in counted(&set.counters) {
            if all.insert((set.name.as_str(), name), amount).is_some() {
                return None;
            }
        }
    }
    let mut consumed = slices.iter().flat_map(|slice| slice.spec.devices.iter().flatten()).flat_map(consumption);
    consumed.all(|(counter, _)| all.contains_key(&counter)).then_some(all)
}

/// What is left of a pool's counters, by the devices that somebody has.
pub(super) fn left<'a>(slices: &[&'a ResourceSlice], mut full: Counters<'a>, taken: &Taken<'_>) -> Counters<'a> {
    for slice in slices {
        let spec = &slice.spec;
        for device in spec.devices.iter().flatten() {
            let id = DeviceId { driver: &spec.driver, pool: &spec.pool.name, device: &device.name };
            if taken.has(&id) {
                consumption(device).for_each(|(counter, amount)| {
                    if let Some(left) = full.get_mut(&counter) {
                        left.sub(&amount);
                    }
                });
            }
        }
    }
    full
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn what_an_allocation_takes() {
        let check = |policy: Value, asked: Value, want: Option<&str>| {
            let device = json!({"name": "d", "capacity": {"memory": {"value": "40Gi", "requestPolicy": policy}}});
            let device: Device = serde_json::from_value(device).unwrap();
            let asked = (!asked.is_null()).then(|| serde_json::from_value(json!({"requests": asked})).unwrap());
            let got = consumed(&device, asked.as_ref()).map(|amounts| amounts["memory"].to_string());
            assert_eq!(got.as_deref(), want, "{policy} {asked:?}");
        };
        let range = json!({"default": "4Gi", "validRange": {"min": "2Gi", "max": "16Gi", "step": "2Gi"}});
        let values = json!({"default": "5Gi", "validValues": ["5Gi", "10Gi"]});
        let memory = |amount: &str| json!({"memory": amount});
        check(Value::Null, Value::Null, Some("40Gi"));
        check(Value::Null, memory("3Gi"), Some("3Gi"));
        check(Value::Null, json!({"other": "1"}), None);
        check(range.clone(), Value::Null, Some("4Gi"));
        check(range.clone(), memory("1Gi"), Some("2Gi"));
        check(range.clone(), memory("5Gi"), Some("6Gi"));
        check(range.clone(), memory("6Gi"), Some("6Gi"));
        check(range, memory("17Gi"), None);
        check(values.clone(), memory("6Gi"), Some("10Gi"));
        check(values.clone(), memory("1Gi"), Some("5Gi"));
        check(values, memory("11Gi"), None);
    }
}
