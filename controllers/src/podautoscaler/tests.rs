//! Tables for what metrics ask for and what may be had of it.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerSpec;
use serde_json::{Value, json};

use super::calculate::{Basis, Proposal, Readiness, Sample, Samples, Tolerances};
use super::scaling::History;
use crate::common::pod::Pod;

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

/// `what`: a phase, then `unready`, `deleting`, `young` (started a minute ago), each pod asking for 1 CPU.
fn pod(name: &str, what: &str) -> Arc<Pod> {
    let has = |word: &str| what.split(' ').any(|w| w == word);
    let started = if has("young") { 60 } else { 3000 };
    let value = json!({"metadata": {"name": name, "deletionTimestamp": has("deleting").then(|| now().to_string())},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]},
        "status": {"phase": what.split(' ').next(), "startTime": ago(started).to_string(), "conditions": [
            {"type": "Ready", "status": if has("unready") { "False" } else { "True" }, "lastTransitionTime": ago(started - 20).to_string()}]}});
    Arc::new(serde_json::from_value(value).unwrap())
}

fn basis(pods: &[Arc<Pod>], replicas: i32) -> Basis<'_> {
    Basis {
        pods,
        tolerances: Tolerances { down: 0.1, up: 0.1 },
        readiness: Readiness {
            cpu_initialization_period: Duration::from_secs(300),
            initial_readiness_delay: Duration::from_secs(30),
        },
        spec_replicas: replicas,
        status_replicas: replicas,
        now: now(),
    }
}

/// Pods `p0`, `p1`, …; a negative use is none told.
fn world(what: &[&str], uses: &[i64]) -> (Vec<Arc<Pod>>, Samples) {
    let pods = what.iter().enumerate().map(|(i, what)| pod(&format!("p{i}"), what)).collect();
    let sample = |milli| Sample { at: ago(10), window: Duration::from_secs(30), milli };
    let told = uses.iter().enumerate().filter(|(_, use_)| **use_ >= 0);
    (pods, told.map(|(i, use_)| (format!("p{i}"), sample(*use_))).collect())
}

const R: &str = "Running";

#[test]
fn percent_of_requests() {
    // Pods, uses, target, then: replicas, percent, average.
    type Row = (&'static [&'static str], &'static [i64], i32, Result<(i32, i32, i64), &'static str>);
    let rows: [Row; 16] = [
        (&[R, R, R], &[300, 500, 700], 30, Ok((5, 50, 500))),
        (&[R, R, R], &[300, 500, 700], 50, Ok((3, 50, 500))),
        (&[R, R, R], &[500, 500, 500], 46, Ok((3, 50, 500))),
        (&[R, R, R], &[100, 100, 100], 50, Ok((1, 10, 100))),
        (&[R, R, R], &[0, 0, 0], 50, Ok((0, 0, 0))),
        // Missing pods make a change smaller, or none at all.
        (&[R, R, R], &[1000, -1, 1000], 50, Ok((4, 100, 1000))),
        (&[R, R, R], &[600, -1, 600], 50, Ok((3, 60, 600))),
        (&[R, R, R, R], &[100, -1, 100, 100], 50, Ok((3, 10, 100))),
        (&[R, R], &[100, -1], 120, Ok((2, 10, 100))),
        // So do those that are not ready.
        (&[R, "Pending", R], &[1000, 9, 1000], 50, Ok((4, 100, 1000))),
        (&[R, "Running unready young", R], &[1000, 9, 1000], 50, Ok((4, 100, 1000))),
        (&[R, "Running unready", R], &[1000, 1000, 1000], 50, Ok((4, 100, 1000))),
        (&[R, "Failed", R], &[1000, -1, 1000], 50, Ok((4, 100, 1000))),
        (&[R, "Running deleting", R], &[1000, 1000, 1000], 50, Ok((4, 100, 1000))),
        (&["Pending"], &[100], 50, Err("did not receive metrics for targeted pods (pods might be unready)")),
        (&[], &[], 50, Err("no pods returned by selector while calculating replica count")),
    ];
    for (what, uses, target, want) in rows {
        let (pods, samples) = world(what, uses);
        let got = basis(&pods, pods.len() as i32).by_utilization(samples, target, "cpu", "");
        let got = got.map(|p| (p.replicas, p.utilization.unwrap(), p.usage_milli));
        assert_eq!(got, want.map_err(String::from), "{what:?} {uses:?} of {target}");
    }
}

