//! Jobs (Kubernetes concept: "Jobs").

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use machinery::selector::Selector;
use serde_json::{Map, Value, json};

use super::{columns, failure_policy, job_status, job_update, success_policy};
use crate::kinds::defaults::{each, set, set_absent, spec, within, within_made};
use crate::kinds::go_form;
use crate::kinds::workload::{name_warning, template};
use crate::kinds::{Hooks, MetadataRounds, validate};

pub static JOB: Hooks = Hooks {
    metadata: MetadataRounds::BOTH,
    pod: Some("spec.template"),
    default,
    prepare_create: |job| {
        generate_selector(job);
        job["status"] = json!({});
    },
    prepare_create_as_sent: share_labels,
    complete_created: |job| {
        if meta::map(job, "metadata.labels").is_empty() {
            take_labels(job);
        }
    },
    validate_against: judge,
    validate_update: job_update::validate,
    validate_status: job_status::validate,
    warnings: |job| {
        let of_spec = warnings(&job["spec"], &Path::new("spec"));
        name_warning(job).into_iter().chain(of_spec).collect()
    },
    has_generation: true,
    orphans_by_default: true,
    warning_of_orphans: Some(
        "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning",
    ),
    fields: &[("status.successful", "status.succeeded")],
    columns: columns::JOB,
    cells: columns::cells,
    ..Hooks::PLAIN
};

/// The old names of the labels, then the new.
pub const NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];
pub const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];

fn default(job: &mut Value) {
    let labels = meta::at(job, "spec.template.metadata.labels").clone();
    if labels.as_object().is_some_and(|labels| !labels.is_empty()) && meta::map(job, "metadata.labels").is_empty() {
        meta::metadata_mut(job).insert("labels".into(), labels);
    }
    let fields = spec(job);
    default_template(fields);
    let is_absent = |fields: &Map<String, Value>, name: &str| fields.get(name).is_none_or(Value::is_null);
    if is_absent(fields, "completions") && is_absent(fields, "parallelism") {
        fields.insert("completions".into(), json!(1));
    }
    set(fields, "parallelism", 1);
    let backoff_limit = if is_absent(fields, "backoffLimitPerIndex") { 6 } else { i32::MAX };
    set(fields, "backoffLimit", backoff_limit);
    set_absent(fields, "completionMode", "NonIndexed");
    set(fields, "suspend", false);
    let replacement = if is_absent(fields, "podFailurePolicy") { "TerminatingOrFailed" } else { "Failed" };
    set_absent(fields, "podReplacementPolicy", replacement);
    set(fields, "manualSelector", false);
}

/// What is filled in of a Job's spec inside a CronJob, too.
pub fn default_template(spec: &mut Map<String, Value>) {
    template::default(spec);
    let Some(policy) = within(spec, "podFailurePolicy") else { return };
    for rule in each(policy, "rules") {
        each(rule, "onPodConditions").for_each(|condition| set(condition, "status", "True"));
    }
}

/// Labels that tell the pods of this Job from all others, and the selector that finds them.
fn generate_selector(job: &mut Value) {
    if meta::is_true(job, "spec.manualSelector") {
        return;
    }
    let own = own_labels(job);
    let fields = spec(job);
    if let Some(metadata) = within_made(fields, "template").and_then(|template| within_made(template, "metadata"))
        && let Some(labels) = within_made(metadata, "labels")
    {
        own.iter().for_each(|(name, value)| {
            labels.entry(*name).or_insert_with(|| value.as_str().into());
        });
    }
    let uid = own.iter().find(|(name, _)| *name == UID_LABELS[1]).map(|(_, uid)| uid.clone()).unwrap_or_default();
    if let Some(labels) = within_made(fields, "selector").and_then(|selector| within_made(selector, "matchLabels")) {
        labels.entry(UID_LABELS[1]).or_insert_with(|| uid.into());
    }
}

