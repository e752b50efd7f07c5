//! CronJobs (Kubernetes concept: "CronJob").

use jiff::tz::TimeZone;
use machinery::cron;
use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use serde_json::{Value, json};

use super::job;
use crate::kinds::defaults::{set, spec, within};
use crate::kinds::workload::template::{container_cells, selector_cell};
use crate::kinds::workload::{CONTAINERS, IMAGES, SELECTOR, column, name_warning};
use crate::kinds::{Hooks, MetadataRounds, validate};
use crate::rest::table::{AGE, NAME, age, since};

pub static CRON_JOB: Hooks = Hooks {
    status_metadata: MetadataRounds::NONE,
    pod: Some("spec.jobTemplate.spec.template"),
    default,
    prepare_create: |cron_job| cron_job["status"] = json!({}),
    validate_against: judge,
    warnings: |cron_job| {
        let path = validate::path(&["spec", "jobTemplate", "spec"]);
        let of_spec = job::warnings(meta::at(cron_job, "spec.jobTemplate.spec"), &path);
        name_warning(cron_job).into_iter().chain(of_spec).collect()
    },
    has_generation: true,
    columns: &[
        NAME,
        column("Schedule", "string", 0, "When jobs are made."),
        column("Timezone", "string", 0, "The time zone of the schedule."),
        column("Suspend", "boolean", 0, "Whether no jobs are made for now."),
        column("Active", "integer", 0, "Number of jobs that run."),
        column("Last Schedule", "string", 0, "When a job was made last."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells,
    ..Hooks::PLAIN
};

fn default(cron_job: &mut Value) {
    let fields = spec(cron_job);
    set(fields, "concurrencyPolicy", "Allow");
    set(fields, "suspend", false);
    set(fields, "successfulJobsHistoryLimit", 3);
    set(fields, "failedJobsHistoryLimit", 1);
    if let Some(spec) = within(fields, "jobTemplate").and_then(|template| within(template, "spec")) {
        job::default_template(spec);
    }
}

/// The pods' names are made of the jobs', and those of this one's.
const NAME_LENGTH_MAX: usize = 52;
const POLICIES: [&str; 3] = ["Allow", "Forbid", "Replace"];

fn judge(cron_job: &Value, old: Option<&Value>) -> ErrorList {
    let (path, spec) = (Path::new("spec"), &cron_job["spec"]);
    let mut errors = times(spec, old.map(|old| &old["spec"]), &path);
    for field in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        errors.extend(validate::not_negative(&spec[field], &path.child(field)));
    }
    let (policy, at) = (meta::text(spec, "concurrencyPolicy"), path.child("concurrencyPolicy"));
    if policy.is_empty() {
        errors.push(Error::required(&at, ""));
    } else if !POLICIES.contains(&policy) {
        errors.push(Error::not_supported(&at, policy, &POLICIES));
    }
    let (job, at) = (&spec["jobTemplate"]["spec"], path.child("jobTemplate").child("spec"));
    errors.extend(job::spec_alone(job, &at));
    if !job["selector"].is_null() {
        let why = "`selector` will be auto-generated";
        errors.push(Error::invalid(&at.child("selector"), job["selector"].clone(), why));
    }
    if job["manualSelector"] == true {
        errors.push(Error::not_supported(&at.child("manualSelector"), true, &["nil", "false"]));
    }
    let name = meta::name(cron_job);
    if old.is_none() && name.len() > NAME_LENGTH_MAX {
        let why = format!("must be no more than {NAME_LENGTH_MAX} characters");
        errors.push(Error::invalid(&Path::new("metadata").child("name"), name, why));
    }
    errors
}

/// A time zone in the schedule itself is from older days: it may stay, and not come.
fn times(spec: &Value, old: Option<&Value>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let (schedule, at) = (meta::text(spec, "schedule"), path.child("schedule"));
    let zone = spec["timeZone"].as_str();
    if schedule.is_empty() {
        errors.push(Error::required(&at, ""));
    } else {
        let why = cron::parse(schedule, TimeZone::UTC).err();
        errors.extend(why.map(|why| Error::invalid(&at, schedule, why.to_string())));
        let had_zone = old.is_some_and(|old| meta::text(old, "schedule").contains("TZ"));
        let why = match (schedule.contains("TZ"), had_zone) {
            (true, true) if zone.is_some() => Some("cannot use both timeZone field and TZ or CRON_TZ in schedule"),
            (true, false) => Some("cannot use TZ or CRON_TZ in schedule, use timeZone field instead"),
            _ => None,
        };
        errors.extend(why.map(|why| Error::invalid(&at, schedule, why)));
    }
    let is_changed = old.is_none_or(|old| old["timeZone"] != spec["timeZone"]);
    if let Some(zone) = zone.filter(|_| is_changed) {
        errors.extend(zone_errors(zone).into_iter().map(|why| Error::invalid(&path.child("timeZone"), zone, why)));
    }
    errors
}

fn zone_errors(zone: &str) -> Vec<String> {
    const PART_LENGTH_MAX: usize = 14;
    let is_part = |part: &str| {
        let known = |c: char| c.is_ascii_alphanumeric() || ".-_+".contains(c);
        !matches!(part, "." | "..")
            && !part.starts_with('-')
            && (1..=PART_LENGTH_MAX).contains(&part.len())
            && part.chars().all(known)
    };
    if zone.is_empty() {
        return vec!["timeZone must be nil or non-empty string".to_owned()];
    }
    if !zone.split('/').all(is_part) {
        return vec![format!("unknown time zone {zone}")];
    }
    let mut errors = Vec::new();
    if zone.eq_ignore_ascii_case("Local") {
        let why = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.push(why.to_owned());
    }
    errors.extend(cron::zone(zone).err());
    errors
}

fn cells(cron_job: &Value, now: i64) -> Vec<Value> {
    let text = |path: &str| match meta::text(cron_job, path) {
        "" => "<none>".to_owned(),
        text => text.to_owned(),
    };
    let suspend = match meta::at(cron_job, "spec.suspend").as_bool() {
        Some(true) => "True",
        Some(false) => "False",
        None => "<unset>",
    };
    let last = match meta::text(cron_job, "status.lastScheduleTime") {
        "" => "<none>".to_owned(),
        time => since(time, now),
    };
    let job = meta::at(cron_job, "spec.jobTemplate.spec");
    let [containers, images] = container_cells(meta::at(job, "template.spec"));
    vec![
        meta::name(cron_job).into(),
        meta::text(cron_job, "spec.schedule").into(),
        text("spec.timeZone").into(),
        suspend.into(),
        meta::list(cron_job, "status.active").len().into(),
        last.into(),
        age(cron_job, now).into(),
        containers,
        images,
        selector_cell(&job["selector"]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cron_job(spec: Value) -> Value {
        let mut object = json!({"metadata": {"name": "c"}, "spec": {"schedule": "@daily", "jobTemplate": {"spec": {
            "template": {"spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}},
        }}}});
        object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        default(&mut object);
        object
    }

    fn wrong(new: Value, old: Option<Value>) -> Vec<String> {
        let errors = judge(&cron_job(new), old.map(cron_job).as_ref());
        errors.into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn zones_stand_in_their_field() {
        let zoned = json!({"schedule": "TZ=UTC 0 0 * * *"});
        for (new, old, want) in [
            (json!({"timeZone": "Europe/Berlin"}), None, vec![]),
            (json!({"timeZone": ""}), None, vec!["spec.timeZone"]),
            (json!({"timeZone": "../etc"}), None, vec!["spec.timeZone"]),
            (json!({"timeZone": "Local"}), None, vec!["spec.timeZone"]),
            (json!({"timeZone": "Mars"}), Some(json!({"timeZone": "Mars"})), vec![]),
            (zoned.clone(), None, vec!["spec.schedule"]),
            (zoned.clone(), Some(zoned.clone()), vec![]),
            (json!({"schedule": "TZ=UTC 0 0 * * *", "timeZone": "UTC"}), Some(zoned.clone()), vec!["spec.schedule"]),
        ] {
            assert_eq!(wrong(new.clone(), old), want, "{new}");
        }
    }

    #[test]
    fn its_jobs_select_for_themselves() {
        let with = |field: &str, value: Value| {
            let mut object = cron_job(json!({}));
            object["spec"]["jobTemplate"]["spec"][field] = value;
            judge(&object, None).into_iter().map(|error| error.field).collect::<Vec<_>>()
        };
        assert_eq!(with("selector", json!({})), ["spec.jobTemplate.spec.selector"]);
        assert_eq!(with("manualSelector", json!(true)), ["spec.jobTemplate.spec.manualSelector"]);
    }
}
