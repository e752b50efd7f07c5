//! When a pod has to go because of taints of its devices.
//!
//! Pure. Concepts: "Dynamic Resource Allocation", "Device taints and tolerations".

use std::sync::Arc;

use component::scheduling::taints::tolerates_device;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::resource::v1::{
    DeviceRequestAllocationResult, DeviceTaint, DeviceToleration, ResourceClaim, ResourceSlice,
};

use crate::common::device_claims::{claims_of, is_made_for, is_pod, name_of};
use crate::common::pod::Pod;
use crate::common::pods;

pub(super) const NO_EXECUTE: &str = "NoExecute";

/// The devices that the claim has.
pub(super) fn devices_of(claim: &ResourceClaim) -> &[DeviceRequestAllocationResult] {
    let allocation = claim.status.as_ref().and_then(|status| status.allocation.as_ref());
    allocation.and_then(|allocation| allocation.devices.as_ref()?.results.as_deref()).unwrap_or_default()
}

/// What a pool of devices is called: names of drivers hold no slash.
pub(super) fn pool_name(driver: &str, pool: &str) -> String {
    format!("{driver}/{pool}")
}

pub(super) fn has_evicting(slice: &ResourceSlice) -> bool {
    let mut taints = slice.spec.devices.iter().flatten().flat_map(|device| device.taints.iter().flatten());
    taints.any(|taint| taint.effect == NO_EXECUTE)
}

/// The taints that drive pods off a device. Of a pool's slices only those of the newest generation count.
pub(super) fn evicting<'a>(pool: &'a [Arc<ResourceSlice>], device: &str) -> Vec<&'a DeviceTaint> {
    let newest = pool.iter().map(|slice| slice.spec.pool.generation).max();
    let slices = pool.iter().filter(|slice| Some(slice.spec.pool.generation) == newest);
    let found = slices.flat_map(|slice| slice.spec.devices.iter().flatten()).find(|found| found.name == device);
    let taints = found.into_iter().flat_map(|device| device.taints.iter().flatten());
    taints.filter(|taint| taint.effect == NO_EXECUTE).collect()
}

/// One without an effect is for scheduling only.
fn tolerates(toleration: &DeviceToleration, taint: &DeviceTaint) -> bool {
    toleration.effect.as_deref() == Some(NO_EXECUTE) && tolerates_device(toleration, taint)
}

/// When a device with this taint has to be free; `None`: it need not.
fn due(taint: &DeviceTaint, tolerations: &[DeviceToleration]) -> Option<Timestamp> {
    // The API server gives every taint a time.
    let since = taint.time_added.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let mut stay: Option<i64> = None;
    for toleration in tolerations.iter().filter(|toleration| tolerates(toleration, taint)) {
        let seconds = toleration.toleration_seconds?.max(0);
        stay = Some(stay.map_or(seconds, |least| least.min(seconds)));
    }
    let stay = SignedDuration::from_secs(stay.unwrap_or(0));
    Some(since.checked_add(stay).unwrap_or(Timestamp::MAX))
}

/// When the users of a claim have to go. `pool`: the slices of a pool, by its name.
fn claim_due(claim: &ResourceClaim, pool: impl Fn(&str) -> Vec<Arc<ResourceSlice>>) -> Option<Timestamp> {
    let of_device = |device: &DeviceRequestAllocationResult| {
        let slices = pool(&pool_name(&device.driver, &device.pool));
        let tolerations = device.tolerations.as_deref().unwrap_or_default();
        evicting(&slices, &device.device).into_iter().filter_map(|taint| due(taint, tolerations)).min()
    };
    devices_of(claim).iter().filter_map(of_device).min()
}