fn own_labels(job: &Value) -> Vec<(&'static str, String)> {
    let of = |labels: [&'static str; 2], value: &str| labels.map(|label| (label, value.to_owned()));
    of(NAME_LABELS, meta::name(job)).into_iter().chain(of(UID_LABELS, meta::uid(job))).collect()
}

/// A Job that was sent without labels takes over those of its template, the generated ones among them. Where the template
/// had none either, they are shared only once they are found good.
fn share_labels(job: &mut Value, sent: &Value) {
    if meta::map(sent, "metadata.labels").is_empty() && meta::at(sent, "spec.template.metadata.labels").is_object() {
        take_labels(job);
    }
}

fn take_labels(job: &mut Value) {
    let labels = meta::at(job, "spec.template.metadata.labels").clone();
    if labels.is_object() {
        meta::metadata_mut(job).insert("labels".into(), labels);
    }
}

fn judge(job: &Value, old: Option<&Value>) -> ErrorList {
    // Jobs from before the prefixed labels do without.
    let prefixed = old.is_none_or(|old| {
        let labels = meta::map(old, "spec.template.metadata.labels");
        labels.contains_key(NAME_LABELS[1]) && labels.contains_key(UID_LABELS[1])
    });
    let mut errors = generated_selector(job, prefixed);
    errors.extend(spec_with_selector(&job["spec"], &Path::new("spec")));
    let completions = meta::at(job, "spec.completions").as_i64().unwrap_or(0);
    if meta::text(job, "spec.completionMode") == "Indexed" && completions > 0 {
        let longest = format!("{}-{}", meta::name(job), completions - 1);
        if !names::dns_label(&longest).is_empty() {
            let why = format!("will not able to create pod with invalid DNS label: {longest}");
            errors.push(Error::invalid(&Path::new("metadata").child("name"), meta::name(job), why));
        }
    }
    errors
}

fn generated_selector(job: &Value, prefixed: bool) -> ErrorList {
    let selector = &job["spec"]["selector"];
    let mut errors = ErrorList::new();
    if meta::is_true(job, "spec.manualSelector") || selector.is_null() {
        return errors;
    }
    if meta::uid(job).is_empty() {
        errors.push(Error::required(&Path::new("metadata").child("uid"), ""));
    }
    let labels = meta::at(job, "spec.template.metadata.labels");
    let path = validate::path(&["spec", "template", "metadata", "labels"]);
    let wanted: Vec<(&str, String)> =
        own_labels(job).into_iter().filter(|(name, _)| prefixed || !name.contains('/')).collect();
    for (name, value) in &wanted {
        let why = format!("must be '{value}'");
        match labels.get(*name) {
            None => errors.push(Error::required(&path.key(name), why)),
            Some(own) if own == value.as_str() => {}
            Some(_) => errors.push(Error::invalid(&path.key(name), labels.clone(), why)),
        }
    }
    let lookup = |name: &str| wanted.iter().find(|(own, _)| *own == name).map(|(_, value)| value.as_str());
    if Selector::from_label_selector(Some(selector)).is_ok_and(|selector| !selector.matches(lookup)) {
        let why = "`selector` not auto-generated";
        errors.push(Error::invalid(&validate::path(&["spec", "selector"]), selector.clone(), why));
    }
    errors
}

/// The spec of a Job that stands by itself.
pub fn spec_with_selector(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = self::spec_alone(spec, path);
    let at = path.child("selector");
    if spec["selector"].is_null() {
        errors.push(Error::required(&at, ""));
    } else {
        errors.extend(validate::label_selector(&spec["selector"], &at));
    }
    let given = spec.get("selector").filter(|selector| !selector.is_null());
    if let Ok(selector) = Selector::from_label_selector(given) {
        errors.extend(template::selected(&selector, &spec["template"], &path.child("template")));
    }
    errors
}

const COUNTS: [&str; 7] = [
    "parallelism",
    "completions",
    "activeDeadlineSeconds",
    "backoffLimit",
    "ttlSecondsAfterFinished",
    "backoffLimitPerIndex",
    "maxFailedIndexes",
];

/// The spec of a Job, its selector aside.
pub fn spec_alone(spec: &Value, path: &Path) -> ErrorList {
    let mut errors: ErrorList =
        COUNTS.iter().filter_map(|field| validate::not_negative(&spec[*field], &path.child(field))).collect();
    if !spec["maxFailedIndexes"].is_null() && spec["backoffLimitPerIndex"].is_null() {
        errors.push(Error::required(&path.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified"));
    }
    errors.extend(managed_by(&spec["managedBy"], &path.child("managedBy")));
    let mode = spec["completionMode"].as_str();
    match mode {
        None | Some("NonIndexed") => errors.extend(not_indexed(spec, path)),
        Some("Indexed") => errors.extend(indexed(spec, path)),
        Some(other) => {
            let at = path.child("completionMode");
            errors.push(Error::not_supported(&at, other, &["NonIndexed", "Indexed"]));
        }
    }
    if spec["podFailurePolicy"].is_object() {
        errors.extend(failure_policy::all(spec, &path.child("podFailurePolicy")));
    }
    let policy = &spec["successPolicy"];
    if policy.is_object() {
        let at = path.child("successPolicy");
        if mode == Some("Indexed") {
            errors.extend(success_policy::all(spec, &at));
        } else {
            let error = Error::invalid(&at, policy.clone(), "requires indexed completion mode");
            errors.push(error.showing(go_form::write(policy, &success_policy::FORM)));
        }
    }
    errors.extend(replacement(spec, &path.child("podReplacementPolicy")));
    errors.extend(template::validate(&spec["template"], &path.child("template")));
    errors.extend(restarts(spec, &path.child("template").child("spec").child("restartPolicy")));
    errors
}

fn not_indexed(spec: &Value, path: &Path) -> ErrorList {
    let present = ["backoffLimitPerIndex", "maxFailedIndexes"].into_iter().filter(|field| !spec[*field].is_null());
    let why = "requires indexed completion mode";
    present.map(|field| Error::invalid(&path.child(field), spec[field].clone(), why)).collect()
}

const PARALLELISM_MAX: i64 = 100_000;
const FAILED_INDEXES_MAX: i64 = 100_000;
/// With more completions than this, and a limit for each index, the two above are a tenth.
const MANY_COMPLETIONS: i64 = 100_000;
const FEW_MAX: i64 = 10_000;

fn indexed(spec: &Value, path: &Path) -> ErrorList {
    let number = |field: &str| spec[field].as_i64();
    let (completions, parallelism, failed) = (number("completions"), number("parallelism"), number("maxFailedIndexes"));
    let mut errors = ErrorList::new();
    let mut refuse = |field: &str, number: i64, why: String| {
        errors.push(Error::invalid(&path.child(field), number, why));
    };
    if let Some(parallelism) = parallelism.filter(|parallelism| *parallelism > PARALLELISM_MAX) {
        let why = format!("must be less than or equal to {PARALLELISM_MAX} when completion mode is Indexed");
        refuse("parallelism", parallelism, why);
    }
    if let Some(failed) = failed {
        if completions.is_some_and(|completions| failed > completions) {
            refuse("maxFailedIndexes", failed, "must be less than or equal to completions".to_owned());
        }
        if failed > FAILED_INDEXES_MAX {
            refuse("maxFailedIndexes", failed, format!("must be less than or equal to {FAILED_INDEXES_MAX}"));
        }
    }
    let is_large = completions.is_some_and(|completions| completions > MANY_COMPLETIONS);
    let is_large = is_large && !spec["backoffLimitPerIndex"].is_null();
    if is_large {
        let why = format!(
            "must be less than or equal to {FEW_MAX} when completions are above {MANY_COMPLETIONS} and used with backoff limit per index"
        );
        for (field, number) in [("parallelism", parallelism), ("maxFailedIndexes", failed)] {
            if let Some(number) = number.filter(|number| *number > FEW_MAX) {
                refuse(field, number, why.clone());
            }
        }
    }
    if completions.is_none() {
        errors.push(Error::required(&path.child("completions"), "when completion mode is Indexed"));
    }
    if is_large && failed.is_none() {
        let why = format!("must be specified when completions is above {MANY_COMPLETIONS}");
        errors.push(Error::required(&path.child("maxFailedIndexes"), why));
    }
    errors
}

const MANAGED_BY_LENGTH_MAX: usize = 63;

fn managed_by(value: &Value, path: &Path) -> ErrorList {
    let Some(text) = value.as_str() else { return ErrorList::new() };
    let mut errors = validate::domain_prefixed_path(text, path);
    if text.len() > MANAGED_BY_LENGTH_MAX {
        errors.push(Error::too_long(path, MANAGED_BY_LENGTH_MAX));
    }
    errors
}

fn replacement(spec: &Value, path: &Path) -> Option<Error> {
    let policy = spec["podReplacementPolicy"].as_str()?;
    let supported: &[&str] =
        if spec["podFailurePolicy"].is_object() { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    (!supported.contains(&policy)).then(|| Error::not_supported(path, policy, supported))
}

/// Pods of a Job end.
fn restarts(spec: &Value, path: &Path) -> Option<Error> {
    match meta::text(spec, "template.spec.restartPolicy") {
        "Never" => None,
        "OnFailure" if spec["podFailurePolicy"].is_null() => None,
        "OnFailure" => {
            let why = "only \"Never\" is supported when podFailurePolicy is specified";
            Some(Error::invalid(path, "OnFailure", why))
        }
        "Always" | "" => Some(Error::required(path, "valid values: \"OnFailure\", \"Never\"")),
        other => Some(Error::not_supported(path, other, &["OnFailure", "Never"])),
    }
}

/// `path` is that of the Job's spec.
pub fn warnings(spec: &Value, path: &Path) -> Vec<String> {
    let number = |field: &str| spec[field].as_i64().unwrap_or(0);
    let is_indexed = spec["completionMode"] == "Indexed";
    let is_too_much = number("completions") > MANY_COMPLETIONS && number("parallelism") > FEW_MAX;
    let why = "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail";
    let of_indexes = (is_indexed && is_too_much).then(|| format!("{path}: {why}"));
    of_indexes.into_iter().chain(template::warnings(&spec["template"], &path.child("template"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(change: impl Fn(&mut Value)) -> Value {
        let mut job = json!({"metadata": {"name": "j", "uid": "u"}, "spec": {"template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"},
        }}});
        change(&mut job["spec"]);
        let sent = job.clone();
        default(&mut job);
        (JOB.prepare_create)(&mut job);
        share_labels(&mut job, &sent);
        job
    }

    fn wrong(change: impl Fn(&mut Value)) -> Vec<String> {
        judge(&job(change), None).into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn its_pods_are_labelled_as_its_own() {
        let job = job(|_| {});
        assert_eq!(job["spec"]["selector"], json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}));
        assert_eq!(job["metadata"]["labels"]["job-name"], "j");
        assert_eq!(meta::map(&job, "spec.template.metadata.labels").len(), 5);
        assert!(judge(&job, None).is_empty());
    }

    #[test]
    fn indexes_are_bounded() {
        for (spec, want) in [
            (json!({"completionMode": "Indexed", "completions": 3}), vec![]),
            (json!({"completionMode": "Indexed", "parallelism": 1}), vec!["spec.completions"]),
            (json!({"completionMode": "Sometimes"}), vec!["spec.completionMode"]),
            (json!({"completionMode": ""}), vec!["spec.completionMode"]),
            (json!({"backoffLimitPerIndex": 1}), vec!["spec.backoffLimitPerIndex"]),
            (
                json!({"completionMode": "Indexed", "completions": 3, "backoffLimitPerIndex": 1, "maxFailedIndexes": 4}),
                vec!["spec.maxFailedIndexes"],
            ),
            (
                json!({"completionMode": "Indexed", "completions": 100_001, "backoffLimitPerIndex": 1}),
                vec!["spec.maxFailedIndexes"],
            ),
            (json!({"managedBy": "me"}), vec!["spec.managedBy"]),
            (json!({"podReplacementPolicy": "Never"}), vec!["spec.podReplacementPolicy"]),
            (json!({"successPolicy": {"rules": []}}), vec!["spec.successPolicy"]),
        ] {
            let changed = |own: &mut Value| {
                own.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
            };
            assert_eq!(wrong(changed), want, "{spec}");
        }
    }

    #[test]
    fn its_pods_end() {
        let restart =
            |policy: &'static str| wrong(move |spec| spec["template"]["spec"]["restartPolicy"] = policy.into());
        assert!(restart("OnFailure").is_empty());
        assert_eq!(restart("Always"), ["spec.template.spec.restartPolicy"]);
    }
}
