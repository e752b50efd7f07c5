//! Tables for the StatefulSet's core.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{self as api, PersistentVolumeClaim, PodTemplateSpec};
use serde_json::{Value, json};

use super::plan::{Plan, Revision, Step, World, plan};
use super::{identity, retention, status};
use crate::common::pod::Pod;

fn now() -> Timestamp {
    Timestamp::from_second(2_000_000_000).unwrap()
}

fn set(spec: Value) -> StatefulSet {
    let mut all = json!({"replicas": 3, "serviceName": "svc", "selector": {"matchLabels": {"app": "web"}},
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}}});
    for (key, value) in spec.as_object().unwrap() {
        all[key] = value.clone();
    }
    serde_json::from_value(
        json!({"metadata": {"name": "web", "namespace": "n", "uid": "s", "generation": 2}, "spec": all}),
    )
    .unwrap()
}

fn template(name: &str) -> PodTemplateSpec {
    serde_json::from_value(json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": name}]}}))
        .unwrap()
}

/// `web-0:new:ready`, with `ready`, `pending`, `running` (not ready), `going`, `Failed`, `Succeeded`.
fn pod(text: &str) -> Arc<Pod> {
    let parts: Vec<&str> = text.split(':').collect();
    let (name, revision, how) = (parts[0], parts[1], parts[2]);
    let ready = if ["ready", "going"].contains(&how) { "True" } else { "False" };
    let phase = match how {
        "Failed" | "Succeeded" => how,
        "pending" => "Pending",
        _ => "Running",
    };
    let mut pod = json!({"metadata": {"name": name, "namespace": "n", "uid": format!("uid-{name}"), "labels": {"app": "web",
            "controller-revision-hash": revision, "statefulset.kubernetes.io/pod-name": name}},
        "spec": {"containers": [], "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": format!("data-{name}")}}]},
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
    if how == "going" {
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn decide(set: &StatefulSet, pods: &[&str], claim: &dyn Fn(&str) -> Option<Arc<PersistentVolumeClaim>>) -> Plan {
    let (current, update) = (
        Revision { name: "old".into(), template: template("old") },
        Revision { name: "new".into(), template: template("new") },
    );
    let pods: Vec<_> = pods.iter().map(|text| pod(text)).collect();
    plan(&World { set, current: &current, update: &update, collision_count: 0, pods: &pods, claim, now: now() })
}

fn words(plan: &Plan) -> Vec<String> {
    let name = |pod: &Pod| pod.metadata.name.clone().unwrap();
    let made = |pod: &api::Pod| Pod::from(pod.clone());
    let word = |step: &Step| match step {
        Step::Create(pod) => format!("+{}:{}", name(&made(pod)), identity::revision_of(&made(pod))),
        Step::Delete(pod) => format!("-{}", name(pod)),
        Step::CreateClaims(pod) => format!("claims {}", name(pod)),
        Step::Repair(pod) => format!("repair {}", name(pod)),
        Step::RepairClaims(pod) => format!("own {}", name(pod)),
    };
    plan.steps.iter().map(word).collect()
}

#[track_caller]
fn check(spec: Value, pods: &[&str], want: &[&str]) {
    let got = decide(&set(spec.clone()), pods, &|_| None);
    assert_eq!(words(&got), want, "{spec} {pods:?}");
}

#[test]
fn ordered_sets_go_one_by_one() {
    let plain = || json!({});
    check(plain(), &[], &["+web-0:new"]);
    check(plain(), &["web-0:new:pending"], &[]);
    check(plain(), &["web-0:new:running"], &[]);
    check(plain(), &["web-0:new:ready"], &["+web-1:new"]);
    check(plain(), &["web-0:new:ready", "web-2:new:ready"], &["+web-1:new"]);
    check(plain(), &["web-0:new:Failed", "web-1:new:ready"], &["-web-0"]);
    check(plain(), &["web-0:new:Succeeded"], &["-web-0"]);
    check(plain(), &["web-0:new:going"], &[]);
    check(plain(), &["web-0:new:ready", "web-1:new:ready", "web-2:new:ready"], &[]);
    check(json!({"ordinals": {"start": 5}}), &["web-5:new:ready"], &["+web-6:new"]);
    check(json!({"ordinals": {"start": 1}, "replicas": 1}), &["web-0:new:ready", "web-1:new:ready"], &["-web-0"]);
    check(json!({"replicas": 0}), &[], &[]);
}

#[test]
fn ordered_sets_shrink_from_the_top() {
    let one = || json!({"replicas": 1});
    check(one(), &["web-0:new:ready", "web-1:new:ready", "web-2:new:ready"], &["-web-2"]);
    check(one(), &["web-0:new:ready", "web-1:new:ready", "web-2:new:going"], &[]);
    check(one(), &["web-0:new:running", "web-1:new:ready", "web-2:new:ready"], &[]);
    // An unhealthy one in the middle holds the top one only if that is unhealthy too.
    check(one(), &["web-0:new:ready", "web-1:new:running", "web-2:new:ready"], &["-web-2"]);
    check(one(), &["web-0:new:ready", "web-1:new:running", "web-2:new:running"], &[]);
    check(one(), &["web-0:new:ready", "web-1:new:running"], &["-web-1"]);
}

#[test]
fn parallel_sets_go_at_once() {
    let parallel = |replicas: i32| json!({"podManagementPolicy": "Parallel", "replicas": replicas});
    check(parallel(3), &[], &["+web-0:new", "+web-1:new", "+web-2:new"]);
    check(parallel(3), &["web-1:new:running"], &["+web-0:new", "+web-2:new"]);
    check(parallel(3), &["web-0:new:Failed", "web-1:new:going", "web-2:new:ready"], &["-web-0"]);
    check(parallel(1), &["web-0:new:running", "web-1:new:running", "web-2:new:ready"], &["-web-2", "-web-1"]);
    check(parallel(1), &["web-0:new:ready", "web-1:new:going", "web-2:new:ready"], &["-web-2"]);
}

#[test]
fn updates_go_from_the_top_down_to_the_partition() {
    let strategy = |rolling: Value| json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling}});
    let old = ["web-0:old:ready", "web-1:old:ready", "web-2:old:ready"];
    check(strategy(json!({"partition": 0})), &old, &["-web-2"]);
    check(strategy(json!({"partition": 2})), &["web-0:old:ready", "web-1:old:ready", "web-2:new:ready"], &[]);
    check(strategy(json!({"partition": 3})), &old, &[]);
    check(strategy(json!({"partition": 0})), &["web-0:old:ready", "web-1:old:ready", "web-2:new:ready"], &["-web-1"]);
    // A pod below the partition comes back as it was.
    check(strategy(json!({"partition": 2})), &["web-1:old:ready", "web-2:new:ready"], &["+web-0:old"]);
    check(strategy(json!({"partition": 2})), &["web-0:old:ready", "web-1:old:ready"], &["+web-2:new"]);
    check(json!({"updateStrategy": {"type": "OnDelete"}}), &old, &[]);
    check(json!({"updateStrategy": {"type": "OnDelete"}}), &old[1..], &["+web-0:new"]);
}

