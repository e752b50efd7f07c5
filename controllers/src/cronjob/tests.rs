//! Tables for the CronJob's core.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::ResourceExt;
use machinery::cron::{Schedule, parse};
use serde_json::{Value, json};

use super::plan;

fn schedule_of(text: &str) -> Schedule {
    parse(text, jiff::tz::TimeZone::UTC).unwrap()
}

fn cron(spec: Value, created: &str, last: Option<&str>) -> CronJob {
    let mut whole =
        json!({"schedule": "* * * * *", "jobTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {"template": {}}}});
    for (key, value) in spec.as_object().unwrap() {
        whole[key] = value.clone();
    }
    let meta = json!({"name": "c", "namespace": "n", "uid": "u", "creationTimestamp": created});
    serde_json::from_value(json!({"metadata": meta, "spec": whole, "status": {"lastScheduleTime": last}})).unwrap()
}

#[test]
fn which_run_is_due() {
    let day = |time: &str| format!("2026-01-05T{time}Z");
    // Schedule, created, last run, deadline, now, run, whether too many were missed, seconds to the next look.
    let rows = [
        ("*/10 * * * *", "00:00:00", None, None, "00:05:00", None, false, 300),
        ("*/10 * * * *", "00:00:00", None, None, "00:10:00", Some("00:10:00"), false, 600),
        ("*/10 * * * *", "00:00:00", None, None, "00:12:00", Some("00:10:00"), false, 480),
        ("*/10 * * * *", "00:00:00", Some("00:10:00"), None, "00:12:00", None, false, 480),
        ("*/10 * * * *", "00:00:00", Some("00:10:00"), None, "01:12:00", Some("01:10:00"), false, 480),
        ("* * * * *", "00:00:00", None, None, "12:00:30", Some("12:00:00"), true, 30),
        ("* * * * *", "00:00:00", None, Some(300), "12:00:30", Some("12:00:00"), false, 30),
        ("0 * * * *", "00:00:00", None, Some(300), "12:10:00", None, false, 3000),
        ("0 * * * *", "00:00:00", None, Some(900), "12:10:00", Some("12:00:00"), false, 3000),
        ("30 6-16/4 * * 1-5", "00:00:00", None, None, "15:00:00", Some("14:30:00"), false, 55800),
        ("@every 1h", "00:20:00", None, None, "03:30:00", Some("03:20:00"), false, 3000),
        ("@every 1h", "00:20:00", None, None, "01:00:00", None, false, 1200),
    ];
    for (schedule, created, last, deadline, now, run, many, seconds) in rows {
        let last = last.map(day);
        let cron =
            cron(json!({"schedule": schedule, "startingDeadlineSeconds": deadline}), &day(created), last.as_deref());
        let (spec, now) = (&cron.spec, day(now).parse::<Timestamp>().unwrap());
        let due = plan::due(&cron, spec, &schedule_of(schedule), now, true).unwrap();
        let what = format!("{schedule} since {last:?} at {now}");
        assert_eq!(due.run, run.map(|r| day(r).parse().unwrap()), "{what}");
        assert_eq!(due.too_many(), many, "{what}");
        let wait = plan::wait(&cron, spec, &schedule_of(schedule), now).unwrap();
        assert_eq!(wait.as_millis(), seconds * 1000 + 100, "{what}");
    }
    let never = cron(json!({}), &day("00:00:00"), None);
    let now = day("00:00:00").parse().unwrap();
    let due = plan::due(&never, &never.spec, &schedule_of("59 23 31 2 *"), now, true);
    assert_eq!(due.unwrap_err(), plan::NEVER);
}

#[test]
fn lateness() {
    let at = |seconds: i64| Timestamp::from_second(seconds).unwrap();
    for (deadline, late, want) in [(None, 9999, false), (Some(60), 60, false), (Some(60), 61, true), (Some(0), 1, true)]
    {
        let cron = cron(json!({"startingDeadlineSeconds": deadline}), "2026-01-01T00:00:00Z", None);
        assert_eq!(plan::is_too_late(&cron.spec, at(1000), at(1000 + late)), want);
    }
    let run: Timestamp = "2026-03-02T23:04:05+02:00".parse().unwrap();
    assert_eq!(plan::missed(run), "Missed scheduled time to start a job: Mon, 02 Mar 2026 21:04:05 +0000");
}

#[test]
fn the_job_of_a_run() {
    let cron = cron(json!({"timeZone": "Asia/Tokyo"}), "2026-01-01T00:00:00Z", None);
    let run: Timestamp = "2026-01-01T00:03:00Z".parse().unwrap();
    let job = plan::job(&cron, &cron.spec, run);
    assert_eq!(job.name_any(), format!("c-{}", run.as_second() / 60));
    assert_eq!(job.annotations()["batch.kubernetes.io/cronjob-scheduled-timestamp"], "2026-01-01T09:03:00+09:00");
    assert_eq!(job.labels()["a"], "b");
    assert_eq!(job.owner_references()[0].kind, "CronJob");
}

#[test]
fn old_jobs_go() {
    let job = |name: &str, end: &str, started: Option<&str>| {
        let conditions = json!([{"type": end, "status": "True"}]);
        let value = json!({"metadata": {"name": name}, "status": {"startTime": started, "conditions": conditions}});
        Arc::new(serde_json::from_value::<Job>(value).unwrap())
    };
    let jobs = [
        job("new", "Complete", Some("2026-01-03T00:00:00Z")),
        job("old", "Complete", Some("2026-01-01T00:00:00Z")),
        job("never", "Complete", None),
        job("bad", "Failed", Some("2026-01-01T00:00:00Z")),
        job("runs", "Suspended", Some("2026-01-01T00:00:00Z")),
    ];
    let rows = [
        (json!({}), vec![]),
        (json!({"successfulJobsHistoryLimit": 2, "failedJobsHistoryLimit": 1}), vec!["old"]),
        (json!({"successfulJobsHistoryLimit": 1}), vec!["old", "new"]),
        (json!({"successfulJobsHistoryLimit": 0, "failedJobsHistoryLimit": 0}), vec!["old", "new", "never", "bad"]),
    ];
    for (spec, want) in rows {
        let cron = cron(spec.clone(), "2026-01-01T00:00:00Z", None);
        let names: Vec<_> = plan::surplus(&cron.spec, &jobs).iter().map(|j| j.name_any()).collect();
        assert_eq!(names, want, "{spec}");
    }
}
