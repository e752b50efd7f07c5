//! The CronJob controller's core: which run is due, when to look again, which Jobs to delete, and the Job of a run.
//!
//! Pure. Concepts: "CronJob". Of several missed runs only the latest is made up for.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use machinery::cron::{self, Schedule, ScheduleError};

use crate::common::jobs;
use crate::common::owner::controller_ref;

const SCHEDULED_AT: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// A little later than the minute, for clocks that differ.
const PADDING: SignedDuration = SignedDuration::from_millis(100);

/// From so many missed runs on a warning is told.
const MANY: i64 = 100;

/// The runs since the last one.
#[derive(Debug, PartialEq)]
pub(super) struct Due {
    /// The latest run whose time has come.
    pub(super) run: Option<Timestamp>,
    /// From when on runs are looked for.
    since: Timestamp,
    missed: i64,
}

impl Due {
    pub(super) fn too_many(&self) -> bool {
        self.missed > MANY
    }
}

/// What cannot be told of a schedule that never comes round.
pub(super) const NEVER: &str = "time difference between two schedules is less than 1 second";

/// The schedule in its zone. The zone of the text itself goes before that of the field.
pub(super) fn parse(spec: &CronJobSpec) -> Result<Schedule, ScheduleError> {
    let zone = cron::zone(spec.time_zone.as_deref().unwrap_or_default());
    cron::parse(&spec.schedule, zone.unwrap_or(jiff::tz::TimeZone::UTC))
}

pub(super) fn is_rescheduled(old: &CronJobSpec, new: &CronJobSpec) -> bool {
    (&old.schedule, &old.time_zone) != (&new.schedule, &new.time_zone)
}

/// The runs up to now; with `deadline`, not those that are too late to be started.
pub(super) fn due(
    cron: &CronJob,
    spec: &CronJobSpec,
    schedule: &Schedule,
    now: Timestamp,
    deadline: bool,
) -> Result<Due, &'static str> {
    let created = cron.metadata.creation_timestamp.as_ref().map(|t| t.0);
    let last = cron.status.as_ref().and_then(|s| s.last_schedule_time.as_ref()).map(|t| t.0);
    let mut since = last.or(created).unwrap_or(Timestamp::UNIX_EPOCH);
    if let Some(seconds) = spec.starting_deadline_seconds.filter(|_| deadline) {
        let earliest = now.checked_sub(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MIN);
        since = since.max(earliest);
    }
    let first = schedule.next(since).ok_or(NEVER)?;
    if now < first {
        return Ok(Due { run: None, since, missed: 0 });
    }
    let second = schedule.next(first).ok_or(NEVER)?;
    if now < second {
        return Ok(Due { run: Some(first), since, missed: 0 });
    }
    // Not one by one: a clock that is years off must not cost a search through all of them.
    let interval = second.duration_since(first).as_secs().max(1);
    let missed = now.duration_since(first).as_secs() / interval + 1;
    let nearby = first.checked_add(SignedDuration::from_secs((missed - 2).max(0) * interval)).unwrap_or(first);
    let after = |t: &Timestamp| schedule.next(*t).filter(|t| *t <= now);
    let start =
        if missed < 2 { first.checked_sub(SignedDuration::from_secs(interval)).unwrap_or(first) } else { nearby };
    let run = std::iter::successors(after(&start), after).last();
    Ok(Due { run, since, missed })
}

/// When the next run comes.
pub(super) fn wait(cron: &CronJob, spec: &CronJobSpec, schedule: &Schedule, now: Timestamp) -> Option<SignedDuration> {
    let from = match due(cron, spec, schedule, now, false) {
        Err(_) => now,
        Ok(Due { run: Some(run), .. }) => run,
        Ok(Due { missed: 0, since, .. }) => since,
        Ok(_) => now,
    };
    Some(schedule.next(from)?.checked_add(PADDING).ok()?.duration_since(now).max(SignedDuration::ZERO))
}

pub(super) fn is_too_late(spec: &CronJobSpec, run: Timestamp, now: Timestamp) -> bool {
    let seconds = spec.starting_deadline_seconds.map(SignedDuration::from_secs);
    seconds.and_then(|s| run.checked_add(s).ok()).is_some_and(|latest| latest < now)
}

