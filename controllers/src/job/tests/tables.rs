//! What is decided over which pods, row by row; and what is counted.

use std::collections::HashSet;
use std::time::Duration;

use k8s_openapi::api::batch::v1::JobStatus;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::super::backoff::Record;
use super::super::decide::{Action, Decision, Wanted, decide};
use super::super::observe::observe;
use super::super::{facts, pod as pods, track};
use super::*;

/// The decision in words: `end: reason`, or what is done.
fn words(decision: &Decision) -> String {
    let names = |pods: &[Arc<Pod>]| pods.iter().map(|p| p.name_any()).collect::<Vec<_>>().join(" ");
    if let Some(end) = &decision.end {
        return format!("{}: {}", end.type_, end.reason.as_deref().unwrap_or_default());
    }
    match &decision.action {
        Action::Hold => "hold".into(),
        Action::Keep => "keep".into(),
        Action::End(pods) => format!("end {}", names(pods)),
        Action::Remove(pods) => format!("remove {}", names(pods)),
        Action::Create(Wanted::Count(count)) => format!("create {count}"),
        Action::Create(Wanted::Indexes(indexes)) => format!("create {indexes:?}"),
        Action::BackOff(wait) => format!("wait {}", wait.as_secs()),
    }
}

fn check(rows: &[(Value, Value, &[&str], &str)]) {
    for (i, (spec, status, pods, want)) in rows.iter().enumerate() {
        let decision = decide(&observe(input(job(spec.clone(), status.clone()), pods)).unwrap());
        assert_eq!(words(&decision), *want, "row {i}: {spec} {status} {pods:?}");
    }
}

#[test]
fn how_many_pods() {
    let none = || json!({});
    check(&[
        (json!({}), none(), &[], "create 2"),
        (json!({}), none(), &["Running"], "create 1"),
        (json!({}), none(), &["Running", "Pending"], "keep"),
        (json!({}), none(), &["Succeeded", "Running"], "create 1"),
        (json!({}), none(), &["Succeeded", "Succeeded", "Succeeded", "Running"], "keep"),
        (json!({}), none(), &["Succeeded", "Succeeded", "Succeeded"], "create 1"),
        (json!({}), json!({"succeeded": 3}), &["Running", "Succeeded counted"], "keep"),
        (json!({}), json!({"succeeded": 3}), &["Succeeded"], "keep"),
        (
            json!({}),
            json!({"succeeded": 2, "uncountedTerminatedPods": {"succeeded": ["p0"]}}),
            &["Succeeded"],
            "create 1",
        ),
        (json!({"parallelism": 0}), none(), &[], "keep"),
        (json!({"parallelism": 1}), none(), &["Running ready", "Pending"], "remove p1"),
        (json!({"parallelism": 0}), none(), &["Running ready"], "remove p0"),
        (json!({"parallelism": 2000, "completions": 2000}), none(), &[], "create 500"),
        (json!({"completions": null, "parallelism": 3}), none(), &["Running"], "create 2"),
        (json!({"completions": null, "parallelism": 3}), none(), &["Running", "Succeeded"], "keep"),
        (json!({"suspend": true}), none(), &["Running", "Running"], "remove p0 p1"),
        (json!({"suspend": true}), none(), &[], "keep"),
        // A pod that is being deleted is replaced at once, or when it has ended.
        (json!({}), none(), &["Running", "Running deleting"], "wait 5"),
        (json!({}), none(), &["Running", "Running deleting counted"], "create 1"),
        (json!({"podReplacementPolicy": "Failed"}), none(), &["Running", "Running deleting"], "keep"),
        (json!({"podFailurePolicy": {"rules": []}}), none(), &["Running", "Running deleting"], "keep"),
    ]);
}

