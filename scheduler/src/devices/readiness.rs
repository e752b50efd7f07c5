//! Whether the devices of a claim are ready for the pod to be bound. Pure.
//!
//! Kubernetes concept: "Dynamic Resource Allocation", "Device binding conditions": some devices are made ready only once they
//! are chosen, which their driver tells in the claim's status.

use k8s_openapi::api::resource::v1::{AllocatedDeviceStatus, DeviceRequestAllocationResult, ResourceClaim};

use super::allocation_of;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    Waiting,
    /// In upstream's words.
    Failed(String),
}

fn devices_of(claim: &ResourceClaim) -> impl Iterator<Item = &DeviceRequestAllocationResult> {
    let devices = allocation_of(claim).and_then(|allocation| allocation.devices.as_ref());
    let all = devices.into_iter().flat_map(|devices| devices.results.iter().flatten());
    all.filter(|device| device.binding_conditions.as_ref().is_some_and(|all| !all.is_empty()))
}

/// Whether anything has to be waited for.
pub fn has_conditions(claim: &ResourceClaim) -> bool {
    devices_of(claim).next().is_some()
}

/// Of a claim that has devices.
pub fn of(claim: &ResourceClaim) -> Readiness {
    for device in devices_of(claim) {
        let Some(status) = status_of(claim, device) else { return Readiness::Waiting };
        let is_true = |kind: &&String| {
            let mut conditions = status.conditions.iter().flatten();
            conditions.any(|condition| condition.type_ == **kind && condition.status == "True")
        };
        if let Some(failed) = device.binding_failure_conditions.iter().flatten().find(is_true) {
            let condition = status.conditions.iter().flatten().find(|condition| condition.type_ == *failed);
            let (reason, message) = condition.map_or(("", ""), |c| (c.reason.as_str(), c.message.as_str()));
            let name = claim.metadata.name.as_deref().unwrap_or_default();
            let why = format!("device binding failed: claim={name}, reason={reason}, message={message:?}");
            return Readiness::Failed(why);
        }
        if !device.binding_conditions.iter().flatten().all(|kind| is_true(&kind)) {
            return Readiness::Waiting;
        }
    }
    Readiness::Ready
}

fn status_of<'a>(claim: &'a ResourceClaim, of: &DeviceRequestAllocationResult) -> Option<&'a AllocatedDeviceStatus> {
    let mut told = claim.status.as_ref()?.devices.iter().flatten();
    told.find(|told| {
        (&told.driver, &told.pool, &told.device, &told.share_id) == (&of.driver, &of.pool, &of.device, &of.share_id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_claim_waits_for_its_devices() {
        let check = |conditions: Value, want: Readiness| {
            let device = json!({"request": "r", "driver": "d", "pool": "p", "device": "x",
                "bindingConditions": ["Ready", "Attached"], "bindingFailureConditions": ["Broken"]});
            let told = json!({"driver": "d", "pool": "p", "device": "x", "conditions": conditions});
            let status = json!({"allocation": {"devices": {"results": [device]}}, "devices": [told]});
            let claim = json!({"metadata": {"name": "c"}, "spec": {}, "status": status});
            let claim: ResourceClaim = serde_json::from_value(claim).unwrap();
            assert!(has_conditions(&claim));
            assert_eq!(of(&claim), want, "{conditions}");
        };
        let condition = |kind: &str, status: &str| {
            json!({"type": kind, "status": status, "reason": "Some", "message": "words",
                "lastTransitionTime": "2026-01-01T00:00:00Z"})
        };
        check(json!([]), Readiness::Waiting);
        check(json!([condition("Ready", "True")]), Readiness::Waiting);
        check(json!([condition("Ready", "True"), condition("Attached", "False")]), Readiness::Waiting);
        check(json!([condition("Ready", "True"), condition("Attached", "True")]), Readiness::Ready);
        let failed = "device binding failed: claim=c, reason=Some, message=\"words\"";
        check(json!([condition("Ready", "True"), condition("Broken", "True")]), Readiness::Failed(failed.to_owned()));
    }
}
