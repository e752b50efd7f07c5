//! An autoscaler's conditions: `AbleToScale`, `ScalingActive`, `ScalingLimited`.
//!
//! Pure.

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition};

use crate::common::time;

/// Sets the condition. Its time only moves when its status changes.
pub(super) fn set(
    hpa: &mut HorizontalPodAutoscaler,
    kind: &str,
    status: bool,
    reason: &str,
    message: impl Into<String>,
    now: Timestamp,
) {
    let status = if status { "True" } else { "False" };
    let all = hpa.status.get_or_insert_default().conditions.get_or_insert_default();
    let known = all.iter().position(|c| c.type_ == kind);
    let place = known.unwrap_or_else(|| {
        all.push(HorizontalPodAutoscalerCondition { type_: kind.into(), ..Default::default() });
        all.len() - 1
    });
    let condition = &mut all[place];
    if condition.status != status {
        condition.last_transition_time = Some(time(now));
    }
    condition.status = status.into();
    condition.reason = Some(reason.into());
    condition.message = Some(message.into());
}

/// Scaling to zero is not on here, and what another version said of it is no longer so.
pub(super) fn forget_zero(hpa: &mut HorizontalPodAutoscaler) {
    if let Some(all) = hpa.status.as_mut().and_then(|s| s.conditions.as_mut()) {
        all.retain(|c| c.type_ != "ScaledToZero");
    }
}
