//! Jobs, CronJobs and ReplicationControllers over the API server in memory.

use k8s_openapi::api::apps::v1::ReplicaSetStatus;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Event, ReplicationController, ResourceQuota};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use super::*;
use crate::{cronjob, job, ttlafterfinished};

/// A kubelet whose containers succeed at once, and that lets deleted pods go.
fn complete(fake: &FakeApi) {
    for pod in fake.list::<Pod>() {
        let mut pod = serde_json::to_value(pod).unwrap();
        if pod["status"]["phase"] != "Succeeded" {
            pod["status"] = json!({"phase": "Succeeded"});
            fake.put(&pod);
        }
    }
}

fn job_of(spec: serde_json::Value) -> serde_json::Value {
    let mut whole = json!({"parallelism": 2, "completions": 3, "backoffLimit": 6, "selector": {"matchLabels": {"job": "j"}},
        "template": {"metadata": {"labels": {"job": "j"}}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c"}]}}});
    json_patch_into(&mut whole, spec);
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "n", "uid": "j", "generation": 1}, "spec": whole})
}

fn json_patch_into(whole: &mut serde_json::Value, more: serde_json::Value) {
    for (key, value) in more.as_object().unwrap() {
        whole[key] = value.clone();
    }
}

#[tokio::test]
async fn a_job_runs_to_its_end_and_is_cleaned_up() {
    let world = World::new();
    world.fake.put(&job_of(json!({"completionMode": "Indexed", "ttlSecondsAfterFinished": 0})));
    tokio::spawn(job::run(world.ctx.clone(), 2));
    for round in [2, 3] {
        world.until("pods", |f| f.list::<Pod>().len() == round).await;
        complete(&world.fake);
    }
    let done = |f: &FakeApi| {
        let status = f.get::<Job>("n", "j").and_then(|j| j.status).unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let kinds: Vec<_> = conditions.iter().map(|c| (c.type_.as_str(), c.reason.as_deref())).collect();
        let reason = Some("CompletionsReached");
        kinds == [("SuccessCriteriaMet", reason), ("Complete", reason)]
            && (status.succeeded, status.ready, status.terminating) == (Some(3), Some(0), Some(0))
            && status.completed_indexes.as_deref() == Some("0-2")
    };
    world.until("the job complete", done).await;
    assert!(world.fake.list::<Pod>().iter().all(|p| p.metadata.finalizers.as_ref().is_none_or(|f| f.is_empty())));
    tokio::spawn(ttlafterfinished::run(world.ctx.clone(), 1));
    let deleted = |f: &FakeApi| f.received().iter().any(|r| r.verb == "delete" && r.resource == "jobs");
    world.until("the job deleted", deleted).await;
}

#[tokio::test]
async fn a_suspended_job_waits() {
    let world = World::new();
    world.fake.put(&job_of(json!({"suspend": true})));
    tokio::spawn(job::run(world.ctx.clone(), 2));
    let condition = |f: &FakeApi, status: &str| {
        let job = f.get::<Job>("n", "j").and_then(|j| j.status).unwrap_or_default();
        job.conditions.iter().flatten().any(|c| c.type_ == "Suspended" && c.status == status)
            && job.start_time.is_some() == (status == "False")
    };
    world.until("suspended", |f| condition(f, "True")).await;
    assert!(world.fake.list::<Pod>().is_empty());
    let mut resumed = serde_json::to_value(world.fake.get::<Job>("n", "j").unwrap()).unwrap();
    resumed["spec"]["suspend"] = json!(false);
    resumed["metadata"]["generation"] = json!(2);
    world.fake.put(&resumed);
    world.until("resumed", |f| condition(f, "False") && f.list::<Pod>().len() == 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_cron_job_makes_jobs_in_time() {
    let fake = FakeApi::new();
    let clock = Clock::simulated("2026-01-01T00:00:30Z".parse().unwrap());
    let ctx = Context::with(fake.client(), Source::new("test"), clock, Random::seeded(1), Shutdown::new());
    fake.put(&json!({"apiVersion": "batch/v1", "kind": "CronJob",
        "metadata": {"name": "c", "namespace": "n", "uid": "c", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"schedule": "*/2 * * * *", "concurrencyPolicy": "Forbid", "jobTemplate": {"spec": {"template": {}}}}}));
    tokio::spawn(cronjob::run(ctx.clone(), 1));
    let mut seen = Vec::new();
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(60)).await;
        seen.push(fake.list::<Job>().len());
    }
    // The first still runs when the second is due.
    assert_eq!(seen, [0, 1, 1, 1, 1]);
    let cron = fake.get::<CronJob>("n", "c").unwrap().status.unwrap();
    assert_eq!(cron.active.unwrap().len(), 1);
    assert_eq!(cron.last_schedule_time.unwrap().0.to_string(), "2026-01-01T00:02:00Z");
    ctx.shutdown.trigger();
}

