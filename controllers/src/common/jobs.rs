//! Whether a Job has come to its end.
//!
//! Pure. Concepts: "Jobs", "Terminal Job conditions".

use k8s_openapi::api::batch::v1::{Job, JobCondition};

/// The condition by which the Job has ended: `Complete` or `Failed`.
pub(crate) fn ended(job: &Job) -> Option<&JobCondition> {
    let mut conditions = job.status.as_ref()?.conditions.iter().flatten();
    conditions.find(|c| matches!(c.type_.as_str(), "Complete" | "Failed") && c.status == "True")
}
