//! Tables for the ReplicaSet's core.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use serde_json::json;

use super::plan::{BURST, Change, change, next_check, status};
use crate::common::pod::Pod;

fn now() -> Timestamp {
    Timestamp::from_second(2_000_000_000).unwrap()
}

fn set(replicas: i32, min_ready_seconds: i32) -> ReplicaSet {
    serde_json::from_value(json!({"metadata": {"name": "web", "generation": 4},
        "spec": {"replicas": replicas, "minReadySeconds": min_ready_seconds, "selector": {},
            "template": {"metadata": {"labels": {"app": "web"}}}}}))
    .unwrap()
}

fn pod(name: &str, ready_for_seconds: Option<i64>) -> Arc<Pod> {
    let since = Timestamp::from_second(now().as_second() - ready_for_seconds.unwrap_or(0)).unwrap();
    let ready = if ready_for_seconds.is_some() { "True" } else { "False" };
    let value = json!({"metadata": {"name": name, "labels": {"app": "web"}},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": since.to_string()}]}});
    Arc::new(serde_json::from_value(value).unwrap())
}

#[test]
fn changes() {
    let pods = |n: usize| (0..n).map(|i| pod(&i.to_string(), Some(5))).collect::<Vec<_>>();
    assert_eq!(change(&set(3, 0), &pods(3), Vec::new, now()), Change::None);
    assert_eq!(change(&set(3, 0), &pods(1), Vec::new, now()), Change::Create(2));
    assert_eq!(change(&set(2000, 0), &[], Vec::new, now()), Change::Create(BURST));
    let mixed = [pod("ready", Some(5)), pod("not", None)];
    assert_eq!(change(&set(1, 0), &mixed, Vec::new, now()), Change::Delete(vec![mixed[1].clone()]));
    assert_eq!(change(&set(0, 0), &mixed, Vec::new, now()), Change::Delete(mixed.to_vec()));
}

#[test]
fn status_counts() {
    let pods = [pod("old", Some(60)), pod("young", Some(4)), pod("not", None)];
    let got = status(&set(3, 10), &pods, 2, None, now());
    assert_eq!((got.replicas, got.ready_replicas, got.available_replicas), (3, Some(2), Some(1)));
    assert_eq!(
        (got.fully_labeled_replicas, got.terminating_replicas, got.observed_generation),
        (Some(3), Some(2), Some(4))
    );
    assert_eq!(next_check(&set(3, 10), &pods, now()), Some(Duration::from_secs(6)));
    assert_eq!(next_check(&set(3, 0), &pods, now()), None);
}

#[test]
fn a_failure_comes_and_goes() {
    let mut rs = set(2, 0);
    rs.status = Some(status(&rs, &[], 0, Some("no quota".into()), now()));
    let condition = rs.status.as_ref().unwrap().conditions.as_ref().unwrap()[0].clone();
    assert_eq!((condition.type_.as_str(), condition.reason.as_deref()), ("ReplicaFailure", Some("FailedCreate")));
    assert_eq!(condition.message.as_deref(), Some("no quota"));
    let again = status(&rs, &[], 0, Some("other words".into()), now());
    assert_eq!(again.conditions.unwrap()[0].message.as_deref(), Some("no quota"));
    assert_eq!(status(&rs, &[], 0, None, now()).conditions, None);
}