#[test]
fn failures_and_ends() {
    let rule = |action: &str| json!({"rules": [{"action": action, "onExitCodes": {"operator": "In", "values": [42]}}]});
    let evicted =
        json!({"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]});
    let condition = |kind: &str, reason: &str| json!({"conditions": [{"type": kind, "status": "True", "reason": reason, "message": "m"}]});
    check(&[
        (json!({"backoffLimit": 0}), json!({}), &["Failed"], "FailureTarget: BackoffLimitExceeded"),
        (json!({"backoffLimit": 1}), json!({}), &["Failed @500"], "create 2"),
        (json!({"backoffLimit": 1}), json!({"failed": 1}), &["Failed"], "FailureTarget: BackoffLimitExceeded"),
        (json!({"backoffLimit": 1}), json!({"failed": 1}), &["Failed counted"], "create 2"),
        (json!({"backoffLimit": 1}), json!({"uncountedTerminatedPods": {"failed": ["p0"]}}), &["Failed"], "create 2"),
        (json!({"backoffLimit": 0, "podReplacementPolicy": "Failed"}), json!({}), &["Running deleting"], "create 1"),
        (json!({"backoffLimit": 0}), json!({}), &["Running deleting"], "FailureTarget: BackoffLimitExceeded"),
        (json!({"backoffLimit": 0, "podFailurePolicy": rule("Ignore")}), json!({}), &["Failed =42"], "create 2"),
        (
            json!({"backoffLimit": 0, "podFailurePolicy": rule("Ignore")}),
            json!({}),
            &["Failed =1"],
            "FailureTarget: BackoffLimitExceeded",
        ),
        (
            json!({"podFailurePolicy": rule("FailJob")}),
            json!({}),
            &["Running", "Failed =42"],
            "FailureTarget: PodFailurePolicy",
        ),
        (json!({"podFailurePolicy": rule("FailJob")}), json!({}), &["Running", "Failed =1 @500"], "create 1"),
        (
            json!({"backoffLimit": 0, "podFailurePolicy": evicted}),
            json!({}),
            &["Failed DisruptionTarget @500"],
            "create 2",
        ),
        (json!({"activeDeadlineSeconds": 60}), json!({"startTime": ago(59)}), &[], "create 2"),
        (
            json!({"activeDeadlineSeconds": 60}),
            json!({"startTime": ago(60)}),
            &["Running"],
            "FailureTarget: DeadlineExceeded",
        ),
        (json!({"activeDeadlineSeconds": 60, "suspend": true}), json!({"startTime": ago(60)}), &[], "keep"),
        (json!({}), condition("FailureTarget", "DeadlineExceeded"), &["Running"], "Failed: DeadlineExceeded"),
        (json!({}), condition("SuccessCriteriaMet", "SuccessPolicy"), &["Failed"], "SuccessCriteriaMet: SuccessPolicy"),
    ]);
}

#[test]
fn indexes_get_their_pods() {
    let indexed = |more: Value| {
        let mut spec = json!({"completionMode": "Indexed", "completions": 5, "parallelism": 3});
        super::merge(&mut spec, more);
        spec
    };
    let limit = |most: i32| indexed(json!({"backoffLimitPerIndex": most, "backoffLimit": 100}));
    check(&[
        (indexed(json!({})), json!({}), &[], "create [0, 1, 2]"),
        (indexed(json!({})), json!({"completedIndexes": "0-2"}), &[], "create [3, 4]"),
        (indexed(json!({})), json!({"completedIndexes": "1"}), &["Running #0", "Succeeded #2"], "create [3, 4]"),
        (indexed(json!({})), json!({}), &["Running #0", "Running ready #0", "Running #1"], "remove p0"),
        (indexed(json!({})), json!({}), &["Running #7", "Running #1", "Running #2"], "remove p0"),
        (indexed(json!({})), json!({}), &["Running", "Running #1", "Running #2"], "remove p0"),
        (
            indexed(json!({"podReplacementPolicy": "Failed", "parallelism": 5})),
            json!({}),
            &["Running deleting #0"],
            "create [1, 2, 3, 4]",
        ),
        (limit(1), json!({}), &["Failed #0 @1000", "Running #1"], "create [0, 2]"),
        (limit(1), json!({}), &["Failed #0 @4", "Running #1"], "create [2]"),
        (limit(1), json!({"completedIndexes": "2-4"}), &["Failed #0 @4", "Running #1"], "wait 6"),
        (limit(9), json!({"completedIndexes": "2-4"}), &["Failed #0 !2 @4", "Running #1"], "wait 36"),
        (limit(9), json!({"completedIndexes": "2-4"}), &["Failed #0 !2 ?1 @4", "Running #1"], "wait 76"),
        (limit(1), json!({}), &["Failed #0 !1", "Running #1"], "create [2, 3]"),
        (
            limit(0),
            json!({"failedIndexes": "0"}),
            &["Failed #1", "Failed #2", "Failed #3", "Failed #4"],
            "FailureTarget: FailedIndexes",
        ),
        (limit(0), json!({"failedIndexes": "0", "completedIndexes": "1-4"}), &[], "FailureTarget: FailedIndexes"),
        (
            indexed(json!({"backoffLimitPerIndex": 0, "maxFailedIndexes": 0})),
            json!({}),
            &["Failed #1"],
            "FailureTarget: MaxFailedIndexesExceeded",
        ),
        (
            indexed(json!({"backoffLimitPerIndex": 0, "maxFailedIndexes": 1})),
            json!({}),
            &["Failed #1"],
            "create [0, 2, 3]",
        ),
        (
            indexed(json!({"backoffLimitPerIndex": 5, "podFailurePolicy": {"rules": [
            {"action": "FailIndex", "onExitCodes": {"operator": "NotIn", "values": [1]}}]}})),
            json!({}),
            &["Failed #0 =3", "Running #1"],
            "create [2, 3]",
        ),
        (
            indexed(json!({"successPolicy": {"rules": [{"succeededIndexes": "0,2"}]}})),
            json!({}),
            &["Succeeded #0", "Running #1", "Running #2"],
            "create [3]",
        ),
        (
            indexed(json!({"successPolicy": {"rules": [{"succeededIndexes": "0,2"}]}})),
            json!({"completedIndexes": "2"}),
            &["Succeeded #0", "Running #1"],
            "SuccessCriteriaMet: SuccessPolicy",
        ),
        (
            indexed(json!({"successPolicy": {"rules": [{"succeededIndexes": "0-4", "succeededCount": 1}]}})),
            json!({"completedIndexes": "2"}),
            &[],
            "SuccessCriteriaMet: SuccessPolicy",
        ),
        (
            indexed(json!({"successPolicy": {"rules": [{"succeededCount": 2}]}})),
            json!({"completedIndexes": "2"}),
            &[],
            "create [0, 1, 3]",
        ),
        (
            indexed(json!({"successPolicy": {"rules": [{"succeededCount": 2}]}})),
            json!({"completedIndexes": "2,4"}),
            &[],
            "SuccessCriteriaMet: SuccessPolicy",
        ),
    ]);
}

#[test]
fn messages_are_upstreams() {
    let message = |spec: Value, pods: &[&str]| {
        decide(&observe(input(job(spec, json!({})), pods)).unwrap()).end.unwrap().message.unwrap()
    };
    let rule = json!({"action": "FailJob", "onExitCodes": {"containerName": "c", "operator": "In", "values": [3, 42]}});
    let first = json!({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]});
    assert_eq!(
        message(json!({"podFailurePolicy": {"rules": [first, rule]}}), &["Failed =42"]),
        "Container c for pod n/p0 failed with exit code 42 matching FailJob rule at index 1"
    );
    let rule = json!({"action": "FailJob", "onPodConditions": [{"type": "ConfigIssue", "status": "True"}]});
    assert_eq!(
        message(json!({"podFailurePolicy": {"rules": [rule]}}), &["Failed ConfigIssue"]),
        "Pod n/p0 has condition ConfigIssue matching FailJob rule at index 0"
    );
    let policy = json!({"completionMode": "Indexed", "successPolicy": {"rules": [{"succeededCount": 3}, {"succeededIndexes": "1"}]}});
    assert_eq!(message(policy, &["Succeeded #1"]), "Matched rules at index 1");
}

#[test]
fn back_off_doubles_since_the_last_success() {
    let ended = |words: &[&str]| words.iter().map(|w| pod("p", w)).collect::<Vec<_>>();
    type Row = (Record, &'static [&'static str], &'static [&'static str], u32, u64);
    let rows: [Row; 7] = [
        (Record::default(), &[], &["Failed @3"], 1, 7),
        (Record::default(), &[], &["Failed @3", "Failed @5"], 2, 17),
        (Record { failures: 2, last: None }, &[], &["Failed @3"], 3, 37),
        (Record { failures: 40, last: None }, &[], &["Failed @3"], 41, 597),
        (Record { failures: 2, last: Some(now()) }, &["Succeeded @1"], &[], 0, 0),
        (Record { failures: 2, last: Some(now()) }, &["Succeeded @4"], &["Failed @3", "Failed @5"], 1, 7),
        (Record { failures: 1, last: Some(now()) }, &[], &[], 1, 10),
    ];
    for (i, (before, succeeded, failed, failures, wait)) in rows.into_iter().enumerate() {
        let after = before.after(&ended(succeeded), &ended(failed));
        assert_eq!((after.failures, after.wait(now())), (failures, Duration::from_secs(wait)), "row {i}");
    }
}

