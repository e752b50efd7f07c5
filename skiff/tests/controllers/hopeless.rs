//! Specs that contradict themselves, and workloads that can never come to rest: neither is in anybody else's way.

use serde_json::{Value, json};

use crate::support::{Place, story, template};

fn workload(api_version: &str, kind: &str, name: &str, spec: Value) -> Value {
    let mut whole = json!({"selector": {"matchLabels": {"app": name}}, "template": template(name, "Running")});
    merge(&mut whole, spec);
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": whole})
}

fn merge(into: &mut Value, from: Value) {
    match from {
        Value::Object(fields) => fields.into_iter().for_each(|(key, value)| merge(&mut into[key.as_str()], value)),
        value => *into = value,
    }
}

#[test]
fn contradictions_are_refused_in_upstreams_words() {
    let job = |spec: Value| {
        let mut whole = json!({"template": {"metadata": {}, "spec": {"restartPolicy": "Never",
            "containers": [{"name": "c", "image": "i"}]}}});
        merge(&mut whole, spec);
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": whole})
    };
    let cron = |spec: Value| {
        let mut whole = json!({"schedule": "* * * * *", "jobTemplate": {"spec": job(json!({}))["spec"]}});
        merge(&mut whole, spec);
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c"}, "spec": whole})
    };
    let deployment = |spec: Value| workload("apps/v1", "Deployment", "d", spec);
    let daemon_set =
        |rolling: Value| workload("apps/v1", "DaemonSet", "d", json!({"updateStrategy": {"rollingUpdate": rolling}}));
    let autoscaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
        "spec": {"minReplicas": 3, "maxReplicas": 2,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}});
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "maxUnavailable": 1, "selector": {"matchLabels": {"app": "d"}}}});
    let rows = [
        (
            deployment(json!({"selector": {"matchLabels": {"app": "other"}}})),
            "`selector` does not match template `labels`",
        ),
        (
            deployment(json!({"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}})),
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
        ),
        (
            deployment(json!({"strategy": {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}})),
            "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
        ),
        (
            deployment(json!({"minReadySeconds": 20, "progressDeadlineSeconds": 20})),
            "spec.progressDeadlineSeconds: Invalid value: 20: must be greater than minReadySeconds",
        ),
        (
            daemon_set(json!({"maxSurge": 1, "maxUnavailable": 1})),
            "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero",
        ),
        (
            daemon_set(json!({"maxSurge": 0, "maxUnavailable": 0})),
            "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0",
        ),
        (
            job(json!({"completionMode": "Indexed", "parallelism": 2})),
            "spec.completions: Required value: when completion mode is Indexed",
        ),
        (
            job(json!({"backoffLimitPerIndex": 1})),
            "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode",
        ),
        (cron(json!({"schedule": "60 * * * *"})), "end of range (60) above maximum (59): 60"),
        (cron(json!({"timeZone": "Mars/Base"})), "unknown time zone Mars/Base"),
        (autoscaler, "spec.maxReplicas: Invalid value: 2: must be greater than or equal to `minReplicas`"),
        (budget, "minAvailable and maxUnavailable cannot be both set"),
    ];
    story("contradictions", async |place: &Place| {
        for (object, words) in rows {
            let refusal = place.refused(object).await;
            assert_eq!((refusal.code, refusal.reason.as_str()), (422, "Invalid"), "{words}");
            assert!(refusal.message.contains(words), "{words} is not in: {}", refusal.message);
        }
    });
}

/// What the API cannot know: the controller says it.
#[test]
fn contradictions_between_objects_are_told_by_conditions() {
    story("ambiguous", async |place: &Place| {
        place.create(workload("apps/v1", "Deployment", "web", json!({}))).await;
        let autoscaler = |name: &str, target: &str| {
            json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name},
                "spec": {"maxReplicas": 2, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target}}})
        };
        let says = |object: &Value, kind: &str, reason: &str| {
            let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
            conditions.any(|c| c["type"] == kind && c["status"] == "False" && c["reason"] == reason)
        };
        let of_nothing = place.create(autoscaler("of-nothing", "nothing")).await;
        of_nothing.until("no target", |hpa| says(hpa, "AbleToScale", "FailedGetScale")).await;
        let one = place.create(autoscaler("one", "web")).await;
        let two = place.create(autoscaler("two", "web")).await;
        for hpa in [one, two] {
            hpa.until("two of one target", |hpa| says(hpa, "ScalingActive", "AmbiguousSelector")).await;
        }
    });
}

#[test]
fn a_workload_that_never_comes_up_slows_no_other() {
    const REPLICAS: i64 = 20;
    story("endless", async |place: &Place| {
        // Each fails as soon as it runs and is made anew, for ever. Storm and row have as many at a time as the
        // other needs, so that some of them always wait for a step.
        let fails = |kind: &str, name: &str, spec: Value| {
            let mut whole = json!({"template": {"metadata": {"labels": {"becomes": "Failed"}}}});
            merge(&mut whole, spec);
            workload("apps/v1", kind, name, whole)
        };
        let parallel = json!({"replicas": REPLICAS, "podManagementPolicy": "Parallel"});
        let endless = [
            place.create(fails("Deployment", "storm", json!({"replicas": REPLICAS}))).await,
            place.create(fails("StatefulSet", "row", parallel)).await,
            place.create(fails("DaemonSet", "daemon", json!({}))).await,
        ];
        // Failed pods stay: there are as many as the storm has ever made.
        let made = async || place.pods("app=storm").await.len();
        place
            .object("apps/v1", "StatefulSet", "row")
            .until("it is made", |set| set["status"]["replicas"].as_i64() >= Some(1))
            .await;
        let at_first = made().await;
        let other = place.create(workload("apps/v1", "Deployment", "other", json!({"replicas": REPLICAS}))).await;
        let ready = |object: &Value| object["status"]["readyReplicas"].as_i64().unwrap_or_default();
        // Half of them: a single one may have to wait for a reason of its own, while the storm goes on. In each of a pod's
        // steps (made, placed, run, counted, told) it lets pass at most all those before it, which are the storm once;
        // twice that is left for waits. Were the storm's steps served first, there would be no end of them.
        other.until("half of it ready", |object| ready(object) >= REPLICAS / 2).await;
        let meanwhile = made().await - at_first;
        println!("half of {REPLICAS} pods came up while the storm made {meanwhile}");
        assert!(meanwhile < 10 * REPLICAS as usize, "the storm made {meanwhile} pods while half of {REPLICAS} came up");
        other.until("all ready", |object| ready(object) == REPLICAS).await;
        let hopeful = place.create(workload("apps/v1", "Deployment", "hopeful", json!({"replicas": 1}))).await;
        hopeful.until("ready too", |object| ready(object) == 1).await;
        assert!(made().await > at_first, "the storm went on");
        for workload in &endless {
            workload.delete().await;
        }
    });
}