#[test]
fn requests_must_be_known() {
    let (pods, samples) = world(&[R], &[100]);
    let of = |resource: &str, container: &str| basis(&pods, 1).by_utilization(samples.clone(), 50, resource, container);
    assert!(of("memory", "c").is_ok());
    assert_eq!(of("gpu", "").unwrap_err(), "missing request for gpu in container c of Pod p0");
    assert_eq!(of("cpu", "x").unwrap_err(), "container x not found in Pod p0");
}

#[test]
fn averages_and_values() {
    let (pods, samples) = world(&[R, R, R], &[20_000, 10_000, 30_000]);
    let basis = basis(&pods, 3);
    let proposal = |replicas, usage_milli| Proposal { replicas, usage_milli, utilization: None };
    assert_eq!(basis.by_average(samples.clone(), 10_000, ""), Ok(proposal(6, 20_000)));
    assert_eq!(basis.by_average(samples.clone(), 19_000, ""), Ok(proposal(3, 20_000)));
    assert_eq!(basis.by_average(samples, 40_000, ""), Ok(proposal(2, 20_000)));
    assert_eq!(basis.by_value(20_000, 10_000), Ok(proposal(6, 20_000)));
    assert_eq!(basis.by_value(10_500, 10_000), Ok(proposal(3, 10_500)));
    assert_eq!(basis.by_value_per_pod(20_000, 2_000), proposal(10, 6_667));
    assert_eq!(basis.by_value_per_pod(6_000, 2_000), proposal(3, 2_000));
    let none = super::tests::basis(&[], 0);
    assert_eq!(none.by_value(25_000, 10_000), Ok(proposal(3, 25_000)));
    assert_eq!(none.by_value_per_pod(i64::MAX, 1).replicas, i32::MAX);
}

fn spec(min: i32, max: i32, behavior: Value) -> HorizontalPodAutoscalerSpec {
    serde_json::from_value(json!({"minReplicas": min, "maxReplicas": max, "behavior": behavior,
        "scaleTargetRef": {"kind": "Deployment", "name": "d"}}))
    .unwrap()
}

const WINDOW: SignedDuration = SignedDuration::from_secs(300);

#[test]
fn bounds_without_behaviour() {
    // Current, desired, bounds, then: replicas and the reason of the limit.
    let rows = [
        (3, 5, (1, 10), (5, "DesiredWithinRange")),
        (3, 9, (1, 10), (6, "ScaleUpLimit")),
        (1, 9, (1, 10), (4, "ScaleUpLimit")),
        (3, 9, (1, 5), (5, "TooManyReplicas")),
        (3, 1, (2, 5), (2, "TooFewReplicas")),
        (3, 0, (1, 5), (1, "TooFewReplicas")),
    ];
    for (current, desired, (min, max), (replicas, reason)) in rows {
        let got = History::default().allow(&spec(min, max, json!(null)), current, desired, WINDOW, now());
        assert_eq!((got.replicas, got.limit.0, got.limited), (replicas, reason, replicas != desired));
        assert_eq!(got.able.0, "ReadyForNewScale");
    }
}

#[test]
fn going_down_waits() {
    let spec = spec(1, 10, json!(null));
    let mut history = History::default();
    history.begin(5, ago(200));
    let got = history.allow(&spec, 5, 2, WINDOW, now());
    assert_eq!((got.replicas, got.able.0), (5, "ScaleDownStabilized"));
    let got = history.allow(&spec, 5, 2, WINDOW, now() + SignedDuration::from_secs(101));
    assert_eq!((got.replicas, got.able.0), (2, "ReadyForNewScale"));
}