#[test]
fn what_is_counted_when() {
    let observed = observe(input(
        job(
            json!({}),
            json!({"succeeded": 1, "uncountedTerminatedPods": {"succeeded": ["gone", "p0"], "failed": ["p3"]}}),
        ),
        &["Succeeded", "Succeeded", "Failed", "Failed", "Running", "Succeeded counted"],
    ))
    .unwrap();
    let mut tracking = track::begin(&observed, observed.status.clone(), false, None);
    let lists = |status: &JobStatus| {
        let lists = status.uncounted_terminated_pods.clone().unwrap();
        (lists.succeeded.unwrap_or_default().join(" "), lists.failed.unwrap_or_default().join(" "))
    };
    assert!(tracking.changed);
    assert_eq!(lists(&tracking.status), ("p0 p1".into(), "p3 p2".into()));
    assert_eq!((tracking.status.succeeded, tracking.status.failed), (Some(2), None), "one that is gone is counted");
    let names: Vec<_> = tracking.remove_finalizers.iter().map(|p| p.name_any()).collect();
    assert_eq!(names, ["p0", "p1", "p2", "p3"]);
    let removed = HashSet::from(["p0".to_string(), "p2".to_string()]);
    assert_eq!(track::settle(&mut tracking, &removed, false), (true, None));
    assert_eq!(lists(&tracking.status), ("p1".into(), "p3".into()));
    assert_eq!((tracking.status.succeeded, tracking.status.failed), (Some(3), Some(1)));
}

