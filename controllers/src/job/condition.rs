//! A Job's conditions.
//!
//! Pure. The types, reasons and messages are the interface that clients wait for (batch/v1, "JobConditionType").

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{JobCondition, JobStatus};

use crate::common::time;

pub(super) fn new(kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) -> JobCondition {
    JobCondition {
        type_: kind.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_probe_time: Some(time(now)),
        last_transition_time: Some(time(now)),
    }
}

/// The Job will have failed once its pods are gone.
pub(super) fn failure_target(reason: &str, message: &str, now: Timestamp) -> JobCondition {
    new("FailureTarget", "True", reason, message, now)
}

/// The Job will be complete once its pods are gone.
pub(super) fn success_criteria_met(reason: &str, message: &str, now: Timestamp) -> JobCondition {
    new("SuccessCriteriaMet", "True", reason, message, now)
}

/// The end that one of the two interim conditions leads to.
pub(super) fn terminal(interim: &JobCondition, now: Timestamp) -> JobCondition {
    let kind = if interim.type_ == "SuccessCriteriaMet" { "Complete" } else { "Failed" };
    let (reason, message) = (interim.reason.as_deref(), interim.message.as_deref());
    new(kind, "True", reason.unwrap_or_default(), message.unwrap_or_default(), now)
}

/// The condition of that type, when it is true.
pub(super) fn find_true<'a>(status: &'a JobStatus, kind: &str) -> Option<&'a JobCondition> {
    status.conditions.iter().flatten().find(|c| c.type_ == kind && c.status == "True")
}

/// Sets the condition; whether that changed anything. One that would be new and false is left out.
pub(super) fn put(status: &mut JobStatus, new: JobCondition) -> bool {
    let conditions = status.conditions.get_or_insert_default();
    match conditions.iter_mut().find(|c| c.type_ == new.type_) {
        Some(old) if (&old.status, &old.reason, &old.message) == (&new.status, &new.reason, &new.message) => false,
        Some(old) => {
            *old = new;
            true
        }
        None if new.status == "False" => false,
        None => {
            conditions.push(new);
            true
        }
    }
}
