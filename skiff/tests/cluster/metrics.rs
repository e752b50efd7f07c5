//! `kubectl top`: a stand-in of metrics-server that reads the kubelet's `/metrics/resource` as the real one does, served
//! by the aggregation layer.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use component::{serve, shutdown::Shutdown, tls};
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming};
use serde_json::{Value, json};
use testbed::{Cluster, SOON, eventually};

const PORT: u16 = 4443;
const GROUP: &str = "/apis/metrics.k8s.io/v1beta1";

pub(crate) fn tops_are_told(cluster: &Cluster) -> Result<()> {
    let scrape = || cluster.kubectl(&["get", "--raw", "/api/v1/nodes/node/proxy/metrics/resource"]);
    let first = Scrape::parse(&scrape()?)?;
    let second = eventually("every measure has moved on", SOON, || {
        let second = Scrape::parse(&scrape()?)?;
        ensure!(second.node.cpu.1 > first.node.cpu.1, "the node's time: {:?}", second.node);
        for (container, before) in &first.containers {
            let after = second.containers.get(container).with_context(|| format!("{container:?} is there"))?;
            ensure!(after.cpu.1 > before.cpu.1, "{container:?}: {after:?}");
        }
        Ok(second)
    })?;
    let shutdown = Shutdown::new();
    let answers = Arc::new(answers(&first, &second));
    std::thread::scope(|scope| {
        let server = scope.spawn(|| serve(cluster, answers, shutdown.clone()));
        let told = told(cluster);
        shutdown.trigger();
        let served = server.join().map_err(|_| anyhow::anyhow!("the stand-in panicked"))?;
        told.and(served)
    })
}

fn told(cluster: &Cluster) -> Result<()> {
    cluster.apply(&objects(cluster))?;
    let available = ["wait", "apiservice/v1beta1.metrics.k8s.io", "--for=condition=Available", "--timeout=60s"];
    cluster.kubectl(&available)?;
    let nodes = cluster.kubectl(&["top", "node", "--no-headers"])?;
    let words: Vec<&str> = nodes.split_whitespace().collect();
    ensure!(words.len() == 5 && words[0] == "node" && words[1].ends_with('m') && words[3].ends_with("Mi"), "{nodes}");
    let pods = cluster.kubectl(&["top", "pod", "together", "--containers", "--no-headers"])?;
    ensure!(pods.lines().count() == 2 && pods.contains("side") && pods.contains("Mi"), "{pods}");
    cluster.kubectl(&["delete", "apiservice", "v1beta1.metrics.k8s.io"]).map(drop)
}

/// A value and its time in milliseconds.
type Sample = (f64, i64);

#[derive(Debug, Default, Clone)]
struct Measure {
    cpu: Sample,
    memory: Sample,
    start_seconds: f64,
}

#[derive(Debug, Default)]
struct Scrape {
    node: Measure,
    /// By namespace, pod and container.
    containers: BTreeMap<[String; 3], Measure>,
}

impl Scrape {
    /// As strictly as metrics-server: every value but a start has its time, labels are in their places, and a container
    /// counts only with its start, its CPU time and its memory.
    fn parse(text: &str) -> Result<Self> {
        let mut found = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (series, values) = line
                .rsplit_once("} ")
                .map_or_else(
                    || line.split_once(' ').map(|(name, values)| ((name, ""), values)),
                    |(series, values)| Some((series.split_once('{')?, values)),
                )
                .with_context(|| format!("a sample: {line}"))?;
            let mut words = values.split(' ');
            let value: f64 = words.next().unwrap_or_default().parse().with_context(|| line.to_owned())?;
            let at = words.next().map(str::parse::<i64>).transpose().with_context(|| line.to_owned())?;
            let timed = || at.with_context(|| format!("its time: {line}")).map(|at| (value, at));
            let (name, labels) = series;
            match name.split_once('_') {
                Some(("node", "cpu_usage_seconds_total")) => found.node.cpu = timed()?,
                Some(("node", "memory_working_set_bytes")) => found.node.memory = timed()?,
                Some(("container", measure)) => {
                    let own = found.containers.entry(identity(labels)?).or_default();
                    match measure {
                        "cpu_usage_seconds_total" => own.cpu = timed()?,
                        "memory_working_set_bytes" => own.memory = timed()?,
                        "start_time_seconds" => own.start_seconds = value,
                        _ => {}
                    }
                }
                Some(("resource", "scrape_error")) => ensure!(value == 0.0, "{line}"),
                _ => {}
            }
        }
        ensure!(found.node.cpu.0 > 0.0 && found.node.memory.0 > 0.0, "the node is measured: {text}");
        found.containers.retain(|_, it| it.start_seconds > 0.0 && it.cpu.0 > 0.0 && it.memory.0 > 0.0);
        ensure!(!found.containers.is_empty(), "containers are measured: {text}");
        Ok(found)
    }
}