#[test]
fn pods_know_their_index() {
    let job = job(json!({"completionMode": "Indexed", "backoffLimitPerIndex": 3}), json!({}));
    let spec = job.spec.as_ref().unwrap();
    let made = pods::for_index(&job, spec, 3, Some(&pod("before", "Failed #3 !1")));
    assert_eq!(made.metadata.generate_name.as_deref(), Some("j-3-"));
    assert_eq!(made.annotations()["batch.kubernetes.io/job-completion-index"], "3");
    assert_eq!(made.annotations()["batch.kubernetes.io/job-index-failure-count"], "2");
    assert_eq!(made.labels()["batch.kubernetes.io/job-completion-index"], "3");
    assert!(facts::is_tracked(&made.clone().into()));
    let pod_spec = made.spec.as_ref().unwrap();
    assert_eq!(pod_spec.hostname.as_deref(), Some("j-3"));
    let env = pod_spec.containers[0].env.as_ref().unwrap();
    let path = &env[0].value_from.as_ref().unwrap().field_ref.as_ref().unwrap().field_path;
    assert_eq!(
        (env[0].name.as_str(), path.as_str()),
        ("JOB_COMPLETION_INDEX", "metadata.labels['batch.kubernetes.io/job-completion-index']")
    );
    let mut long = job.clone();
    long.metadata.name = Some("x".repeat(63));
    let name = pods::for_index(&long, spec, 12, None).metadata.generate_name.unwrap();
    assert_eq!((name.len(), name.ends_with("x-12-")), (58, true));
}
