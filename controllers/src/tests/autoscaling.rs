//! An autoscaler over the API server in memory, with a metrics server and a scale that are scripted.

use std::sync::{Arc, Mutex};

use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition};
use k8s_openapi::api::core::v1::Event;
use serde_json::Value;

use super::*;
use crate::podautoscaler;

/// A Deployment's scale of so many replicas, and pods that all use so many thousandths of a CPU.
#[derive(Clone)]
struct Load(Arc<Mutex<(i64, i64)>>);

impl Load {
    fn serve(&self, fake: &FakeApi) {
        let this = self.clone();
        let (scale, metrics) = (self.clone(), self.clone());
        fake.react(move |r| {
            if r.subresource != "scale" {
                return None;
            }
            if r.verb == "update" {
                scale.0.lock().unwrap().0 = r.body["spec"]["replicas"].as_i64().unwrap();
            }
            let replicas = scale.0.lock().unwrap().0;
            Some((
                200,
                json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web", "namespace": "n"},
                "spec": {"replicas": replicas}, "status": {"replicas": replicas, "selector": "app=web"}}),
            ))
        });
        fake.react(move |r| (r.group == "metrics.k8s.io").then(|| (200, metrics.answer())));
        let apps = json!({"kind": "APIGroupDiscoveryList", "items": [{"metadata": {"name": "apps"}, "versions": [{"version": "v1", "resources": [
            {"resource": "deployments", "scope": "Namespaced", "responseKind": {"group": "apps", "version": "v1", "kind": "Deployment"}, "verbs": ["list"]}]}]}]});
        fake.react(move |r| (r.resource.is_empty() && r.version.is_empty()).then(|| (200, apps.clone())));
        for i in 0..this.0.lock().unwrap().0 {
            fake.put(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("p{i}"), "namespace": "n", "labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
                "status": {"phase": "Running", "startTime": "2025-01-01T00:00:00Z",
                    "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2025-01-01T00:00:10Z"}]}}));
        }
    }

    fn answer(&self) -> Value {
        let (_, milli) = *self.0.lock().unwrap();
        let pod = |i: i64| {
            json!({"metadata": {"name": format!("p{i}")}, "timestamp": "2026-01-01T00:00:00Z", "window": "30s",
            "containers": [{"name": "c", "usage": {"cpu": format!("{milli}m")}}]})
        };
        json!({"kind": "PodMetricsList", "items": (0..2).map(pod).collect::<Vec<_>>()})
    }
}

fn settings() -> podautoscaler::Settings {
    let seconds = Duration::from_secs;
    podautoscaler::Settings {
        workers: 1,
        sync_period: seconds(15),
        downscale_stabilization: seconds(300),
        tolerance: 0.1,
        cpu_initialization_period: seconds(300),
        initial_readiness_delay: seconds(30),
    }
}