#[test]
fn behaviour_limits_rates() {
    let rules = |policies: Value, select: &str, window: i32| json!({"policies": policies, "selectPolicy": select, "stabilizationWindowSeconds": window});
    let pods = |value: i32, period: i32| json!({"type": "Pods", "value": value, "periodSeconds": period});
    let percent = |value: i32, period: i32| json!({"type": "Percent", "value": value, "periodSeconds": period});
    let up = |policies: Value, select: &str| json!({"scaleUp": rules(policies, select, 0), "scaleDown": rules(json!([percent(100, 15)]), "Max", 0)});
    let down = |policies: Value, select: &str| json!({"scaleUp": rules(json!([pods(4, 15)]), "Max", 0), "scaleDown": rules(policies, select, 0)});
    // Behaviour, current, desired, then: replicas and the reason of the limit.
    let rows = [
        (up(json!([pods(2, 60)]), "Max"), 10, 20, (12, "ScaleUpLimit")),
        (up(json!([pods(2, 60), percent(50, 60)]), "Max"), 10, 20, (15, "ScaleUpLimit")),
        (up(json!([pods(2, 60), percent(50, 60)]), "Min"), 10, 20, (12, "ScaleUpLimit")),
        (up(json!([percent(5, 60)]), "Max"), 10, 20, (11, "ScaleUpLimit")),
        (up(json!([pods(2, 60)]), "Disabled"), 10, 20, (10, "ScaleUpLimit")),
        (up(json!([pods(200, 60)]), "Max"), 10, 200, (100, "TooManyReplicas")),
        (down(json!([pods(2, 60)]), "Max"), 10, 1, (8, "ScaleDownLimit")),
        (down(json!([pods(2, 60), percent(50, 60)]), "Max"), 10, 1, (5, "ScaleDownLimit")),
        (down(json!([pods(2, 60), percent(50, 60)]), "Min"), 10, 1, (8, "ScaleDownLimit")),
        (down(json!([percent(100, 60)]), "Disabled"), 10, 1, (10, "ScaleDownLimit")),
        (down(json!([percent(100, 60)]), "Max"), 10, 1, (2, "TooFewReplicas")),
        (json!({}), 10, 30, (20, "ScaleUpLimit")),
    ];
    for (behavior, current, desired, (replicas, reason)) in rows {
        let got = History::default().allow(&spec(2, 100, behavior.clone()), current, desired, WINDOW, now());
        assert_eq!((got.replicas, got.limit.0), (replicas, reason), "{behavior} {current} → {desired}");
    }
    // What was done within the period counts against it.
    let spec = spec(1, 100, up(json!([pods(4, 60)]), "Max"));
    let mut history = History::default();
    history.scaled(&spec, 10, 13, ago(30));
    assert_eq!(history.allow(&spec, 13, 50, WINDOW, now()).replicas, 14);
    let later = now() + SignedDuration::from_secs(31);
    assert_eq!(history.allow(&spec, 13, 50, WINDOW, later).replicas, 17);
}

#[test]
fn behaviour_stabilises_both_ways() {
    let rules = |window: i32| json!({"policies": [{"type": "Percent", "value": 1000, "periodSeconds": 15}], "stabilizationWindowSeconds": window});
    let spec = spec(1, 100, json!({"scaleUp": rules(60), "scaleDown": rules(120)}));
    let mut history = History::default();
    history.begin(5, ago(50));
    let got = history.allow(&spec, 5, 20, WINDOW, now());
    assert_eq!((got.replicas, got.able.0), (5, "ScaleUpStabilized"));
    let got = history.allow(&spec, 5, 20, WINDOW, now() + SignedDuration::from_secs(11));
    assert_eq!((got.replicas, got.able.0), (20, "ReadyForNewScale"));
    let got = history.allow(&spec, 20, 3, WINDOW, now() + SignedDuration::from_secs(100));
    assert_eq!((got.replicas, got.able.0), (20, "ScaleDownStabilized"));
}

#[test]
fn answers_without_a_status_get_words() {
    let answer = |code: u16, reason: &str, message: &str| kube::core::Status::failure(message, reason).with_code(code);
    let unread = "Failed to parse error data";
    let rows = [
        (
            answer(404, unread, "404 page not found\n"),
            "the server could not find the requested resource (get pods.metrics.k8s.io)",
        ),
        (answer(404, "NotFound", "no metric rate known"), "no metric rate known"),
        (
            answer(503, unread, "service unavailable\n"),
            "the server is currently unable to handle the request (get pods.metrics.k8s.io)",
        ),
        (answer(403, unread, "no"), "no (get pods.metrics.k8s.io)"),
        (
            answer(500, unread, "broken"),
            "an error on the server (\"broken\") has prevented the request from succeeding (get pods.metrics.k8s.io)",
        ),
    ];
    for (status, want) in rows {
        assert_eq!(super::metrics::said(&status, "pods.metrics.k8s.io"), want);
    }
}
