//! Tables for the rollout: state in, sizes and conditions out.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use serde_json::{Value, json};

use super::facts;
use super::plan::{Plan, RunningPods, Write, plan};
use crate::common::template;

const NOW: i64 = 2_000_000_000;
const QUIET: RunningPods = RunningPods { replica_sets: Vec::new() };

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn ago(seconds: i64) -> String {
    Timestamp::from_second(NOW - seconds).unwrap().to_string()
}

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}})
}

fn deployment(replicas: i32, strategy: Value) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "n", "uid": "d", "generation": 1},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template("new"),
            "strategy": strategy, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 2},
    }))
    .unwrap()
}

fn rolling(surge: impl Into<Value>, unavailable: impl Into<Value>) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge.into(), "maxUnavailable": unavailable.into()}})
}

/// A ReplicaSet named after its image; `max` is the max-replicas annotation, `revision` the age too.
fn set(image: &str, size: i32, available: i32, revision: i64, desired: i32, max: i32) -> ReplicaSet {
    serde_json::from_value(json!({
        "metadata": {"name": image, "namespace": "n", "uid": image, "generation": 1, "creationTimestamp": ago(10_000 - revision),
            "annotations": {"deployment.kubernetes.io/revision": revision.to_string(),
                "deployment.kubernetes.io/desired-replicas": desired.to_string(),
                "deployment.kubernetes.io/max-replicas": max.to_string()},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d", "controller": true}]},
        "spec": {"replicas": size, "selector": {}, "template": template(image)},
        "status": {"replicas": size, "availableReplicas": available, "readyReplicas": available, "observedGeneration": 1,
            "terminatingReplicas": 0},
    }))
    .unwrap()
}

/// The sizes that the plan changes, by name.
fn sizes(plan: &Plan) -> Vec<(String, i32)> {
    plan.writes
        .iter()
        .filter_map(|w| match w {
            Write::Create(rs) => Some(("created".to_string(), facts::replicas(rs))),
            Write::Update { replica_set: rs, scaled: Some(s) } => Some((rs.metadata.name.clone().unwrap(), s.to)),
            _ => None,
        })
        .collect()
}

fn check(name: &str, d: &Deployment, sets: &[ReplicaSet], want: &[(&str, i32)]) {
    let got = sizes(&plan(d, sets, &QUIET, now()));
    let got: Vec<(&str, i32)> = got.iter().map(|(n, s)| (n.as_str(), *s)).collect();
    assert_eq!(got, want, "{name}");
}

#[test]
fn rolling_update_steps() {
    let d = |n| deployment(n, rolling("25%", "25%"));
    check("first", &d(3), &[], &[("created", 3)]);
    check("change of template", &d(3), &[set("old", 3, 3, 1, 3, 4)], &[("created", 1)]);
    check("waiting for the new pod", &d(3), &[set("old", 3, 3, 1, 3, 4), set("new", 1, 0, 2, 3, 4)], &[]);
    check("new is available", &d(3), &[set("old", 3, 3, 1, 3, 4), set("new", 1, 1, 2, 3, 4)], &[("old", 2)]);
    check("room again", &d(3), &[set("old", 2, 2, 1, 3, 4), set("new", 1, 1, 2, 3, 4)], &[("new", 2)]);
    check(
        "unhealthy old pods go at once",
        &d(10),
        &[set("old", 8, 4, 1, 10, 13), set("new", 5, 5, 2, 10, 13)],
        &[("old", 3)],
    );
    check(
        "rolled over in the middle",
        &d(10),
        &[set("a", 8, 8, 1, 10, 13), set("b", 5, 0, 2, 10, 13)],
        &[("b", 0), ("created", 0)],
    );
    check("no surge", &deployment(3, rolling(0, 1)), &[set("old", 3, 3, 1, 3, 3)], &[("old", 2), ("created", 0)]);
    check("done", &d(3), &[set("old", 0, 0, 1, 3, 4), set("new", 3, 3, 2, 3, 4)], &[]);
}

/// Rolled back and forth within a moment: the new ReplicaSet went to nothing and is asked for again.
#[test]
fn a_status_of_another_size_pushes_nobody_out() {
    let d = deployment(2, rolling(2, 0));
    let (old, mut new) = (set("old", 2, 2, 1, 2, 4), set("new", 2, 2, 2, 2, 4));
    check("told of", &d, &[old.clone(), new.clone()], &[("old", 0)]);
    new.metadata.generation = Some(3);
    check("of two sizes before", &d, &[old, new], &[]);
}

#[test]
fn recreate_waits_for_the_last_old_pod() {
    let d = deployment(3, json!({"type": "Recreate"}));
    check("old go first", &d, &[set("old", 3, 3, 1, 3, 3)], &[("old", 0)]);
    let drained = [set("old", 0, 0, 1, 3, 3)];
    check("then new", &d, &drained, &[("created", 3)]);
    let running = RunningPods { replica_sets: vec!["old".into()] };
    assert_eq!(sizes(&plan(&d, &drained, &running, now())), []);
}

#[test]
fn scaling() {
    let d = |n| deployment(n, rolling("25%", "25%"));
    check("one active", &d(5), &[set("new", 3, 3, 1, 3, 4)], &[("new", 5)]);
    check("to zero", &d(0), &[set("new", 3, 3, 1, 3, 4)], &[("new", 0)]);
    // The documented example: 10 -> 15 with surge 3 and unavailable 2, 8 old and 5 new pods.
    let d15 = deployment(15, rolling(3, 2));
    check(
        "in the middle",
        &d15,
        &[set("old", 8, 8, 1, 10, 13), set("new", 5, 0, 2, 10, 13)],
        &[("old", 11), ("new", 7)],
    );
    let d4 = deployment(4, rolling(0, 1));
    check(
        "down in the middle",
        &d4,
        &[set("old", 5, 5, 1, 10, 10), set("new", 5, 5, 2, 10, 10)],
        &[("old", 2), ("new", 2)],
    );
    let mut paused = deployment(6, rolling(1, 1));
    paused.spec.as_mut().unwrap().paused = Some(true);
    check("paused scales", &paused, &[set("old", 3, 3, 1, 3, 4)], &[("old", 6)]);
    check("paused does not roll", &paused, &[set("old", 6, 6, 1, 6, 7)], &[]);
}

fn progressing(plan: &Plan) -> Option<(String, String)> {
    let status = plan.status.as_ref()?.status.as_ref()?;
    let c = status.conditions.as_ref()?.iter().find(|c| c.type_ == "Progressing")?;
    Some((c.reason.clone()?, c.message.clone()?))
}

fn reason(plan: &Plan) -> String {
    progressing(plan).map(|p| p.0).unwrap_or_default()
}

#[test]
fn progress_is_told() {
    let mut d = deployment(2, rolling(1, 0));
    let first = plan(&d, &[], &QUIET, now());
    assert_eq!(reason(&first), "NewReplicaSetCreated");
    let Write::Create(rs) = &first.writes[0] else { panic!("no create") };
    let hash = template::hash(&d.spec.as_ref().unwrap().template, None);
    assert_eq!(rs.metadata.name.as_deref(), Some(format!("web-{hash}").as_str()));
    assert_eq!(rs.spec.as_ref().unwrap().selector.match_labels.as_ref().unwrap()["pod-template-hash"], hash);

    d = first.status.unwrap();
    assert_eq!(d.metadata.annotations.as_ref().unwrap()["deployment.kubernetes.io/revision"], "1");
    let half = plan(&d, &[set("new", 2, 1, 1, 2, 3)], &QUIET, now());
    assert_eq!(progressing(&half).unwrap(), ("ReplicaSetUpdated".into(), "ReplicaSet \"new\" is progressing.".into()));
    d = half.status.unwrap();
    let again = plan(&d, &[set("new", 2, 1, 1, 2, 3)], &QUIET, now());
    assert_eq!(again.status, None, "nothing new to say");
    assert_eq!(again.recheck.unwrap().as_secs(), 601);
    let late = plan(&d, &[set("new", 2, 1, 1, 2, 3)], &QUIET, Timestamp::from_second(NOW + 602).unwrap());
    assert_eq!(progressing(&late).unwrap().1, "ReplicaSet \"new\" has timed out progressing.");
    d = late.status.unwrap();
    let done = plan(&d, &[set("new", 2, 2, 1, 2, 3)], &QUIET, now());
    assert_eq!(progressing(&done).unwrap().1, "ReplicaSet \"new\" has successfully progressed.");
    let status = done.status.unwrap().status.unwrap();
    assert_eq!((status.replicas, status.updated_replicas, status.available_replicas), (Some(2), Some(2), Some(2)));
    assert_eq!((status.unavailable_replicas, status.observed_generation), (None, Some(1)));
    assert_eq!(status.conditions.unwrap().iter().find(|c| c.type_ == "Available").unwrap().status, "True");
}

#[test]
fn pause_and_resume() {
    let mut d = deployment(1, rolling(1, 0));
    d.spec.as_mut().unwrap().paused = Some(true);
    let sets = [set("new", 1, 0, 1, 1, 2)];
    d = plan(&d, &sets, &QUIET, now()).status.unwrap();
    let c = d.status.clone().unwrap().conditions.unwrap();
    assert_eq!(c.iter().find(|c| c.type_ == "Progressing").unwrap().reason.as_deref(), Some("DeploymentPaused"));
    d.spec.as_mut().unwrap().paused = Some(false);
    assert_eq!(reason(&plan(&d, &sets, &QUIET, now())), "DeploymentResumed");
}

#[test]
fn rollback_raises_the_revision_and_keeps_the_history() {
    let d = deployment(3, rolling(1, 0));
    let step = plan(&d, &[set("new", 0, 0, 1, 3, 4), set("old", 3, 3, 4, 3, 4)], &QUIET, now());
    let Write::Update { replica_set, .. } = &step.writes[0] else { panic!("no update") };
    let annotations = replica_set.metadata.annotations.as_ref().unwrap();
    assert_eq!(annotations["deployment.kubernetes.io/revision"], "5");
    assert_eq!(annotations["deployment.kubernetes.io/revision-history"], "1");
    let d = step.status.unwrap();
    assert_eq!(d.metadata.annotations.unwrap()["deployment.kubernetes.io/revision"], "5");
}

#[test]
fn history_limit_deletes_the_lowest_revisions() {
    let mut d = deployment(1, rolling(1, 0));
    let sets = [
        set("a", 0, 0, 1, 1, 2),
        set("b", 0, 0, 2, 1, 2),
        set("c", 0, 0, 3, 1, 2),
        set("e", 0, 0, 4, 1, 2),
        set("new", 1, 1, 5, 1, 2),
    ];
    d = plan(&d, &sets, &QUIET, now()).status.unwrap();
    let deleted: Vec<_> = plan(&d, &sets, &QUIET, now())
        .writes
        .into_iter()
        .filter_map(|w| if let Write::Delete(rs) = w { rs.metadata.name } else { None })
        .collect();
    assert_eq!(deleted, ["a", "b"]);
}