#[tokio::test(start_paused = true)]
async fn an_autoscaler_follows_the_load() {
    let fake = FakeApi::new();
    let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().unwrap());
    let ctx = Context::with(fake.client(), Source::new("test"), clock, Random::seeded(1), Shutdown::new());
    let load = Load(Arc::new(Mutex::new((2, 900))));
    load.serve(&fake);
    fake.put(&json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web", "namespace": "n", "uid": "h"},
        "spec": {"minReplicas": 1, "maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]}}));
    let seconds = Duration::from_secs;
    tokio::spawn(podautoscaler::run(ctx.clone(), settings()));
    tokio::time::sleep(seconds(5)).await;
    let replicas = || load.0.lock().unwrap().0;
    assert_eq!(replicas(), 3, "90 % of two, wanted 50 %: four, but three is the most");
    let status = fake.get::<HorizontalPodAutoscaler>("n", "web").unwrap().status.unwrap();
    assert_eq!((status.current_replicas, status.desired_replicas), (Some(2), 3));
    let shown = serde_json::to_value(&status.current_metrics).unwrap();
    assert_eq!(shown[0]["resource"]["current"], json!({"averageUtilization": 90, "averageValue": "900m"}));
    let reasons: Vec<_> = status.conditions.iter().flatten().filter_map(|c| c.reason.clone()).collect();
    assert_eq!(reasons, ["SucceededRescale", "ValidMetricFound", "TooManyReplicas"]);

    *load.0.lock().unwrap() = (3, 100);
    tokio::time::sleep(seconds(100)).await;
    assert_eq!(replicas(), 3, "a higher recommendation holds for five minutes");
    tokio::time::sleep(seconds(300)).await;
    assert_eq!(replicas(), 1);
    ctx.shutdown.trigger();
}

/// One look at an autoscaler of a Deployment with two replicas whose pods use 900m of the 1 CPU that they ask for.
struct Look {
    target: Value,
    /// What the scale is, or the code and message of its refusal; an update is refused with the other.
    scale: (u16, Value),
    update: Option<(u16, &'static str)>,
    metrics: Option<(u16, &'static str)>,
}

impl Look {
    fn at(scale: Value) -> Self {
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
        Look { target, scale: (200, scale), update: None, metrics: None }
    }

    /// The events as `REASON: message`, and the conditions as `TYPE=STATUS REASON: message`.
    async fn told(self) -> (Vec<String>, Vec<String>) {
        let fake = FakeApi::new();
        let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().unwrap());
        let ctx = Context::with(fake.client(), Source::new("test"), clock, Random::seeded(1), Shutdown::new());
        let refusal =
            |code: u16, message: &str| json!({"kind": "Status", "status": "Failure", "code": code, "message": message});
        let (scale, update, metrics) = (self.scale, self.update, self.metrics);
        fake.react(move |r| match (r.subresource.as_str(), r.verb) {
            ("scale", "update") => update.map(|(code, message)| (code, refusal(code, message))),
            _ => None,
        });
        fake.react(move |r| (r.subresource == "scale").then(|| scale.clone()));
        fake.react(move |r| {
            metrics.filter(|_| r.group == "metrics.k8s.io").map(|(code, message)| (code, refusal(code, message)))
        });
        Load(Arc::new(Mutex::new((2, 900)))).serve(&fake);
        fake.put(&json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web", "namespace": "n", "uid": "h"},
            "spec": {"minReplicas": 1, "maxReplicas": 3, "scaleTargetRef": self.target,
                "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]}}));
        tokio::spawn(podautoscaler::run(ctx.clone(), settings()));
        tokio::time::sleep(Duration::from_secs(5)).await;
        ctx.shutdown.trigger();
        let words = |text: &Option<String>| text.clone().unwrap_or_default();
        let event = |event: Event| format!("{}: {}", words(&event.reason), words(&event.message));
        let mut events: Vec<_> = fake.list::<Event>().into_iter().map(event).collect();
        events.sort();
        let status = fake.get::<HorizontalPodAutoscaler>("n", "web").unwrap().status.unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let condition = |c: &HorizontalPodAutoscalerCondition| {
            format!("{}={} {}: {}", c.type_, c.status, words(&c.reason), words(&c.message))
        };
        (events, conditions.iter().map(condition).collect())
    }
}

fn scale(replicas: i64, selector: &str) -> Value {
    json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web", "namespace": "n"},
        "spec": {"replicas": replicas}, "status": {"replicas": replicas, "selector": selector}})
}

const ABLE: &str = "AbleToScale=True SucceededGetScale: the HPA controller was able to get the target's current scale";
const UNABLE: &str =
    "AbleToScale=False FailedGetScale: the HPA controller was unable to get the target's current scale: ";

#[tokio::test(start_paused = true)]
async fn an_autoscaler_tells_why_it_cannot_scale() {
    let missing = "deployments.apps \"web\" not found";
    let refused = json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": missing});
    let look = Look { scale: (404, refused), ..Look::at(Value::Null) };
    assert_eq!(look.told().await, (vec![format!("FailedGetScale: {missing}")], vec![format!("{UNABLE}{missing}")]));
    for (api_version, kind, why) in [
        ("a/b/c", "Deployment", "unexpected GroupVersion string: a/b/c"),
        ("apps/v1", "Gone", "no matches for kind \"Gone\" in group \"apps\""),
    ] {
        let target = json!({"apiVersion": api_version, "kind": kind, "name": "web"});
        let look = Look { target, ..Look::at(scale(2, "app=web")) };
        assert_eq!(look.told().await, (vec![format!("FailedGetScale: {why}")], vec![format!("{UNABLE}{why}")]));
    }
    let (events, conditions) = Look::at(scale(2, "")).told().await;
    let required = "selector is required";
    assert_eq!(events, [format!("FailedComputeMetricsReplicas: {required}"), format!("SelectorRequired: {required}")]);
    let inactive = "ScalingActive=False InvalidSelector: the HPA target's scale is missing a selector";
    assert_eq!(conditions, [ABLE, inactive]);
    let off = "ScalingActive=False ScalingDisabled: scaling is disabled since the replica count of the target is zero";
    assert_eq!(Look::at(scale(0, "app=web")).told().await, (vec![], vec![ABLE.to_owned(), off.to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn an_autoscaler_tells_what_its_metrics_and_its_target_answer() {
    let look = Look { metrics: Some((503, "no metrics today")), ..Look::at(scale(2, "app=web")) };
    let why = "failed to get cpu utilization: unable to get metrics for resource cpu: \
               unable to fetch metrics from resource metrics API: no metrics today";
    let (events, conditions) = look.told().await;
    let all =
        format!("invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: {why}");
    assert_eq!(events, [format!("FailedComputeMetricsReplicas: {all}"), format!("FailedGetResourceMetric: {why}")]);
    let inactive =
        format!("ScalingActive=False FailedGetResourceMetric: the HPA was unable to compute the replica count: {why}");
    assert_eq!(conditions, [ABLE.to_owned(), inactive]);

    let look = Look { update: Some((403, "not yours")), ..Look::at(scale(2, "app=web")) };
    let (events, conditions) = look.told().await;
    let metric = "cpu resource utilization (percentage of request)";
    assert_eq!(events, [format!("FailedRescale: New size: 3; reason: {metric} above target; error: not yours")]);
    assert_eq!(
        conditions,
        [
            "AbleToScale=False FailedUpdateScale: the HPA controller was unable to update the target scale: not yours"
                .to_owned(),
            format!(
                "ScalingActive=True ValidMetricFound: the HPA was able to successfully calculate a replica count from {metric}"
            ),
            "ScalingLimited=True TooManyReplicas: the desired replica count is more than the maximum replica count"
                .to_owned(),
        ]
    );
    let (events, conditions) = Look::at(scale(2, "app=web")).told().await;
    assert_eq!(events, [format!("SuccessfulRescale: New size: 3; reason: {metric} above target")]);
    let rescaled = "AbleToScale=True SucceededRescale: the HPA controller was able to update the target scale to 3";
    assert_eq!(conditions[0], rescaled);
}
