//! An autoscaler over the API server in memory, with a metrics server and a scale that are scripted.

use std::sync::{Arc, Mutex};

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
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
    let settings = podautoscaler::Settings {
        workers: 1,
        sync_period: seconds(15),
        downscale_stabilization: seconds(300),
        tolerance: 0.1,
        cpu_initialization_period: seconds(300),
        initial_readiness_delay: seconds(30),
    };
    tokio::spawn(podautoscaler::run(ctx.clone(), settings));
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
