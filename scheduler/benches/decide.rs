//! How long a decision takes, events included: a pod comes, is placed, is confirmed, and an older one goes.
//!
//! Run with `cargo bench -p scheduler`. The budget is 200 µs a pod with 1,000 nodes.

use std::collections::VecDeque;
use std::sync::Arc;

use component::clock::Clock;
use component::informer::Event as Change;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use jiff::Timestamp;
use scheduler::core::{Core, Step};
use scheduler::framework::Profile;
use scheduler::objects::{Node, Pod, Service};
use scheduler::queue::Backoff;
use serde_json::{Value, json};

const ZONES: usize = 5;

fn node(index: usize) -> Arc<Node> {
    let name = format!("node-{index}");
    let taints =
        if index.is_multiple_of(10) { json!([{"key": "dedicated", "effect": "NoSchedule"}]) } else { json!([]) };
    decoded(json!({
        "metadata": {"name": name, "uid": name, "labels": {
            "kubernetes.io/hostname": name, "topology.kubernetes.io/zone": format!("zone-{}", index % ZONES)}},
        "spec": {"taints": taints},
        "status": {"allocatable": {"cpu": "64", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": "110"}},
    }))
}

fn decoded<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value).expect("a well-formed object"))
}

/// What the pods of a scenario have beside their requests.
fn extras(scenario: &str) -> Value {
    let web = json!({"matchLabels": {"app": "web"}});
    match scenario {
        "anti-affinity" => json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "kubernetes.io/hostname", "labelSelector": web}]}}}),
        "spread" => json!({"topologySpreadConstraints": [{"maxSkew": 5, "topologyKey": "topology.kubernetes.io/zone",
            "whenUnsatisfiable": "DoNotSchedule", "labelSelector": web}]}),
        _ => json!({}),
    }
}

fn pod(index: usize, scenario: &str, node: Option<&str>) -> Arc<Pod> {
    let name = format!("web-{index}");
    let mut spec = json!({
        "schedulerName": "default-scheduler", "nodeName": node,
        "containers": [{"name": "c", "image": "nginx", "resources": {"requests": {"cpu": "100m", "memory": "200Mi"}}}],
        "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}],
    });
    if let (Value::Object(spec), Value::Object(extras)) = (&mut spec, extras(scenario)) {
        spec.extend(extras);
    }
    let labels = json!({"app": "web", "pod-template-hash": "abc"});
    decoded(json!({"metadata": {"name": name, "namespace": "default", "uid": name, "labels": labels}, "spec": spec}))
}

struct World {
    core: Core,
    scenario: &'static str,
    placed: VecDeque<Arc<Pod>>,
    made: usize,
    now: Timestamp,
}

impl World {
    /// A cluster with a Service and some of its pods already there.
    fn new(nodes: usize, scenario: &'static str, pods: usize) -> Self {
        let core = Core::new(vec![Profile::default_named("default-scheduler")], Backoff::default(), Clock::system(), 1);
        let mut world = Self { core, scenario, placed: VecDeque::new(), made: 0, now: Timestamp::UNIX_EPOCH };
        (0..nodes).for_each(|index| world.core.on_node(&Change::Added(node(index)), world.now));
        let service =
            json!({"metadata": {"name": "web", "namespace": "default"}, "spec": {"selector": {"app": "web"}}});
        world.core.on_service(&Change::Added(decoded::<Service>(service)));
        (0..pods).for_each(|_| world.place());
        world
    }

    fn place(&mut self) {
        let waiting = pod(self.made, self.scenario, None);
        self.core.on_pod(&Change::Added(waiting.clone()), self.now);
        let Step::Bind { pod: decided, node, .. } = self.core.step(self.now) else { panic!("every pod fits") };
        let bound = pod(self.made, self.scenario, Some(&node));
        self.core.bound(&decided);
        self.core.on_pod(&Change::Updated { old: waiting, new: bound.clone() }, self.now);
        self.placed.push_back(bound);
        self.made += 1;
    }

    fn replace(&mut self) {
        self.place();
        if let Some(oldest) = self.placed.pop_front() {
            self.core.on_pod(&Change::Deleted(oldest), self.now);
        }
    }
}

fn decide(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide");
    for nodes in [100, 1000, 5000] {
        for scenario in ["plain", "spread", "anti-affinity"] {
            let mut world = World::new(nodes, scenario, nodes / 2);
            group.bench_function(BenchmarkId::new(scenario, nodes), |bencher| bencher.iter(|| world.replace()));
        }
    }
    group.finish();
}

fn decode(criterion: &mut Criterion) {
    criterion.bench_function("decode a pod", |bencher| bencher.iter(|| pod(1, "spread", Some("node-1"))));
}

criterion_group!(benches, decide, decode);
criterion_main!(benches);
