//! Jobs.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::life::replace;
use super::{STAY, template};
use crate::catalogue::{Area, Group, case};
use crate::cluster::{LATER, Patch, Resource, Scope};
use crate::expect::{equal, same};

pub(super) const GROUP: Group = Group {
    name: "jobs",
    area: Area::Workloads,
    capability: "Jobs: completions, indexes, failure and success policies, suspension, adoption",
    cases: &[
        case!(a_job_completes, "a Job runs as many pods as asked, and completes", quick),
        case!(local_restarts_are_no_failures, "a container that fails is started again in its pod"),
        case!(indexes_reach_their_pods, "pods of an Indexed Job know their index, by name, annotation and variable"),
        case!(each_index_has_its_own_limit, "backoffLimitPerIndex fails indexes, and others complete"),
        case!(too_many_failed_indexes_fail_the_job, "maxFailedIndexes ends the Job"),
        case!(exit_codes_fail_the_job, "a failure policy fails the Job at an exit code"),
        case!(exit_codes_fail_an_index, "a failure policy fails an index at once"),
        case!(evictions_can_be_ignored, "a failure policy ignores pods that were evicted", slow),
        case!(success_can_be_declared, "a success policy ends the Job with indexes left over"),
        case!(success_can_be_counted, "a success policy ends the Job at a count of indexes, all or some"),
        case!(a_backoff_limit_ends, "a Job whose pods fail too often fails"),
        case!(a_deadline_ends, "activeDeadlineSeconds ends a Job"),
        case!(a_suspended_job_waits, "a suspended Job has no pods, and runs when it is resumed", quick),
        case!(
            orphans_are_adopted_and_released,
            "a Job's pod that lost its owner is adopted; one that lost its labels released"
        ),
        case!(time_to_live_ends_it, "ttlSecondsAfterFinished removes the Job"),
        case!(status_is_a_subresource, "/status takes conditions of others, and a collection goes with its pods"),
    ],
};

pub(super) fn jobs(scope: &Scope) -> Resource {
    scope.resource("batch/v1", "jobs")
}

fn job(scope: &Scope, script: &str) -> Value {
    let mut template = template("job", &scope.cluster.images.busybox, script);
    template["spec"]["restartPolicy"] = "Never".into();
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}, "spec": {"template": template}})
}

fn with(mut job: Value, spec: Value) -> Value {
    for (key, value) in spec.as_object().into_iter().flatten() {
        job["spec"][key] = value.clone();
    }
    job
}

pub(super) fn condition<'a>(job: &'a Value, kind: &str) -> &'a Value {
    let all = job["status"]["conditions"].as_array();
    all.and_then(|all| all.iter().find(|one| one["type"] == kind && one["status"] == "True")).unwrap_or(&Value::Null)
}

/// Runs a Job until it has this condition, with this reason.
async fn run(scope: &Scope, object: &Value, kind: &str, reason: &str) -> Result<Value> {
    jobs(scope).create(object).await?;
    end(scope, kind, reason).await
}

pub(super) async fn end(scope: &Scope, kind: &str, reason: &str) -> Result<Value> {
    let ended = |job: &Value| !condition(job, "Complete").is_null() || !condition(job, "Failed").is_null();
    let done = jobs(scope).until_within(LATER, "job", &format!("it is {kind}"), ended).await?;
    equal(&format!("reason of {kind}"), &condition(&done, kind)["reason"], &json!(reason))?;
    Ok(done)
}

fn counts(job: &Value, expected: Value) -> Result<()> {
    for (field, value) in expected.as_object().into_iter().flatten() {
        equal(field, &job["status"][field], value)?;
    }
    Ok(())
}

async fn a_job_completes(scope: &Scope) -> Result<()> {
    let object = with(job(scope, "true"), json!({"completions": 3, "parallelism": 2}));
    let done = run(scope, &object, "Complete", "CompletionsReached").await?;
    counts(&done, json!({"succeeded": 3, "ready": 0, "terminating": 0}))?;
    ensure!(
        done["status"]["active"].as_u64().is_none_or(|count| count == 0),
        "expected none active, saw {}",
        done["status"]
    );
    for field in ["startTime", "completionTime"] {
        ensure!(done["status"][field].is_string(), "expected a {field}, saw {}", done["status"]);
    }
    let pods = scope.pods().items("labelSelector=batch.kubernetes.io/job-name%3Djob").await?;
    same("pods", pods.len(), 3)?;
    let tracked = |pod: &Value| pod["metadata"]["finalizers"].to_string().contains("batch.kubernetes.io/job-tracking");
    ensure!(!pods.iter().any(tracked), "expected no finalizer of tracking once the Job is done");
    scope.kubectl(&["wait", "--for=condition=complete", "job/job", "--timeout=5s"]).await?;
    jobs(scope).delete_with("job", json!({"propagationPolicy": "Background"})).await?;
    scope.pods().until_all_within(LATER, "", "its pods go with it", <[Value]>::is_empty).await.map(drop)
}

