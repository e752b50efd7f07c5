//! Job, CronJob, and what removes a Job when its time is over.

use serde_json::{Value, json};

use crate::support::{Place, condition, name, names, story, template};

fn job(name: &str, becomes: &str, more: Value) -> Value {
    let mut spec = json!({"template": template(name, becomes)});
    spec["template"]["spec"]["restartPolicy"] = "Never".into();
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec})
}

#[test]
fn an_indexed_job_completes_each_index_once() {
    story("indexed", async |place: &Place| {
        let more = json!({"completionMode": "Indexed", "completions": 5, "parallelism": 2});
        let job = place.create(job("five", "Succeeded", more)).await;
        let done = job.until("all indexes done", |job| condition(job, "Complete") == Some("CompletionsReached")).await;
        let status = &done["status"];
        assert_eq!((&status["succeeded"], &status["completedIndexes"]), (&json!(5), &json!("0-4")));
        assert_eq!((&status["active"], &status["ready"], &status["terminating"]), (&Value::Null, &json!(0), &json!(0)));
        assert!(status["completionTime"].is_string(), "{status}");
        assert_eq!(condition(&done, "SuccessCriteriaMet"), Some("CompletionsReached"));
        let pods = place.pods("app=five").await;
        assert_eq!(pods.len(), 5);
        for pod in &pods {
            assert_eq!(pod["metadata"]["finalizers"], Value::Null, "{}", name(pod));
            let index = pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"].as_str().unwrap();
            assert_eq!(pod["spec"]["hostname"], format!("five-{index}"));
        }
        job.delete().await;
        place.pod(name(&pods[0])).until_gone().await;
    });
}

#[test]
fn a_job_without_hope_fails_and_one_without_time_goes() {
    story("endings", async |place: &Place| {
        let hopeless = place.create(job("hopeless", "Failed", json!({"backoffLimit": 0}))).await;
        let failed = hopeless.until("the failure", |job| condition(job, "Failed").is_some()).await;
        assert_eq!(condition(&failed, "Failed"), Some("BackoffLimitExceeded"));
        assert_eq!(failed["status"]["failed"], 1);
        place.until_told("hopeless", "BackoffLimitExceeded").await;

        let late = place.create(job("late", "Running", json!({"activeDeadlineSeconds": 1}))).await;
        late.until("the deadline", |job| condition(job, "Failed") == Some("DeadlineExceeded")).await;
        let gone = late.until("its pod is gone", |job| job["status"]["terminating"] == 0).await;
        assert_eq!(gone["status"]["active"], Value::Null);

        let rules = json!([{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1]}}]);
        let policy = json!({"backoffLimit": 6, "podFailurePolicy": {"rules": rules}});
        let strict = place.create(job("strict", "Failed", policy)).await;
        strict.until("the policy's end", |job| condition(job, "Failed") == Some("PodFailurePolicy")).await;

        let short = place.create(job("short", "Succeeded", json!({"ttlSecondsAfterFinished": 0}))).await;
        short.until_gone().await;
        let pods = place.pods("app=short").await;
        assert!(pods.iter().all(|pod| pod["metadata"]["deletionTimestamp"].is_string()), "{:?}", names(&pods));
    });
}

#[test]
fn a_job_rests_while_it_is_suspended() {
    story("suspended", async |place: &Place| {
        let job = place.create(job("later", "Running", json!({"suspend": true}))).await;
        job.until("suspended", |job| condition(job, "Suspended") == Some("JobSuspended")).await;
        assert!(place.pods("app=later").await.is_empty());
        job.merge(json!({"spec": {"suspend": false}})).await;
        job.until("running", |job| job["status"]["ready"] == 1 && job["status"]["startTime"].is_string()).await;
        job.merge(json!({"spec": {"suspend": true}})).await;
        let rests = |job: &Value| job["status"]["active"].is_null() && job["status"]["startTime"].is_null();
        job.until("stopped", rests).await;
        for reason in ["Suspended", "Resumed", "SuccessfulDelete"] {
            place.until_told("later", reason).await;
        }
    });
}

#[test]
fn a_cron_job_makes_jobs_and_keeps_few() {
    story("schedules", async |place: &Place| {
        let template = json!({"spec": {"template": template("often", "Succeeded")}});
        let spec = json!({"schedule": "@every 1s", "jobTemplate": template});
        let object = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "often"}, "spec": spec});
        let cron = place.create(object).await;
        let first = cron.until("a success", |cron| cron["status"]["lastSuccessfulTime"].is_string()).await;
        assert!(first["status"]["lastScheduleTime"].is_string());
        let jobs = place.list("batch/v1", "Job", "").await;
        let at = &jobs[0]["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"];
        assert!(at.is_string(), "{at}");
        place.until_told("often", "SawCompletedJob").await;
        cron.merge(json!({"spec": {"suspend": true, "successfulJobsHistoryLimit": 0}})).await;
        place.object("batch/v1", "Job", name(&jobs[0])).until_gone().await;
        cron.delete().await;
        cron.until_gone().await;
    });
}