#[tokio::test(start_paused = true)]
async fn another_schedule_counts_from_its_next_run_on() {
    let fake = FakeApi::new();
    let clock = Clock::simulated("2026-01-01T00:30:30Z".parse().unwrap());
    let ctx = Context::with(fake.client(), Source::new("test"), clock, Random::seeded(1), Shutdown::new());
    let cron = |schedule: &str| {
        json!({"apiVersion": "batch/v1", "kind": "CronJob",
            "metadata": {"name": "c", "namespace": "n", "uid": "c", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"schedule": schedule, "jobTemplate": {"spec": {"template": {}}}}})
    };
    fake.put(&cron("45 23 * * *"));
    tokio::spawn(cronjob::run(ctx.clone(), 1));
    tokio::time::sleep(Duration::from_secs(10)).await;
    // By this one it would have run at 00:20.
    fake.put(&cron("*/20 * * * *"));
    let mut seen = Vec::new();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(280)).await;
        seen.push(fake.list::<Job>().len());
    }
    assert_eq!(seen, [0, 0, 1]);
    fake.put(&cron("no schedule"));
    let told = |f: &FakeApi| {
        let mut events = f.list::<Event>().into_iter();
        events.any(|e| e.reason.as_deref() == Some("UnParseableCronJobSchedule"))
    };
    let met = fake.until(|_| told(&fake));
    assert!(tokio::time::timeout(Duration::from_secs(20), met).await.is_ok());
    ctx.shutdown.trigger();
}

/// Its Deployment takes what is told as available for granted: the cache may be behind, and answers may be lost.
#[tokio::test(start_paused = true)]
async fn pods_that_were_sent_away_are_not_counted() {
    for answers in [true, false] {
        let world = World::new();
        let blind = Arc::new(AtomicBool::new(false));
        let (is_blind, fake) = (blind.clone(), world.fake.clone());
        world.fake.react(move |r| {
            let cache = matches!(r.verb, "watch" | "list") && !r.query.contains_key("fieldSelector");
            let hides = cache && r.resource == "pods" && is_blind.load(Ordering::Relaxed);
            let loses = (r.verb, &*r.resource) == ("delete", "pods") && !answers;
            if loses {
                fake.remove::<Pod>(&r.namespace, &r.name);
            }
            (hides || loses).then(|| (500, json!({"code": 500, "status": "Failure"})))
        });
        world.fake.put(&json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"name": "web", "namespace": "n", "uid": "web", "generation": 1},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}}}}));
        tokio::spawn(replicaset::run::<ReplicaSet>(world.ctx.clone(), 1));
        world.until("three pods", |f| f.list::<Pod>().len() == 3).await;
        make_ready(&world.fake);
        let status = |f: &FakeApi| f.get::<ReplicaSet>("n", "web").and_then(|set| set.status).unwrap_or_default();
        world.until("all available", |f| status(f).available_replicas == Some(3)).await;
        blind.store(true, Ordering::Relaxed);
        world.fake.break_watches();
        let mut smaller = serde_json::to_value(world.fake.get::<ReplicaSet>("n", "web").unwrap()).unwrap();
        (smaller["spec"]["replicas"], smaller["metadata"]["generation"]) = (json!(1), json!(2));
        world.fake.put(&smaller);
        world.until("the new size seen", |f| status(f).observed_generation == Some(2)).await;
        let is_told = |told: ReplicaSetStatus| assert_eq!((told.replicas, told.available_replicas), (1, Some(1)));
        is_told(status(&world.fake));
        // Simulated: syncs that failed have been tried again.
        tokio::time::sleep(Duration::from_secs(5)).await;
        is_told(status(&world.fake));
        let asked = world.fake.received().into_iter().filter(|r| (r.verb, &*r.resource) == ("delete", "pods"));
        assert_eq!(asked.count(), 2, "answers: {answers}");
    }
}

