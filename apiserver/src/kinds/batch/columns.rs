//! Jobs as rows.

use machinery::meta;
use serde_json::Value;

use super::job_status;
use crate::kinds::Column;
use crate::kinds::workload::template::{container_cells, selector_cell};
use crate::kinds::workload::{CONTAINERS, IMAGES, SELECTOR, column};
use crate::rest::table::{AGE, NAME, age, human_duration};

pub const JOB: &[Column] = &[
    NAME,
    column("Status", "string", 0, "Status of the job."),
    column("Completions", "string", 0, "Pods that succeeded, of those that must."),
    column("Duration", "string", 0, "Time required to complete the job."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub fn cells(job: &Value, now: i64) -> Vec<Value> {
    let [containers, images] = container_cells(meta::at(job, "spec.template.spec"));
    vec![
        meta::name(job).into(),
        status_word(job).into(),
        completions(job).into(),
        duration(job, now).into(),
        age(job, now).into(),
        containers,
        images,
        selector_cell(&job["spec"]["selector"]),
    ]
}

fn completions(job: &Value) -> String {
    let number = |path: &str| meta::at(job, path).as_i64();
    let succeeded = number("status.succeeded").unwrap_or(0);
    match (number("spec.completions"), number("spec.parallelism").unwrap_or(0)) {
        (Some(completions), _) => format!("{succeeded}/{completions}"),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    }
}

fn duration(job: &Value, now: i64) -> String {
    let seconds = |path: &str| Some(meta::text(job, path).parse::<jiff::Timestamp>().ok()?.as_second());
    match (seconds("status.startTime"), seconds("status.completionTime")) {
        (None, _) => String::new(),
        (Some(start), end) => human_duration(end.unwrap_or(now) - start),
    }
}

fn status_word(job: &Value) -> &'static str {
    let is = |kind: &str| job_status::is_condition(job, kind, "True");
    match () {
        () if is("Complete") => "Complete",
        () if is("Failed") => "Failed",
        () if meta::is_deleting(job) => "Terminating",
        () if is("Suspended") => "Suspended",
        () if is("FailureTarget") => "FailureTarget",
        () if is("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_tell_how_far_it_is() {
        let job = json!({"metadata": {}, "spec": {"completions": 1}, "status": {
            "succeeded": 1, "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:07Z",
            "conditions": [{"type": "Complete", "status": "True"}],
        }});
        assert_eq!(cells(&job, 0)[1..4], [json!("Complete"), json!("1/1"), json!("7s")]);
    }
}
