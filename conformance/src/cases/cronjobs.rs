//! CronJobs.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::jobs::{condition, end, jobs};
use super::{STAY, template};
use crate::catalogue::{Area, Group, case};
use crate::cluster::{LATER, Patch, Resource, Scope};
use crate::expect::{equal, same};

pub(super) const GROUP: Group = Group {
    name: "cronjobs",
    area: Area::Workloads,
    capability: "CronJobs: by schedule, concurrency policies, suspension, by hand",
    cases: &[
        case!(jobs_are_made_by_schedule, "a CronJob makes a Job each minute, and keeps its history", slow),
        case!(allow_lets_them_overlap, "Allow makes a Job each minute, whether or not one runs", slow),
        case!(replace_replaces, "Replace deletes the Job before when the next is due", slow),
        case!(forbid_forbids, "Forbid makes no Job while one runs", slow),
        case!(a_suspended_one_makes_none, "a suspended CronJob makes no Job", slow),
        case!(one_by_hand, "kubectl makes a Job of a CronJob", quick),
        case!(schedules_are_checked, "a schedule that is none is refused, and a question mark is one", quick),
        case!(status_is_a_subresource, "/status keeps lastScheduleTime as written"),
    ],
};

fn crons(scope: &Scope) -> Resource {
    scope.resource("batch/v1", "cronjobs")
}

fn cron(scope: &Scope, schedule: &str, script: &str) -> Value {
    let mut template = template("cron", &scope.cluster.images.busybox, script);
    template["spec"]["restartPolicy"] = "Never".into();
    json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "cron"}, "spec": {
        "schedule": schedule, "jobTemplate": {"spec": {"template": template}}}})
}

const MINUTES: std::time::Duration = std::time::Duration::from_secs(200);

async fn jobs_are_made_by_schedule(scope: &Scope) -> Result<()> {
    let mut object = cron(scope, "*/1 * * * ?", "true");
    object["spec"]["successfulJobsHistoryLimit"] = 1.into();
    crons(scope).create(&object).await?;
    let is_two = |jobs: &[Value]| jobs.iter().any(|job| !condition(job, "Complete").is_null());
    let first = jobs(scope).until_all_within(MINUTES, "", "a Job has completed", is_two).await?;
    let owner = &first[0]["metadata"]["ownerReferences"][0];
    equal("owner", &json!([owner["kind"], owner["name"]]), &json!(["CronJob", "cron"]))?;
    let replaced = |jobs: &[Value]| {
        jobs.len() == 1
            && jobs[0]["metadata"]["uid"] != first[0]["metadata"]["uid"]
            && !condition(&jobs[0], "Complete").is_null()
    };
    jobs(scope).until_all_within(MINUTES, "", "the next alone is kept", replaced).await?;
    let told = |cron: &Value| {
        cron["status"]["lastScheduleTime"].is_string() && cron["status"]["lastSuccessfulTime"].is_string()
    };
    crons(scope).until("cron", "its times are told", told).await.map(drop)
}

async fn allow_lets_them_overlap(scope: &Scope) -> Result<()> {
    let mut object = cron(scope, "*/1 * * * ?", STAY);
    object["spec"]["concurrencyPolicy"] = "Allow".into();
    crons(scope).create(&object).await?;
    let two = |cron: &Value| cron["status"]["active"].as_array().is_some_and(|all| all.len() == 2);
    let told = crons(scope).until_within(MINUTES, "cron", "two are active", two).await?;
    let made = jobs(scope).items("").await?;
    for active in told["status"]["active"].as_array().into_iter().flatten() {
        let is_there = made.iter().any(|job| job["metadata"]["uid"] == active["uid"]);
        ensure!(is_there && active["kind"] == "Job", "expected a reference to a Job, saw {active}");
    }
    Ok(())
}