#[tokio::test]
async fn a_replication_controller_gets_its_pods() {
    let world = World::new();
    world.fake.put(&json!({"apiVersion": "v1", "kind": "ReplicationController",
        "metadata": {"name": "rc", "namespace": "n", "uid": "rc", "generation": 1},
        "spec": {"replicas": 2, "selector": {"app": "rc"}, "template": {"metadata": {"labels": {"app": "rc"}},
            "spec": {"containers": [{"name": "c"}]}}}}));
    tokio::spawn(replicaset::run::<ReplicationController>(world.ctx.clone(), 1));
    world.until("two pods", |f| f.list::<Pod>().len() == 2).await;
    make_ready(&world.fake);
    let ready = |f: &FakeApi| {
        let status = f.get::<ReplicationController>("n", "rc").and_then(|rc| rc.status);
        status.is_some_and(|s| (s.replicas, s.ready_replicas, s.observed_generation) == (2, Some(2), Some(1)))
    };
    world.until("a status", ready).await;
    let pod = world.fake.list::<Pod>().remove(0);
    let owner = &pod.metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!((owner.api_version.as_str(), owner.kind.as_str()), ("v1", "ReplicationController"));
}

#[tokio::test]
async fn a_budget_says_what_may_go() {
    let world = World::new();
    world.fake.put(&web(4, "one"));
    tokio::spawn(crate::deployment::run(world.ctx.clone(), 1));
    tokio::spawn(replicaset::run::<ReplicaSet>(world.ctx.clone(), 1));
    world.until("four pods", |f| f.list::<Pod>().len() == 4).await;
    make_ready(&world.fake);
    world.fake.put(&json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": "b", "namespace": "n", "uid": "b", "generation": 1},
        "spec": {"maxUnavailable": "25%", "selector": {"matchLabels": {"app": "web"}}}}));
    tokio::spawn(crate::disruption::run(world.ctx.clone()));
    let counts = |f: &FakeApi| {
        let status = f.get::<PodDisruptionBudget>("n", "b").and_then(|b| b.status).unwrap_or_default();
        (status.expected_pods, status.desired_healthy, status.current_healthy, status.disruptions_allowed)
    };
    // A quarter of the four that the Deployment asks for.
    world.until("one may go", |f| counts(f) == (Some(4), Some(3), Some(4), Some(1))).await;
    let mut pod = serde_json::to_value(world.fake.list::<Pod>().remove(0)).unwrap();
    pod["status"]["conditions"][0]["status"] = json!("False");
    world.fake.put(&pod);
    world.until("none may go", |f| counts(f) == (Some(4), Some(3), Some(3), Some(0))).await;
}

#[tokio::test]
async fn a_quota_gets_back_what_is_gone() {
    let world = World::new();
    discover(&world.fake);
    world.fake.put(
        &json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q", "namespace": "n", "uid": "q"},
        "spec": {"hard": {"pods": "10", "requests.cpu": "2", "count/secrets": "5", "configmaps": "5"}}}),
    );
    for name in ["a", "b"] {
        world
            .fake
            .put(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "n", "uid": name},
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "300m"}}}]}}));
    }
    world.fake.put(&config_map("m"));
    let settings = crate::resourcequota::Settings { workers: 1, resync_period: Duration::ZERO };
    tokio::spawn(crate::resourcequota::run(world.ctx.clone(), settings));
    let used = |f: &FakeApi, want: serde_json::Value| {
        let quota = f.get::<ResourceQuota>("n", "q").and_then(|q| q.status).unwrap_or_default();
        serde_json::to_value(quota.used).unwrap() == want
    };
    let all = json!({"pods": "2", "requests.cpu": "600m", "count/secrets": "0", "configmaps": "1"});
    world.until("all counted", |f| used(f, all.clone())).await;
    world.fake.remove::<Pod>("n", "a");
    world.fake.remove::<ConfigMap>("n", "m");
    let less = json!({"pods": "1", "requests.cpu": "300m", "count/secrets": "0", "configmaps": "0"});
    world.until("less", |f| used(f, less.clone())).await;
}