/// What is told of a run whose time has passed.
pub(super) fn missed(run: Timestamp) -> String {
    format!("Missed scheduled time to start a job: {}", run.strftime("%a, %d %b %Y %H:%M:%S +0000"))
}

/// The same for the same run: a second try cannot make a second Job.
pub(super) fn job_name(cron: &CronJob, run: Timestamp) -> String {
    format!("{}-{}", cron.metadata.name.as_deref().unwrap_or_default(), run.as_second().div_euclid(60))
}

pub(super) fn job(cron: &CronJob, spec: &CronJobSpec, run: Timestamp) -> Job {
    let meta = spec.job_template.metadata.clone().unwrap_or_default();
    let zone = cron::zone(spec.time_zone.as_deref().unwrap_or_default()).unwrap_or(jiff::tz::TimeZone::UTC);
    let mut annotations = meta.annotations.unwrap_or_default();
    annotations.insert(SCHEDULED_AT.into(), rfc3339(run, zone));
    Job {
        metadata: ObjectMeta {
            name: Some(job_name(cron, run)),
            labels: meta.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![controller_ref(cron)]),
            ..Default::default()
        },
        spec: spec.job_template.spec.clone(),
        status: None,
    }
}

fn rfc3339(time: Timestamp, zone: jiff::tz::TimeZone) -> String {
    let local = time.to_zoned(zone);
    match local.offset().seconds() {
        0 => local.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        _ => local.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
    }
}

/// The type of the condition by which a Job has ended.
pub(super) fn ended(job: &Job) -> Option<&str> {
    jobs::ended(job).map(|condition| condition.type_.as_str())
}

/// The ended Jobs beyond the history limits, oldest first.
pub(super) fn surplus<'a>(spec: &CronJobSpec, jobs: &'a [std::sync::Arc<Job>]) -> Vec<&'a Job> {
    let of = |end: &str, limit: Option<i32>| {
        let Some(limit) = limit.and_then(|n| usize::try_from(n).ok()) else { return Vec::new() };
        let mut these: Vec<&Job> = jobs.iter().map(|j| &**j).filter(|j| ended(j) == Some(end)).collect();
        these.sort_by_cached_key(|job| {
            let started = job.status.as_ref().and_then(|s| s.start_time.as_ref()).map(|t| t.0);
            (started.is_none(), started, job.metadata.name.clone())
        });
        these.truncate(these.len().saturating_sub(limit));
        these
    };
    let mut all = of("Complete", spec.successful_jobs_history_limit);
    all.extend(of("Failed", spec.failed_jobs_history_limit));
    all
}

/// The time zone of the field, when nobody knows it.
pub(super) fn unknown_zone(spec: &CronJobSpec) -> Option<String> {
    let name = spec.time_zone.as_ref()?;
    let error = cron::zone(name).err()?;
    Some(format!("invalid timeZone: {name:?}: {error}"))
}

pub(super) fn is_active(cron: &CronJob, uid: Option<&String>) -> bool {
    active(cron).any(|job| job.uid.as_ref() == uid)
}

pub(super) fn active(cron: &CronJob) -> impl Iterator<Item = &ObjectReference> {
    cron.status.iter().flat_map(|s| s.active.iter().flatten())
}

/// Takes a Job out of the list of active ones; whether it was there.
pub(super) fn forget(cron: &mut CronJob, uid: Option<&String>) -> bool {
    let Some(list) = cron.status.as_mut().and_then(|s| s.active.as_mut()) else { return false };
    let before = list.len();
    list.retain(|job| job.uid.as_ref() != uid);
    before != list.len()
}

pub(super) fn reference(job: &Job) -> ObjectReference {
    ObjectReference {
        api_version: Some("batch/v1".into()),
        kind: Some("Job".into()),
        namespace: job.metadata.namespace.clone(),
        name: job.metadata.name.clone(),
        uid: job.metadata.uid.clone(),
        resource_version: job.metadata.resource_version.clone(),
        field_path: None,
    }
}

/// Whether the schedule's text has a zone, which works but is not supported.
pub(super) fn has_own_zone(spec: &CronJobSpec) -> bool {
    spec.schedule.contains("TZ")
}