async fn replace_replaces(scope: &Scope) -> Result<()> {
    let mut object = cron(scope, "*/1 * * * *", STAY);
    object["spec"]["concurrencyPolicy"] = "Replace".into();
    crons(scope).create(&object).await?;
    let first = jobs(scope).until_all_within(MINUTES, "", "a Job", |jobs| jobs.len() == 1).await?;
    let most = std::cell::Cell::new(0);
    let replaced = |jobs: &[Value]| {
        let live: Vec<&Value> = jobs.iter().filter(|job| job["metadata"]["deletionTimestamp"].is_null()).collect();
        most.set(most.get().max(live.len()));
        live.len() == 1 && live[0]["metadata"]["uid"] != first[0]["metadata"]["uid"]
    };
    jobs(scope).until_all_within(MINUTES, "", "another Job alone", replaced).await?;
    same("most Jobs at once", most.get(), 1)
}

async fn forbid_forbids(scope: &Scope) -> Result<()> {
    let mut object = cron(scope, "*/1 * * * *", STAY);
    object["spec"]["concurrencyPolicy"] = "Forbid".into();
    crons(scope).create(&object).await?;
    jobs(scope).until_all_within(MINUTES, "", "a Job", |jobs| jobs.len() == 1).await?;
    let mut watch = jobs(scope).watch("").await?;
    watch.next(LATER).await?;
    // The next minute passes.
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(75);
    while let Ok(event) = watch.next(deadline.saturating_duration_since(tokio::time::Instant::now())).await {
        ensure!(event.kind != "ADDED", "expected no second Job, saw {}", event.brief());
    }
    same("active", crons(scope).get("cron").await?["status"]["active"].as_array().map(Vec::len), Some(1))
}

async fn a_suspended_one_makes_none(scope: &Scope) -> Result<()> {
    let mut object = cron(scope, "*/1 * * * *", "true");
    object["spec"]["suspend"] = true.into();
    crons(scope).create(&object).await?;
    let mut watch = jobs(scope).watch("").await?;
    watch.quiet(std::time::Duration::from_secs(75)).await?;
    same("active", crons(scope).get("cron").await?["status"]["active"].as_array().map(Vec::len), None)
}

async fn one_by_hand(scope: &Scope) -> Result<()> {
    crons(scope).create(&cron(scope, "0 0 1 1 *", "true")).await?;
    scope.kubectl(&["create", "job", "job", "--from=cronjob/cron"]).await?;
    let done = end(scope, "Complete", "CompletionsReached").await?;
    let note = &done["metadata"]["annotations"]["cronjob.kubernetes.io/instantiate"];
    equal("annotation", note, &json!("manual"))
}

async fn schedules_are_checked(scope: &Scope) -> Result<()> {
    for schedule in ["* * * *", "61 * * * *", "every minute"] {
        let refused = crons(scope).create(&cron(scope, schedule, "true")).await;
        let error = crate::expect::refused(refused, 422, "Invalid")?;
        equal("field", &error.status["details"]["causes"][0]["field"], &json!("spec.schedule"))?;
    }
    for schedule in ["* */1 * * ?", "@hourly", "0 0 * * MON-FRI"] {
        crons(scope).create_with("dryRun=All", &cron(scope, schedule, "true")).await?;
    }
    Ok(())
}

async fn status_is_a_subresource(scope: &Scope) -> Result<()> {
    let mut object = cron(scope, "0 0 1 1 *", "true");
    object["spec"]["suspend"] = true.into();
    crons(scope).create(&object).await?;
    let time = json!({"lastScheduleTime": "2020-01-02T03:04:05Z"});
    let patched = crons(scope).patch("cron/status", Patch::Merge(json!({"status": time}))).await?;
    equal("status", &patched["status"]["lastScheduleTime"], &time["lastScheduleTime"])?;
    let main = crons(scope).patch("cron", Patch::Merge(json!({"status": {"lastScheduleTime": null}}))).await?;
    equal("status by the object's path", &main["status"]["lastScheduleTime"], &time["lastScheduleTime"])?;
    crons(scope).delete_collection("").await?;
    crons(scope).until_gone("cron").await
}