/// `container="c",namespace="ns",pod="p"`.
fn identity(labels: &str) -> Result<[String; 3]> {
    let values: Vec<&str> = labels.split(',').filter_map(|pair| pair.split('"').nth(1)).collect();
    ensure!(labels.starts_with("container=\"") && values.len() == 3, "the labels' places: {labels}");
    Ok([values[1], values[2], values[0]].map(String::from))
}

fn usage(before: &Measure, after: &Measure) -> Value {
    let seconds = (after.cpu.1 - before.cpu.1) as f64 / 1000.0;
    let cores = (after.cpu.0 - before.cpu.0) / seconds.max(0.001);
    json!({"cpu": format!("{}n", (cores * 1e9) as i64), "memory": format!("{}Ki", after.memory.0 as i64 / 1024)})
}

/// What the stand-in answers, by path.
fn answers(first: &Scrape, second: &Scrape) -> BTreeMap<String, Value> {
    let (version, window) = ("metrics.k8s.io/v1beta1", "10s");
    let resource = |name: &str, kind: &str, namespaced: bool| json!({"name": name, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": ["get", "list"]});
    let time = |ms: i64| jiff::Timestamp::from_millisecond(ms).map(|at| at.to_string()).unwrap_or_default();
    let node = json!({"metadata": {"name": "node"}, "timestamp": time(second.node.cpu.1), "window": window,
        "usage": usage(&first.node, &second.node)});
    let mut pods: BTreeMap<(&str, &str), Vec<Value>> = BTreeMap::new();
    for ([namespace, pod, container], before) in &first.containers {
        if let Some(after) = second.containers.get(&[namespace.clone(), pod.clone(), container.clone()]) {
            let measured = json!({"name": container, "usage": usage(before, after)});
            pods.entry((namespace, pod)).or_default().push(measured);
        }
    }
    let at = time(second.node.cpu.1);
    let one = |((namespace, name), containers): (&(&str, &str), &Vec<Value>)| {
        let metadata = json!({"name": name, "namespace": namespace});
        let object = json!({"kind": "PodMetrics", "apiVersion": version, "metadata": metadata, "timestamp": at,
            "window": window, "containers": containers});
        (format!("{GROUP}/namespaces/{namespace}/pods/{name}"), object)
    };
    let mut answers: BTreeMap<String, Value> = pods.iter().map(one).collect();
    let list = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources":
        [resource("nodes", "NodeMetrics", false), resource("pods", "PodMetrics", true)]});
    answers.insert(GROUP.to_owned(), list);
    answers.insert(
        format!("{GROUP}/nodes"),
        json!({"kind": "NodeMetricsList", "apiVersion": version, "metadata": {}, "items": [node]}),
    );
    answers
}

/// Serves until shutdown, in the network of the bed.
fn serve(cluster: &Cluster, answers: Arc<BTreeMap<String, Value>>, shutdown: Shutdown) -> Result<()> {
    cluster.bed.enter_network()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = serve::bind(SocketAddr::new(cluster.bed.address().into(), PORT))?;
        let certificate = tls::self_signed(vec!["metrics-server".to_owned()])?;
        let config = tls::server_config(Arc::new(certificate.key), tls::MinVersion::Tls12)?;
        let service = tower::service_fn(move |request: Request<Incoming>| {
            let found = answers.get(request.uri().path()).cloned();
            async move {
                let status = if found.is_some() { 200 } else { 404 };
                let body = Bytes::from(found.unwrap_or_default().to_string());
                let response = Response::builder().status(status).header("content-type", "application/json");
                Ok::<_, Infallible>(response.body(Full::new(body)).unwrap_or_default())
            }
        });
        serve::accept(listener, Some(Arc::new(config)), service, shutdown).await;
        Ok(())
    })
}

fn objects(cluster: &Cluster) -> String {
    let address = cluster.bed.address().to_string();
    let named = |name: &str| json!({"name": name, "namespace": "kube-system"});
    let slice = json!({"name": "metrics-server-1", "namespace": "kube-system",
        "labels": {"kubernetes.io/service-name": "metrics-server"}});
    let objects = [
        json!({"apiVersion": "v1", "kind": "Service", "metadata": named("metrics-server"),
            "spec": {"ports": [{"name": "https", "port": 443, "targetPort": PORT}]}}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": slice, "addressType": "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
            "ports": [{"name": "https", "port": PORT, "protocol": "TCP"}]}),
        json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": "v1beta1.metrics.k8s.io"}, "spec": {"group": "metrics.k8s.io", "version": "v1beta1",
            "service": named("metrics-server"), "insecureSkipTLSVerify": true, "groupPriorityMinimum": 100,
            "versionPriority": 100}}),
    ];
    objects.map(|object| object.to_string()).join("\n")
}
