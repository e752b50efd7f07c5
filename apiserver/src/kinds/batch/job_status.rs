//! What a Job's status may say: conditions, counters and times that fit each other, and only go forward.
//!
//! A rule that was broken before holds for what a change touches only, so that old statuses can still be moved on.

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use serde_json::Value;

use super::indexes;
use crate::kinds::go_form::{self, Form, POINTER};
use crate::kinds::validate;

const UNCOUNTED: Form = Form::Struct(&[("succeeded", POINTER), ("failed", POINTER)]);

pub fn is_condition(job: &Value, kind: &str, status: &str) -> bool {
    let conditions = meta::list(job, "status.conditions");
    conditions.iter().any(|condition| condition["type"] == kind && condition["status"] == status)
}

fn is(job: &Value, kind: &str) -> bool {
    is_condition(job, kind, "True")
}

fn is_finished(job: &Value) -> bool {
    is(job, "Complete") || is(job, "Failed")
}

fn number(job: &Value, path: &str) -> i64 {
    meta::at(job, path).as_i64().unwrap_or(0)
}

pub fn validate(new: &Value, old: &Value) -> ErrorList {
    let path = Path::new("status");
    let mut errors = counters(new, &path);
    let change = Change { new, old };
    errors.extend(change.conditions(&path.child("conditions")));
    errors.extend(change.times(&path));
    errors.extend(change.finished(&path));
    errors.extend(change.indexes(&path));
    errors.extend(change.goes_forward(&path));
    errors
}

fn counters(job: &Value, path: &Path) -> ErrorList {
    let status = &job["status"];
    let fields = ["active", "succeeded", "failed", "ready", "terminating"];
    let mut errors: ErrorList =
        fields.iter().filter_map(|field| validate::not_negative(&status[*field], &path.child(field))).collect();
    let mut seen: Vec<&str> = Vec::new();
    for list in ["succeeded", "failed"] {
        let at = path.child("uncountedTerminatedPods").child(list);
        for (position, uid) in meta::list(&status["uncountedTerminatedPods"], list).iter().enumerate() {
            let (uid, at) = (uid.as_str().unwrap_or_default(), at.index(position));
            if uid.is_empty() {
                errors.push(Error::invalid(&at, uid, "must not be empty"));
            } else if seen.contains(&uid) {
                errors.push(Error::duplicate(&at, uid));
            } else {
                seen.push(uid);
            }
        }
    }
    errors
}

struct Change<'a> {
    new: &'a Value,
    old: &'a Value,
}