#[test]
fn several_may_be_missing_when_allowed() {
    let strategy = |limit: Value, partition: i32| {
        json!({"podManagementPolicy": "Parallel", "replicas": 4,
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": partition, "maxUnavailable": limit}}})
    };
    let old = ["web-0:old:ready", "web-1:old:ready", "web-2:old:ready", "web-3:old:ready"];
    check(strategy(json!(2), 0), &old, &["-web-3", "-web-2"]);
    check(strategy(json!("75%"), 0), &old, &["-web-3", "-web-2", "-web-1"]);
    check(strategy(json!("10%"), 0), &old, &["-web-3"]);
    check(strategy(json!(3), 2), &old, &["-web-3", "-web-2"]);
    check(strategy(json!(2), 0), &[old[0], old[1], old[2], "web-3:new:running"], &["-web-2"]);
    check(strategy(json!(2), 0), &[old[0], old[1], "web-2:new:running", "web-3:new:running"], &[]);
}

#[test]
fn a_set_that_goes_is_only_counted() {
    let mut going = set(json!({}));
    going.metadata.deletion_timestamp = Some(crate::common::time(now()));
    let got = decide(&going, &["web-0:new:Failed"], &|_| None);
    assert!(got.steps.is_empty());
    assert_eq!(got.status.replicas, 1);
}

#[test]
fn the_pod_of_an_ordinal() {
    let templates = json!([{"metadata": {"name": "data", "labels": {"a": "b"}}, "spec": {}}]);
    let set = set(json!({"volumeClaimTemplates": templates}));
    let mut from = template("c");
    from.spec.as_mut().unwrap().volumes = Some(
        serde_json::from_value(json!([{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}])).unwrap(),
    );
    let pod = identity::new_pod(&set, &from, "web-abc", 7);
    let seen = Pod::from(pod.clone());
    assert!(identity::identity_matches(&set, &seen) && identity::storage_matches(&set, &seen));
    let value = serde_json::to_value(&pod).unwrap();
    assert_eq!(value["metadata"]["name"], "web-7");
    assert_eq!(value["metadata"]["generateName"], "web-");
    assert_eq!(
        value["metadata"]["labels"],
        json!({"app": "web", "apps.kubernetes.io/pod-index": "7", "controller-revision-hash": "web-abc", "statefulset.kubernetes.io/pod-name": "web-7"})
    );
    assert_eq!((&value["spec"]["hostname"], &value["spec"]["subdomain"]), (&json!("web-7"), &json!("svc")));
    assert_eq!(
        value["spec"]["volumes"],
        json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data-web-7"}}, {"name": "tmp", "emptyDir": {}}])
    );
    let claim = serde_json::to_value(&identity::claims(&set, 7)[0]).unwrap();
    assert_eq!(claim["metadata"], json!({"name": "data-web-7", "namespace": "n", "labels": {"a": "b", "app": "web"}}));
}

#[test]
fn names_and_ordinals() {
    let set = set(json!({}));
    for (name, ordinal, member) in [
        ("web-0", Some(0), true),
        ("web-12", Some(12), true),
        ("web-x", None, false),
        ("web-", None, false),
        ("db-0", Some(0), false),
        ("a-web-0", Some(0), false),
        ("web-99999999999", None, false),
    ] {
        let pod = pod(&format!("{name}:new:ready"));
        assert_eq!((identity::ordinal(&pod), identity::is_member(&set, &pod)), (ordinal, member), "{name}");
    }
}

#[test]
fn counted() {
    let set = set(json!({"minReadySeconds": 10}));
    let got = decide(&set, &["web-0:old:ready", "web-1:new:running", "web-2:new:going"], &|_| None).status;
    assert_eq!((got.replicas, got.ready_replicas, got.available_replicas), (3, Some(2), Some(2)));
    assert_eq!((got.current_replicas, got.updated_replicas), (Some(1), Some(1)));
    assert_eq!((got.current_revision.as_deref(), got.update_revision.as_deref()), (Some("old"), Some("new")));
    assert!(status::differs(set.status.as_ref(), &got) && !status::differs(Some(&got), &got));
    let done = decide(&set, &["web-0:new:ready", "web-1:new:ready", "web-2:new:ready"], &|_| None).status;
    assert_eq!((done.current_revision.as_deref(), done.current_replicas), (Some("new"), Some(3)));
}

fn with_claims(when_deleted: &str, when_scaled: &str) -> StatefulSet {
    set(json!({"volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}],
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": when_deleted, "whenScaled": when_scaled}}))
}

fn claim(owners: Value) -> PersistentVolumeClaim {
    serde_json::from_value(json!({"metadata": {"name": "data-web-0", "namespace": "n", "ownerReferences": owners}}))
        .unwrap()
}

#[test]
fn claims_get_the_owners_of_their_policy() {
    let of_set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "s", "controller": true, "blockOwnerDeletion": true});
    let of_pod = |n: i32| json!({"apiVersion": "v1", "kind": "Pod", "name": format!("web-{n}"), "uid": format!("uid-web-{n}"), "controller": true, "blockOwnerDeletion": true});
    // Pod 0 is in the set's range, pod 5 is scaled away.
    let rows = [
        ("Retain", "Retain", 0, json!([])),
        ("Retain", "Retain", 5, json!([])),
        ("Delete", "Retain", 0, json!([of_set])),
        ("Delete", "Retain", 5, json!([of_set])),
        ("Retain", "Delete", 0, json!([])),
        ("Retain", "Delete", 5, json!([of_pod(5)])),
        ("Delete", "Delete", 0, json!([of_set])),
        ("Delete", "Delete", 5, json!([of_pod(5)])),
    ];
    for (deleted, scaled, ordinal, want) in rows {
        let (set, pod) = (with_claims(deleted, scaled), pod(&format!("web-{ordinal}:new:ready")));
        for before in [json!([]), json!([of_set]), json!([of_pod(ordinal)]), json!([of_set, of_pod(ordinal)])] {
            let mut claim = claim(before.clone());
            assert_eq!(
                retention::is_up_to_date(&claim, &set, &pod),
                before == want,
                "{deleted} {scaled} {ordinal} {before}"
            );
            retention::update(&mut claim, &set, &pod);
            assert_eq!(serde_json::to_value(claim.metadata.owner_references).unwrap(), want);
        }
    }
}

#[test]
fn claims_of_others_are_left_alone() {
    let (set, pod) = (with_claims("Delete", "Delete"), pod("web-0:new:ready"));
    let stranger = json!({"apiVersion": "v1", "kind": "Other", "name": "x", "uid": "x", "controller": true});
    let former = json!({"apiVersion": "v1", "kind": "Pod", "name": "web-0", "uid": "former", "controller": true});
    let foreign = claim(json!([stranger]));
    assert!(retention::has_conflict(&foreign, &set, &pod) && retention::is_up_to_date(&foreign, &set, &pod));
    let stale = claim(json!([former]));
    assert!(retention::is_up_to_date(&stale, &set, &pod), "the garbage collector's");
    assert!(retention::blocks_creation(&stale, &set, &*pod));
    assert!(!retention::blocks_creation(&stale, &with_claims("Delete", "Retain"), &*pod));
    let stale = Arc::new(stale);
    let waiting = decide(&set, &[], &|_| Some(stale.clone()));
    assert!(waiting.steps.is_empty(), "its predecessor's claim still goes");
}

#[test]
fn claims_are_made_and_mended() {
    let set = with_claims("Delete", "Retain");
    let plain = Arc::new(claim(json!([])));
    assert_eq!(words(&decide(&set, &["web-0:new:pending"], &|_| None)), ["claims web-0"]);
    // Before the pod serves, too: the set may be deleted first.
    assert_eq!(words(&decide(&set, &["web-0:new:pending"], &|_| Some(plain.clone()))), ["claims web-0"]);
    let keep = with_claims("Retain", "Retain");
    assert_eq!(words(&decide(&keep, &["web-0:new:pending"], &|_| Some(plain.clone()))), [""; 0]);
    assert_eq!(words(&decide(&set, &["web-0:new:ready"], &|_| Some(plain.clone()))), ["repair web-0", "+web-1:new"]);
    let all = ["web-0:new:ready", "web-1:new:ready", "web-2:new:ready", "web-3:new:ready"];
    let owned = |name: &str| {
        let of_set =
            json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "s", "controller": true});
        Some(Arc::new(claim(if name == "data-web-3" { json!([]) } else { json!([of_set]) })))
    };
    assert_eq!(words(&decide(&set, &all, &owned)), ["own web-3", "-web-3"]);
}