async fn local_restarts_are_no_failures(scope: &Scope) -> Result<()> {
    let mut object = job(scope, "test -e /state/tried || { touch /state/tried; exit 1; }");
    let pod = &mut object["spec"]["template"]["spec"];
    pod["restartPolicy"] = "OnFailure".into();
    pod["volumes"] = json!([{"name": "state", "emptyDir": {}}]);
    pod["containers"][0]["volumeMounts"] = json!([{"name": "state", "mountPath": "/state"}]);
    let done = run(scope, &object, "Complete", "CompletionsReached").await?;
    same("failed", done["status"].get("failed").and_then(Value::as_u64).unwrap_or_default(), 0)?;
    let pods = scope.pods().items("labelSelector=app%3Djob").await?;
    same("pods", pods.len(), 1)?;
    equal("restarts", &pods[0]["status"]["containerStatuses"][0]["restartCount"], &json!(1))
}

fn indexed(scope: &Scope, script: &str, spec: Value) -> Value {
    let object = with(job(scope, script), json!({"completionMode": "Indexed", "completions": 4, "parallelism": 4}));
    with(object, spec)
}

async fn indexes_reach_their_pods(scope: &Scope) -> Result<()> {
    let object = indexed(scope, "echo $JOB_COMPLETION_INDEX $(hostname)", json!({"completions": 2}));
    let done = run(scope, &object, "Complete", "CompletionsReached").await?;
    counts(&done, json!({"completedIndexes": "0,1", "succeeded": 2}))?;
    let pods = scope.pods().items("labelSelector=app%3Djob").await?;
    let mut seen = Vec::new();
    for pod in &pods {
        let index = pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"].as_str().unwrap_or("?");
        equal("label", &pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"], &json!(index))?;
        equal("hostname", &pod["spec"]["hostname"], &json!(format!("job-{index}")))?;
        let log = scope.log(pod["metadata"]["name"].as_str().unwrap_or_default()).await?;
        same("log", log.trim(), format!("{index} job-{index}").as_str())?;
        seen.push(index.to_owned());
    }
    seen.sort();
    same("indexes", seen, vec!["0".to_owned(), "1".to_owned()])
}

async fn each_index_has_its_own_limit(scope: &Scope) -> Result<()> {
    let script = "test $((JOB_COMPLETION_INDEX % 2)) = 0";
    let object = indexed(scope, script, json!({"backoffLimitPerIndex": 1}));
    let done = run(scope, &object, "Failed", "FailedIndexes").await?;
    counts(&done, json!({"failedIndexes": "1,3", "completedIndexes": "0,2", "failed": 4, "succeeded": 2}))
}

async fn too_many_failed_indexes_fail_the_job(scope: &Scope) -> Result<()> {
    let script = format!("test $JOB_COMPLETION_INDEX != 0 || exit 1; {STAY}");
    let object = indexed(scope, &script, json!({"backoffLimitPerIndex": 0, "maxFailedIndexes": 0}));
    let done = run(scope, &object, "Failed", "MaxFailedIndexesExceeded").await?;
    // With four at a time, those that were ended by it have failed, too.
    counts(&done, json!({"failedIndexes": "0"}))?;
    scope.pods().until_all("fieldSelector=status.phase%3DRunning", "no pod runs on", <[Value]>::is_empty).await?;
    jobs(scope).delete_with("job", json!({"propagationPolicy": "Foreground"})).await?;
    jobs(scope).until_gone_within(LATER, "job").await?;
    let spec = json!({"parallelism": 1, "backoffLimitPerIndex": 0, "maxFailedIndexes": 0});
    let done = run(scope, &indexed(scope, "exit 1", spec), "Failed", "MaxFailedIndexesExceeded").await?;
    counts(&done, json!({"failedIndexes": "0", "failed": 1}))
}

fn policy(action: &str, rule: Value) -> Value {
    let mut rule = rule;
    rule["action"] = action.into();
    json!({"rules": [rule]})
}

fn on_exit_code() -> Value {
    json!({"onExitCodes": {"containerName": "main", "operator": "In", "values": [42]}})
}

async fn exit_codes_fail_the_job(scope: &Scope) -> Result<()> {
    let spec = json!({"backoffLimit": 6, "podFailurePolicy": policy("FailJob", on_exit_code())});
    let done = run(scope, &with(job(scope, "exit 42"), spec), "Failed", "PodFailurePolicy").await?;
    counts(&done, json!({"failed": 1}))
}

async fn exit_codes_fail_an_index(scope: &Scope) -> Result<()> {
    let script = "test $JOB_COMPLETION_INDEX = 0 || exit 42";
    let spec =
        json!({"completions": 2, "backoffLimitPerIndex": 3, "podFailurePolicy": policy("FailIndex", on_exit_code())});
    let done = run(scope, &indexed(scope, script, spec), "Failed", "FailedIndexes").await?;
    counts(&done, json!({"failedIndexes": "1", "completedIndexes": "0", "failed": 1}))
}

async fn evictions_can_be_ignored(scope: &Scope) -> Result<()> {
    let rule = json!({"onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]});
    let spec =
        json!({"backoffLimit": 0, "parallelism": 3, "completions": 3, "podFailurePolicy": policy("Ignore", rule)});
    let script = "test -e /data/go && exit 0; trap 'exit 1' TERM; sleep 3600 & wait";
    let mut object = with(job(scope, script), spec);
    let claim = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "data"}, "data": {"wait": ""}});
    scope.config_maps().create(&claim).await?;
    object["spec"]["template"]["spec"]["volumes"] = json!([{"name": "data", "configMap": {"name": "data"}}]);
    object["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "data", "mountPath": "/data"}]);
    jobs(scope).create(&object).await?;
    let run = |job: &Value| job["status"]["ready"] == 3;
    jobs(scope).until_within(LATER, "job", "its pods are ready", run).await?;
    scope.config_maps().patch("data", Patch::Merge(json!({"data": {"go": ""}}))).await?;
    let names = scope.pods().names("labelSelector=app%3Djob").await?;
    same("pods", names.len(), 3)?;
    for name in &names {
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
        scope.pods().post(&format!("{name}/eviction"), &eviction).await?;
    }
    let done = end(scope, "Complete", "CompletionsReached").await?;
    same("failed", done["status"].get("failed").and_then(Value::as_u64).unwrap_or_default(), 0)?;
    counts(&done, json!({"succeeded": 3}))?;
    for name in &names {
        scope.pods().until_gone_within(LATER, name).await?;
    }
    Ok(())
}

/// All but the first index run until they are told to end, and have failed then: an index that ends well counts, also
/// when the Job has succeeded without it.
const FIRST_ONLY: &str = "test $JOB_COMPLETION_INDEX = 0 && exit 0; trap 'exit 1' TERM; sleep 86400 & wait";

async fn success_can_be_declared(scope: &Scope) -> Result<()> {
    let spec = json!({"successPolicy": {"rules": [{"succeededIndexes": "0"}]}});
    let done = run(scope, &indexed(scope, FIRST_ONLY, spec), "Complete", "SuccessPolicy").await?;
    equal("reason of SuccessCriteriaMet", &condition(&done, "SuccessCriteriaMet")["reason"], &json!("SuccessPolicy"))?;
    counts(&done, json!({"completedIndexes": "0", "succeeded": 1, "terminating": 0}))
}

async fn success_can_be_counted(scope: &Scope) -> Result<()> {
    for (script, completions, count, indexes) in [("true", 2, 2, "0,1"), (FIRST_ONLY, 5, 1, "0")] {
        let spec = json!({"completions": completions, "parallelism": 2, "successPolicy": {"rules": [{"succeededCount": count}]}});
        let done = run(scope, &indexed(scope, script, spec), "Complete", "SuccessPolicy").await?;
        equal(
            "reason of SuccessCriteriaMet",
            &condition(&done, "SuccessCriteriaMet")["reason"],
            &json!("SuccessPolicy"),
        )?;
        counts(&done, json!({"completedIndexes": indexes, "succeeded": count, "ready": 0, "terminating": 0}))?;
        let number = |field: &str| done["status"][field].as_u64().unwrap_or_default();
        same("active", number("active"), 0)?;
        ensure!(count == 1 || number("failed") == 0, "expected none to have failed, saw {}", done["status"]);
        jobs(scope).delete_with("job", json!({"propagationPolicy": "Foreground"})).await?;
        jobs(scope).until_gone_within(LATER, "job").await?;
    }
    Ok(())
}

async fn a_backoff_limit_ends(scope: &Scope) -> Result<()> {
    let object = with(job(scope, "exit 1"), json!({"backoffLimit": 0}));
    let done = run(scope, &object, "Failed", "BackoffLimitExceeded").await?;
    counts(&done, json!({"failed": 1}))
}

async fn a_deadline_ends(scope: &Scope) -> Result<()> {
    let object = with(job(scope, STAY), json!({"activeDeadlineSeconds": 2}));
    run(scope, &object, "Failed", "DeadlineExceeded").await.map(drop)
}

async fn a_suspended_job_waits(scope: &Scope) -> Result<()> {
    jobs(scope).create(&with(job(scope, "true"), json!({"suspend": true}))).await?;
    let suspended = |job: &Value| !condition(job, "Suspended").is_null();
    jobs(scope).until("job", "it is suspended", suspended).await?;
    same("pods", scope.pods().names("").await?.len(), 0)?;
    jobs(scope).patch("job", Patch::Merge(json!({"spec": {"suspend": false}}))).await?;
    end(scope, "Complete", "CompletionsReached").await.map(drop)
}

async fn orphans_are_adopted_and_released(scope: &Scope) -> Result<()> {
    let made = jobs(scope).create(&with(job(scope, STAY), json!({"parallelism": 2}))).await?;
    let two = |pods: &[Value]| pods.len() == 2;
    let pods = scope.pods().until_all("labelSelector=app%3Djob", "two pods", two).await?;
    let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let (first, second) = (name(&pods[0]), name(&pods[1]));
    scope.pods().patch(&first, Patch::Merge(json!({"metadata": {"ownerReferences": null}}))).await?;
    let owner = |pod: &Value| pod["metadata"]["ownerReferences"][0].clone();
    let is_adopted = |pod: &Value| owner(pod)["kind"] == "Job" && owner(pod)["uid"] == made["metadata"]["uid"];
    scope.pods().until(&first, "it is adopted again", is_adopted).await?;
    scope.pods().patch(&second, Patch::Merge(json!({"metadata": {"labels": null}}))).await?;
    let is_free = |pod: &Value| pod["metadata"]["ownerReferences"].is_null();
    scope.pods().until(&second, "it is released", is_free).await.map(drop)
}

async fn time_to_live_ends_it(scope: &Scope) -> Result<()> {
    jobs(scope).create(&with(job(scope, "true"), json!({"ttlSecondsAfterFinished": 1}))).await?;
    jobs(scope).until_within(LATER, "job", "it runs", |_| true).await?;
    jobs(scope).until_gone_within(LATER, "job").await
}

async fn status_is_a_subresource(scope: &Scope) -> Result<()> {
    let mut object = with(job(scope, STAY), json!({"parallelism": 2}));
    object["spec"]["template"]["spec"]["schedulerName"] = "nobody".into();
    jobs(scope).create(&object).await?;
    jobs(scope).until("job", "two are active", |job| job["status"]["active"] == 2).await?;
    let foreign = |kind: &str| json!({"type": kind, "status": "True", "reason": "Test", "message": "words"});
    let patch = Patch::Merge(json!({"status": {"conditions": [foreign("Patched")]}}));
    let patched = jobs(scope).patch("job/status", patch).await?;
    ensure!(!condition(&patched, "Patched").is_null(), "expected the condition, saw {}", patched["status"]);
    let put = replace(&jobs(scope), "job/status", |job| {
        if let Some(all) = job["status"]["conditions"].as_array_mut() {
            all.push(foreign("Put"));
        }
    })
    .await?;
    ensure!(!condition(&put, "Put").is_null(), "expected the condition, saw {}", put["status"]);
    jobs(scope).patch("job", Patch::Merge(json!({"spec": {"parallelism": 1}}))).await?;
    let later = jobs(scope).until("job", "one is active", |job| job["status"]["active"] == 1).await?;
    ensure!(!condition(&later, "Put").is_null(), "expected the controller to leave it, saw {}", later["status"]);
    jobs(scope).delete_collection("propagationPolicy=Background").await?;
    jobs(scope).until_gone("job").await?;
    scope.pods().until_all("", "no pod is left", <[Value]>::is_empty).await.map(drop)
}
