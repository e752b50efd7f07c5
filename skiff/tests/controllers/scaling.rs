//! HorizontalPodAutoscaler against a metrics server in this process, which the API server aggregates.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{Place, condition, story, template};

/// Says of every pod that it uses so many thousandths of a core. Serves until the test ends; returns its port.
async fn metrics_server(place: &Place, usage: Arc<AtomicI64>) -> u16 {
    let plane = &place.cluster.plane;
    plane.sign("metrics", None, &["localhost"]).unwrap();
    let read = |suffix: &str| std::fs::read(plane.path(&format!("metrics.{suffix}"))).unwrap();
    let chain = component::tls::certificates_from_pem(&read("crt"), "chain").unwrap();
    let key = component::tls::key_from_pem(&read("key"), "key").unwrap();
    let config = rustls::ServerConfig::builder_with_provider(component::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let pods = place.object("v1", "Pod", "");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, usage, pods) = (acceptor.clone(), usage.clone(), pods.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = hyper::service::service_fn(move |request| {
                    let (usage, pods) = (usage.clone(), pods.clone());
                    async move { Ok::<_, hyper::Error>(answer(request, &pods.all("app=web").await, &usage)) }
                });
                // A client that goes away is no failure of the test.
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    port
}

fn answer(request: Request<Incoming>, pods: &[Value], usage: &AtomicI64) -> Response<Full<Bytes>> {
    let used = format!("{}m", usage.load(Ordering::Relaxed));
    let metrics = |pod: &Value| {
        let container = json!({"name": "c", "usage": {"cpu": used, "memory": "10Mi"}});
        let metadata = json!({"name": pod["metadata"]["name"], "namespace": pod["metadata"]["namespace"]});
        json!({"metadata": metadata, "timestamp": "2126-01-01T00:00:00Z", "window": "30s", "containers": [container]})
    };
    let document = match request.uri().path() {
        "/apis/metrics.k8s.io/v1beta1" => json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "metrics.k8s.io/v1beta1",
            "resources": [{"name": "pods", "singularName": "", "namespaced": true, "kind": "PodMetrics", "verbs": ["get", "list"]}],
        }),
        path if path.ends_with("/pods") => json!({
            "kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": {},
            "items": pods.iter().map(metrics).collect::<Vec<_>>(),
        }),
        _ => return Response::builder().status(404).body(Full::default()).unwrap(),
    };
    let body = Full::new(Bytes::from(document.to_string()));
    Response::builder().header("content-type", "application/json").body(body).unwrap()
}

#[test]
fn an_autoscaler_follows_what_pods_use() {
    story("autoscaling", async |place: &Place| {
        let usage = Arc::new(AtomicI64::new(100));
        let port = metrics_server(place, usage.clone()).await;
        let spec = json!({"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]});
        place
            .create(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "metrics"}, "spec": spec}))
            .await;
        let service = json!({"name": "metrics", "namespace": "autoscaling", "port": port});
        let spec = json!({"group": "metrics.k8s.io", "version": "v1beta1", "service": service,
            "insecureSkipTLSVerify": true, "groupPriorityMinimum": 100, "versionPriority": 100});
        let aggregated = place
            .create(json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
                "metadata": {"name": "v1beta1.metrics.k8s.io"}, "spec": spec}))
            .await;
        aggregated.until("available", |service| condition(service, "Available").is_some()).await;

        let spec = json!({"replicas": 1, "selector": {"app": "web"}, "template": template("web", "Running")});
        let object =
            json!({"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "web"}, "spec": spec});
        let rc = place.create(object).await;
        rc.until("one ready", |rc| rc["status"]["readyReplicas"] == 1).await;
        let target = json!({"type": "Utilization", "averageUtilization": 50});
        let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": 0}});
        let spec = json!({"minReplicas": 1, "maxReplicas": 3, "behavior": behavior,
            "scaleTargetRef": {"apiVersion": "v1", "kind": "ReplicationController", "name": "web"},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]});
        let autoscaler = place
            .create(json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"}, "spec": spec}))
            .await;
        rc.until("twice as many", |rc| rc["status"]["readyReplicas"].as_i64() >= Some(2)).await;
        let told =
            autoscaler.until("what it read", |hpa| hpa["status"]["currentMetrics"][0]["resource"].is_object()).await;
        assert_eq!(told["status"]["currentMetrics"][0]["resource"]["current"]["averageUtilization"], 100);
        assert_eq!(condition(&told, "ScalingActive"), Some("ValidMetricFound"));
        place.until_told("web", "SuccessfulRescale").await;

        // The next look is upstream's 15 s away; a change of the object brings it forward.
        usage.store(10, Ordering::Relaxed);
        autoscaler.merge(json!({"spec": {"maxReplicas": 4}})).await;
        rc.until("one left", |rc| rc["spec"]["replicas"] == 1).await;
        aggregated.delete().await;
    });
}