impl Change<'_> {
    fn differs(&self, field: &str) -> bool {
        self.new["status"][field] != self.old["status"][field]
    }

    fn turns(&self, kind: &str) -> bool {
        is(self.new, kind) != is(self.old, kind)
    }

    fn ends(&self) -> bool {
        is_finished(self.new) != is_finished(self.old)
    }

    fn conditions(&self, path: &Path) -> ErrorList {
        let has = |kind: &str| is(self.new, kind);
        let (complete, failed) = (has("Complete"), has("Failed"));
        let completes = self.turns("Complete");
        let succeeds = !self.new["spec"]["successPolicy"].is_null() && complete && !has("SuccessCriteriaMet");
        let rules = [
            (
                (completes || self.turns("Failed")) && complete && failed,
                "cannot set Complete=True and Failed=true conditions",
            ),
            (
                (completes || self.turns("FailureTarget")) && complete && has("FailureTarget"),
                "cannot set Complete=True and FailureTarget=true conditions",
            ),
            (
                (self.turns("Failed") || self.differs("failedIndexes")) && failed && !has("FailureTarget"),
                "cannot set Failed=True condition without the FailureTarget=true condition",
            ),
            (
                (completes || self.turns("SuccessCriteriaMet")) && complete && !has("SuccessCriteriaMet"),
                "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
            ),
            (has("SuccessCriteriaMet") && failed, "cannot set SuccessCriteriaMet=True and Failed=true conditions"),
            (
                has("SuccessCriteriaMet") && has("FailureTarget"),
                "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
            ),
            (succeeds, "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True"),
        ];
        let broken = rules.into_iter().filter(|(is_broken, _)| *is_broken);
        broken.map(|(_, why)| Error::invalid(path, Value::Null, why).without_value()).collect()
    }

    fn times(&self, path: &Path) -> ErrorList {
        let status = &self.new["status"];
        let (start, end) = (&status["startTime"], &status["completionTime"]);
        let at = path.child("completionTime");
        let complete = is(self.new, "Complete");
        let mut errors = ErrorList::new();
        if self.turns("Complete") || self.differs("completionTime") {
            if !end.is_null() && !complete {
                let why = "cannot set completionTime when there is no Complete=True condition";
                errors.push(Error::invalid(&at, end.clone(), why));
            }
            if end.is_null() && complete {
                errors.push(Error::required(&at, "completionTime is required for Complete jobs"));
            }
        }
        // Both are in the same form, so that the texts compare as the times do.
        let is_early = matches!((start.as_str(), end.as_str()), (Some(start), Some(end)) if end < start);
        if is_early && (self.differs("startTime") || self.differs("completionTime")) {
            errors.push(Error::invalid(&at, end.clone(), "must be equal to or after `startTime`"));
        }
        errors
    }

    fn finished(&self, path: &Path) -> ErrorList {
        let status = &self.new["status"];
        let mut errors = ErrorList::new();
        if is_finished(self.new) {
            let active = number(self.new, "status.active");
            if active > 0 && (self.ends() || self.differs("active")) {
                errors.push(Error::invalid(&path.child("active"), active, "active>0 is invalid for finished job"));
            }
            let never_ran = meta::is_true(self.new, "spec.suspend") && self.new["spec"]["completions"] == 0;
            if status["startTime"].is_null() && (self.ends() || self.differs("startTime")) && !never_ran {
                errors.push(Error::required(&path.child("startTime"), "startTime is required for finished job"));
            }
            let uncounted = &status["uncountedTerminatedPods"];
            let any = ["failed", "succeeded"].iter().any(|list| !meta::list(uncounted, list).is_empty());
            if any && (self.ends() || self.differs("uncountedTerminatedPods")) {
                let at = path.child("uncountedTerminatedPods");
                let error = Error::invalid(&at, uncounted.clone(), "must be empty for finished job");
                errors.push(error.showing(go_form::write(uncounted, &UNCOUNTED)));
            }
            let terminating = number(self.new, "status.terminating");
            if terminating > 0 && (self.ends() || self.differs("terminating")) {
                let why = "terminating>0 is invalid for finished job";
                errors.push(Error::invalid(&path.child("terminating"), terminating, why));
            }
        }
        let too_many = self.new["status"]["ready"].as_i64().filter(|ready| *ready > number(self.new, "status.active"));
        if let Some(ready) = too_many
            && (self.differs("ready") || self.differs("active"))
        {
            errors.push(Error::invalid(&path.child("ready"), ready, "cannot set more ready pods than active"));
        }
        errors
    }

    fn indexes(&self, path: &Path) -> ErrorList {
        let (spec, status) = (&self.new["spec"], &self.new["status"]);
        let completions = spec["completions"].as_i64();
        let (completed, failed) = (meta::text(status, "completedIndexes"), status["failedIndexes"].as_str());
        let (completed_differ, failed_differ) = (self.differs("completedIndexes"), self.differs("failedIndexes"));
        let per_index = !spec["backoffLimitPerIndex"].is_null();
        let mut errors = ErrorList::new();
        let mut refuse = |field: &str, shown: &str, why: String| {
            errors.push(Error::invalid(&path.child(field), shown, why));
        };
        if let Some(Err(why)) = completions.filter(|_| completed_differ).map(|max| indexes::count(completed, max)) {
            refuse("completedIndexes", completed, format!("error parsing completedIndexes: {why}"));
        }
        if completed_differ && !completed.is_empty() && spec["completionMode"] != "Indexed" {
            let why = "cannot set non-empty completedIndexes when non-indexed completion mode";
            refuse("completedIndexes", completed, why.to_owned());
        }
        let Some(failed) = failed else { return errors };
        let judged = completions.filter(|_| failed_differ && per_index);
        if let Some(Err(why)) = judged.map(|max| indexes::count(failed, max)) {
            refuse("failedIndexes", failed, format!("error parsing failedIndexes: {why}"));
        }
        if failed_differ && !per_index {
            let why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
            refuse("failedIndexes", failed, why.to_owned());
        }
        let judged = completions.filter(|_| failed_differ || completed_differ);
        if let Some(index) = judged.and_then(|max| indexes::common(completed, failed, max)) {
            let why = format!("failedIndexes and completedIndexes overlap at index: {index}");
            refuse("failedIndexes", failed, why);
        }
        errors
    }

    fn goes_forward(&self, path: &Path) -> ErrorList {
        let (spec, status) = (&self.new["spec"], &self.new["status"]);
        let conditions = path.child("conditions");
        let mut errors = ErrorList::new();
        for kind in ["Failed", "Complete", "FailureTarget"].into_iter().filter(|kind| self.is_lost(kind)) {
            let why = format!("cannot disable the terminal {kind}=True condition");
            errors.push(Error::invalid(&conditions, Value::Null, why).without_value());
        }
        // A job that is all pods at once may shrink, and with it what has succeeded.
        let elastic = spec["completionMode"] == "Indexed" && spec["completions"] == spec["parallelism"];
        for (field, may_fall) in [("failed", false), ("succeeded", elastic)] {
            let (now, before) = (status[field].as_i64().unwrap_or(0), number(self.old, &format!("status.{field}")));
            if now < before && !may_fall {
                let why = format!("cannot decrease the {field} counter");
                errors.push(Error::invalid(&path.child(field), now, why));
            }
        }
        let before = &self.old["status"];
        let is_moved = |field: &str| !before[field].is_null() && before[field] != status[field];
        if is_moved("completionTime") && !status["completionTime"].is_null() {
            let at = path.child("completionTime");
            errors.push(Error::invalid(&at, status["completionTime"].clone(), "field is immutable"));
        }
        let resumes = is(self.old, "Suspended") && is_condition(self.new, "Suspended", "False");
        if is_moved("startTime") && !resumes && !meta::is_true(self.new, "spec.suspend") {
            let why = "field is immutable for unsuspended job once set";
            errors.push(Error::invalid(&path.child("startTime"), status["startTime"].clone(), why));
        }
        let why = match (is(self.old, "SuccessCriteriaMet"), is(self.new, "SuccessCriteriaMet")) {
            (true, false) => "cannot disable the SuccessCriteriaMet=True condition",
            (false, true) if is(self.old, "Complete") => {
                "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions"
            }
            _ => return errors,
        };
        errors.push(Error::invalid(&conditions, Value::Null, why).without_value());
        errors
    }

    fn is_lost(&self, kind: &str) -> bool {
        is(self.old, kind) && !is(self.new, kind)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const START: &str = "2026-01-01T00:00:00Z";
    const END: &str = "2026-01-01T00:00:07Z";

    fn job(status: Value) -> Value {
        json!({"spec": {"completions": 3, "parallelism": 2}, "status": status})
    }

    fn conditions(kinds: &[&str]) -> Value {
        kinds.iter().map(|kind| json!({"type": kind, "status": "True"})).collect()
    }

    fn wrong(new: Value, old: Value) -> Vec<String> {
        validate(&job(new), &job(old)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_job_completes_in_steps() {
        let met = json!({"startTime": START, "conditions": conditions(&["SuccessCriteriaMet"])});
        let done = json!({"startTime": START, "completionTime": END, "conditions": conditions(&["SuccessCriteriaMet", "Complete"])});
        assert_eq!(wrong(done.clone(), met.clone()), Vec::<String>::new());
        let lacking = |field: &str| {
            let mut status = done.clone();
            status.as_object_mut().unwrap().remove(field);
            wrong(status, met.clone())
        };
        assert_eq!(
            lacking("completionTime"),
            ["status.completionTime: Required value: completionTime is required for Complete jobs"]
        );
        assert!(
            lacking("startTime")
                .contains(&"status.startTime: Required value: startTime is required for finished job".to_owned())
        );
        assert_eq!(
            wrong(json!({"conditions": []}), json!({"conditions": conditions(&["SuccessCriteriaMet"])})),
            ["status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition"]
        );
        assert_eq!(
            wrong(json!({"startTime": START, "conditions": conditions(&["Failed"])}), json!({"startTime": START})),
            [
                "status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition"
            ]
        );
    }

    #[test]
    fn counters_go_up() {
        assert_eq!(
            wrong(json!({"failed": 1}), json!({"failed": 2})),
            ["status.failed: Invalid value: 1: cannot decrease the failed counter"]
        );
        assert_eq!(
            wrong(json!({"ready": 2, "active": 1}), json!({})),
            ["status.ready: Invalid value: 2: cannot set more ready pods than active"]
        );
        assert_eq!(
            wrong(json!({"active": -1}), json!({})),
            ["status.active: Invalid value: -1: must be greater than or equal to 0"]
        );
        assert_eq!(
            wrong(json!({"uncountedTerminatedPods": {"succeeded": ["a"], "failed": ["a", ""]}}), json!({})),
            [
                "status.uncountedTerminatedPods.failed[0]: Duplicate value: \"a\"",
                "status.uncountedTerminatedPods.failed[1]: Invalid value: \"\": must not be empty",
            ]
        );
    }

    #[test]
    fn indexes_are_of_indexed_jobs() {
        assert_eq!(
            wrong(json!({"completedIndexes": "0-5"}), json!({})),
            [
                "status.completedIndexes: Invalid value: \"0-5\": error parsing completedIndexes: too large index: \"5\"",
                "status.completedIndexes: Invalid value: \"0-5\": cannot set non-empty completedIndexes when non-indexed completion mode",
            ]
        );
        // What was wrong before is not looked at again.
        assert!(wrong(json!({"completedIndexes": "0-5", "active": 1}), json!({"completedIndexes": "0-5"})).is_empty());
    }

    #[test]
    fn the_start_stays_while_it_runs() {
        let at = |time: &str| json!({"startTime": time});
        assert_eq!(
            wrong(at(END), at(START)),
            [format!("status.startTime: Invalid value: \"{END}\": field is immutable for unsuspended job once set")]
        );
        let resumed = json!({"startTime": END, "conditions": [{"type": "Suspended", "status": "False"}]});
        let suspended = json!({"startTime": START, "conditions": conditions(&["Suspended"])});
        assert!(wrong(resumed, suspended).is_empty());
    }
}