/// When the pod has to go.
pub(super) fn pod_due(
    pod: &Pod,
    claim: impl Fn(&str) -> Option<Arc<ResourceClaim>>,
    pool: impl Fn(&str) -> Vec<Arc<ResourceSlice>>,
) -> Option<Timestamp> {
    if pods::node_name(pod).is_empty() {
        return None;
    }
    let of_entry = |entry| {
        let claim = claim(name_of(pod, entry)?)?;
        let is_own = entry.resource_claim_template_name.is_none() || is_made_for(pod, &claim);
        let users = || claim.status.iter().flat_map(|status| status.reserved_for.iter().flatten());
        let is_user = users().any(|user| is_pod(user) && pod.metadata.uid.as_ref() == Some(&user.uid));
        (is_own && is_user).then(|| claim_due(&claim, &pool)).flatten()
    };
    claims_of(pod).iter().filter_map(of_entry).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn slice(generation: i64, taints: Value) -> Arc<ResourceSlice> {
        let devices = json!([{"name": "other"}, {"name": "gpu", "taints": taints}]);
        let pool = json!({"name": "p", "generation": generation, "resourceSliceCount": 1});
        let spec = json!({"driver": "d.example.com", "pool": pool, "devices": devices});
        Arc::new(serde_json::from_value(json!({"metadata": {"name": "s"}, "spec": spec})).unwrap())
    }

    fn taint(effect: &str, value: &str) -> Value {
        json!({"key": "k", "value": value, "effect": effect, "timeAdded": "2026-01-01T00:00:00Z"})
    }

    fn claim(tolerations: Value, user: &str) -> Arc<ResourceClaim> {
        let device = json!({"request": "r", "driver": "d.example.com", "pool": "p", "device": "gpu", "tolerations": tolerations});
        let user = json!({"resource": "pods", "name": "pod", "uid": user});
        let status = json!({"allocation": {"devices": {"results": [device]}}, "reservedFor": [user]});
        Arc::new(serde_json::from_value(json!({"metadata": {"name": "c"}, "spec": {}, "status": status})).unwrap())
    }

    fn pod(node: &str) -> Pod {
        let entry = json!({"name": "e", "resourceClaimName": "c"});
        let spec = json!({"nodeName": node, "containers": [], "resourceClaims": [entry]});
        serde_json::from_value(json!({"metadata": {"name": "pod", "uid": "u"}, "spec": spec})).unwrap()
    }

    /// Seconds after the taint came.
    fn check(pod: &Pod, claim: &Arc<ResourceClaim>, slices: &[Arc<ResourceSlice>]) -> Option<i64> {
        let pool = |name: &str| if name == "d.example.com/p" { slices.to_vec() } else { Vec::new() };
        let due = pod_due(pod, |name| (name == "c").then(|| claim.clone()), pool)?;
        Some(due.as_second() - "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap().as_second())
    }

    #[test]
    fn tolerations() {
        let exists = |seconds: Value| json!({"operator": "Exists", "effect": NO_EXECUTE, "tolerationSeconds": seconds});
        let equal = |value: &str| json!({"key": "k", "value": value, "effect": NO_EXECUTE});
        let rows = [
            (json!([taint(NO_EXECUTE, "v")]), json!([]), Some(0)),
            (json!([taint("NoSchedule", "v")]), json!([]), None),
            (json!([taint("None", "v")]), json!([]), None),
            (json!([]), json!([]), None),
            (json!([taint(NO_EXECUTE, "v")]), json!([exists(Value::Null)]), None),
            (json!([taint(NO_EXECUTE, "v")]), json!([exists(60.into())]), Some(60)),
            (json!([taint(NO_EXECUTE, "v")]), json!([exists(60.into()), exists(20.into())]), Some(20)),
            (json!([taint(NO_EXECUTE, "v")]), json!([exists(60.into()), exists(Value::Null)]), None),
            (json!([taint(NO_EXECUTE, "v")]), json!([exists((-5).into())]), Some(0)),
            (json!([taint(NO_EXECUTE, "v")]), json!([equal("v")]), None),
            (json!([taint(NO_EXECUTE, "v")]), json!([equal("w")]), Some(0)),
            (json!([taint(NO_EXECUTE, "v")]), json!([{"operator": "Exists"}]), Some(0)),
            (json!([taint(NO_EXECUTE, "v"), taint(NO_EXECUTE, "w")]), json!([equal("v")]), Some(0)),
        ];
        for (taints, tolerations, want) in rows {
            let found = check(&pod("n"), &claim(tolerations.clone(), "u"), &[slice(1, taints.clone())]);
            assert_eq!(found, want, "{taints} {tolerations}");
        }
    }

    #[test]
    fn only_users_of_what_is_there_now() {
        let tainted = || slice(1, json!([taint(NO_EXECUTE, "v")]));
        let free = claim(json!([]), "u");
        assert_eq!(check(&pod("n"), &free, &[tainted()]), Some(0));
        assert_eq!(check(&pod(""), &free, &[tainted()]), None, "it has no node");
        assert_eq!(check(&pod("n"), &claim(json!([]), "another"), &[tainted()]), None);
        assert_eq!(check(&pod("n"), &free, &[tainted(), slice(2, json!([]))]), None, "a newer generation");
        assert_eq!(check(&pod("n"), &free, &[]), None, "its slice is gone");
    }
}
