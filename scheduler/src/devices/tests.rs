//! Tables: claims, classes and slices go in; what each node would give comes out.

mod shared;

use std::sync::Arc;

use k8s_openapi::api::resource::v1::AllocationResult;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::testkit::{merge, node, pod};

fn parse<T: DeserializeOwned>(object: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(object).unwrap())
}

/// A snapshot's devices, short to write.
struct World(Devices);

impl World {
    /// Two GPUs for node `a`, one for `b`, and a network device for both.
    fn new() -> Self {
        let mut world = Self(Devices::default());
        world.class("gpu", json!([cel("device.driver == 'gpu.example.com'")]));
        world.class("any", json!([]));
        let gpus = json!([gpu("gpu-0", "small", json!({})), gpu("gpu-1", "large", json!({}))]);
        world.slice("a", json!({"driver": "gpu.example.com", "nodeName": "a", "devices": gpus}));
        world.slice(
            "b",
            json!({"driver": "gpu.example.com", "nodeName": "b", "devices": [gpu("gpu-0", "large", json!({}))]}),
        );
        world.slice("net", json!({"driver": "net.example.com", "allNodes": true, "devices": [{"name": "wire"}]}));
        world
    }

    fn class(&mut self, name: &str, selectors: Value) {
        self.0.set_class(&parse(json!({"metadata": {"name": name}, "spec": {"selectors": selectors}})));
    }

    fn slice(&mut self, name: &str, more: Value) {
        let mut spec = json!({"pool": {"name": name, "generation": 1, "resourceSliceCount": 1}});
        merge(&mut spec, more);
        self.0.set_slice(&parse(json!({"metadata": {"name": name}, "spec": spec})));
    }

    fn claim(&mut self, name: &str, more: Value) {
        let mut claim = json!({"metadata": {"name": name, "namespace": "default", "uid": name}, "spec": {}});
        merge(&mut claim, more);
        self.0.set_claim(&parse(claim));
    }

    fn asks(&mut self, name: &str, requests: Value) {
        self.claim(name, json!({"spec": {"devices": {"requests": requests}}}));
    }

    /// The devices that the pod's claims would get on a node, or why none.
    fn on(&self, pod: &Pod, at: &str) -> Result<String, String> {
        let node = node(at, json!({"metadata": {"labels": {"zone": at}}}));
        let wanted = wanted(pod, &self.0)?;
        let found = allocations(&wanted, &taken(&self.0), &self.0, &node, 1)?;
        let extended = found.extended.iter().map(|(_, allocation)| allocation);
        Ok(found.of_claims.iter().chain(extended).map(shown_devices).collect::<Vec<_>>().join("; "))
    }

    #[track_caller]
    fn check(&self, claims: &[&str], want: [Result<&str, &str>; 2]) {
        let pod = using(claims);
        let found = ["a", "b"].map(|at| self.on(&pod, at));
        assert_eq!(found, want.map(|one| one.map(str::to_owned).map_err(str::to_owned)), "{claims:?}");
    }
}

fn shown_devices(allocation: &AllocationResult) -> String {
    let results = allocation.devices.as_ref().and_then(|devices| devices.results.as_deref()).unwrap_or_default();
    let shown = results.iter().map(|one| {
        let consumed = one.consumed_capacity.iter().flatten().map(|(name, n)| format!("({name}={})", n.0));
        let admin = if one.admin_access == Some(true) { "!" } else { "" };
        format!("{}={}/{}{admin}{}", one.request, one.pool, one.device, consumed.collect::<String>())
    });
    shown.collect::<Vec<_>>().join(" ")
}

fn cel(expression: &str) -> Value {
    json!({"cel": {"expression": expression}})
}

fn gpu(name: &str, model: &str, more: Value) -> Value {
    let mut device = json!({"name": name, "attributes": {"model": {"string": model}},
        "capacity": {"memory": {"value": "40Gi"}}});
    merge(&mut device, more);
    device
}

fn exactly(name: &str, more: Value) -> Value {
    let mut exactly = json!({"deviceClassName": "gpu"});
    merge(&mut exactly, more);
    json!({"name": name, "exactly": exactly})
}

fn using(claims: &[&str]) -> Arc<Pod> {
    let entry = |claim: &&str| json!({"name": claim, "resourceClaimName": claim});
    pod("p", json!({"spec": {"resourceClaims": claims.iter().map(entry).collect::<Vec<_>>()}}))
}

#[test]
fn counts_and_selectors() {
    let mut world = World::new();
    let large = json!({"selectors": [cel("device.attributes['gpu.example.com'].model == 'large'")]});
    world.asks("one", json!([exactly("r", json!({}))]));
    world.asks("two", json!([exactly("r", json!({"count": 2}))]));
    world.asks("three", json!([exactly("r", json!({"count": 3}))]));
    world.asks("all", json!([exactly("r", json!({"allocationMode": "All"}))]));
    world.asks("large", json!([exactly("r", large.clone())]));
    world.asks("pair", json!([exactly("x", json!({})), exactly("y", large.clone())]));
    world.asks("greedy", json!([exactly("x", large), exactly("y", json!({}))]));
    world.asks(
        "net",
        json!([{"name": "n", "exactly": {"deviceClassName": "any",
        "selectors": [cel("device.driver.startsWith('net')")]}}]),
    );
    world.check(&["one"], [Ok("r=a/gpu-0"), Ok("r=b/gpu-0")]);
    world.check(&["two"], [Ok("r=a/gpu-0 r=a/gpu-1"), Err(TOO_FEW)]);
    world.check(&["three"], [Err(TOO_FEW); 2]);
    world.check(&["all"], [Ok("r=a/gpu-0 r=a/gpu-1"), Ok("r=b/gpu-0")]);
    world.check(&["large"], [Ok("r=a/gpu-1"), Ok("r=b/gpu-0")]);
    world.check(&["pair"], [Ok("x=a/gpu-0 y=a/gpu-1"), Err(TOO_FEW)]);
    world.check(&["greedy"], [Ok("x=a/gpu-1 y=a/gpu-0"), Err(TOO_FEW)]);
    world.check(&["net"], [Ok("n=net/wire"); 2]);
    world.check(&["one", "large"], [Ok("r=a/gpu-0; r=a/gpu-1"), Err(TOO_FEW)]);
    world.check(&["large", "one"], [Ok("r=a/gpu-1; r=a/gpu-0"), Err(TOO_FEW)]);
}

#[test]
fn the_first_alternative_that_can_be_had() {
    let mut world = World::new();
    let two = json!({"name": "two", "deviceClassName": "gpu", "count": 2});
    let one = json!({"name": "one", "deviceClassName": "gpu"});
    world.asks("either", json!([{"name": "r", "firstAvailable": [two, one]}]));
    world.check(&["either"], [Ok("r/two=a/gpu-0 r/two=a/gpu-1"), Ok("r/one=b/gpu-0")]);
}

#[test]
fn earlier_alternatives_are_better() {
    let mut world = World::new();
    let two = json!({"name": "two", "deviceClassName": "gpu", "count": 2});
    let one = json!({"name": "one", "deviceClassName": "gpu"});
    world.asks("either", json!([{"name": "r", "firstAvailable": [two, one]}]));
    world.asks("plain", json!([exactly("r", json!({}))]));
    let score = |claims: &[&str], at: &str| {
        let pod = using(claims);
        let wanted = wanted(&pod, &world.0).unwrap();
        let given = allocations(&wanted, &taken(&world.0), &world.0, &node(at, json!({})), 0).unwrap();
        (wanted.has_alternatives(), preference(&wanted, &given))
    };
    assert_eq!(
        [score(&["either"], "a"), score(&["either"], "b"), score(&["plain"], "a")],
        [(true, 8), (true, 7), (false, 0)]
    );
}

#[test]
fn devices_that_belong_together() {
    let mut world = World::new();
    let devices = json!([gpu("0", "x", json!({})), gpu("1", "y", json!({})), gpu("2", "x", json!({})),
        {"name": "3"}]);
    world.slice("b", json!({"driver": "gpu.example.com", "nodeName": "b", "devices": devices}));
    let claim = |constraint: Value| json!({"spec": {"devices": {"requests": [exactly("r", json!({"count": 2}))], "constraints": [constraint]}}});
    world.claim("alike", claim(json!({"matchAttribute": "gpu.example.com/model"})));
    world.claim("distinct", claim(json!({"distinctAttribute": "gpu.example.com/model"})));
    world.claim("others", claim(json!({"matchAttribute": "gpu.example.com/model", "requests": ["x"]})));
    world.check(&["alike"], [Err(TOO_FEW), Ok("r=b/0 r=b/2")]);
    world.check(&["distinct"], [Ok("r=a/gpu-0 r=a/gpu-1"), Ok("r=b/0 r=b/1")]);
    world.check(&["others"], [Ok("r=a/gpu-0 r=a/gpu-1"), Ok("r=b/0 r=b/1")]);
}

#[test]
fn what_is_taken_or_tainted_is_passed_over() {
    let mut world = World::new();
    let held = |request: &str| json!({"request": request, "driver": "gpu.example.com", "pool": "a", "device": "gpu-0"});
    let status = |results: Value| json!({"status": {"allocation": {"devices": {"results": results}}}});
    world.claim("theirs", status(json!([held("r")])));
    world.asks("one", json!([exactly("r", json!({}))]));
    world.asks("two", json!([exactly("r", json!({"count": 2}))]));
    world.asks("all", json!([exactly("r", json!({"allocationMode": "All"}))]));
    world.check(&["one"], [Ok("r=a/gpu-1"), Ok("r=b/gpu-0")]);
    world.check(&["two"], [Err(TOO_FEW); 2]);
    world.check(&["all"], [Err(TOO_FEW), Ok("r=b/gpu-0")]);
    let mut admin = held("r");
    admin["adminAccess"] = true.into();
    world.claim("theirs", status(json!([admin])));
    world.check(&["one"], [Ok("r=a/gpu-0"), Ok("r=b/gpu-0")]);
    let taint = |effect: &str| json!({"taints": [{"key": "k", "value": "v", "effect": effect}]});
    let devices =
        json!([gpu("0", "x", taint("NoExecute")), gpu("1", "x", taint("NoSchedule")), gpu("2", "x", taint("None"))]);
    world.slice("b", json!({"driver": "gpu.example.com", "nodeName": "b", "devices": devices}));
    let tolerant = json!({"tolerations": [{"key": "k", "operator": "Exists", "effect": "NoSchedule"}]});
    world.asks("tolerant", json!([exactly("r", tolerant)]));
    world.check(&["one"], [Ok("r=a/gpu-0"), Ok("r=b/2")]);
    world.check(&["tolerant"], [Ok("r=a/gpu-0"), Ok("r=b/1")]);
}

#[test]
fn what_is_decided_and_not_told_yet_is_taken() {
    let mut world = World::new();
    world.asks("one", json!([exactly("r", json!({}))]));
    world.asks("theirs", json!([exactly("r", json!({}))]));
    let (theirs, at) = (using(&["theirs"]), node("b", json!({})));
    let mut snapshot = Snapshot::default();
    snapshot.devices = world.0;
    let plan = plan(&theirs, &snapshot, &at, 1).unwrap();
    snapshot.devices.assume("theirs", plan);
    let mut world = World(snapshot.devices);
    world.check(&["one"], [Ok("r=a/gpu-0"), Err(TOO_FEW)]);
    world.0.forget("theirs");
    world.check(&["one"], [Ok("r=a/gpu-0"), Ok("r=b/gpu-0")]);
}

#[test]
fn devices_that_have_to_be_waited_for_come_last() {
    let mut world = World::new();
    let waits = json!({"bindingConditions": ["ready"], "bindingFailureConditions": ["broken"], "bindsToNode": true});
    world.slice("a-first", json!({"driver": "gpu.example.com", "allNodes": true, "devices": [gpu("2", "x", waits)]}));
    let devices = json!([gpu("3", "x", json!({}))]);
    world.slice("b", json!({"driver": "gpu.example.com", "nodeName": "b", "devices": devices}));
    world.asks("one", json!([exactly("r", json!({}))]));
    world.asks("all", json!([exactly("r", json!({"allocationMode": "All"}))]));
    world.check(&["one"], [Ok("r=a/gpu-0"), Ok("r=b/3")]);
    world.check(&["all"], [Ok("r=a/gpu-0 r=a/gpu-1 r=a-first/2"), Ok("r=b/3 r=a-first/2")]);
}

#[test]
fn pools_that_are_being_replaced() {
    let mut world = World::new();
    let part = |generation: i64, count: i64, device: &str| {
        json!({"driver": "gpu.example.com", "nodeName": "b", "devices": [gpu(device, "x", json!({}))],
            "pool": {"name": "b", "generation": generation, "resourceSliceCount": count}})
    };
    world.asks("one", json!([exactly("r", json!({}))]));
    world.asks("all", json!([exactly("r", json!({"allocationMode": "All"}))]));
    world.slice("b-new", part(2, 2, "new-0"));
    world.check(&["one"], [Ok("r=a/gpu-0"), Err(TOO_FEW)]);
    let updated = "claim default/all, request r: asks for all devices, but resource pool gpu.example.com/b is currently being updated";
    world.check(&["all"], [Ok("r=a/gpu-0 r=a/gpu-1"), Err(updated)]);
    world.slice("b-more", part(2, 2, "new-1"));
    world.check(&["all"], [Ok("r=a/gpu-0 r=a/gpu-1"), Ok("r=b/new-1 r=b/new-0")]);
    world.slice("b-more", part(2, 2, "new-0"));
    world.check(&["one"], [Ok("r=a/gpu-0"), Err("invalid resource pools were encountered")]);
}

#[test]
fn devices_of_a_slice_may_be_for_different_nodes() {
    let mut world = World::new();
    let zone =
        json!({"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]}]});
    let devices =
        json!([{"name": "0", "nodeName": "a"}, {"name": "1", "nodeSelector": zone}, {"name": "2", "allNodes": true}]);
    world.class("far", json!([cel("device.driver == 'far.example.com'")]));
    world.slice("far", json!({"driver": "far.example.com", "perDeviceNodeSelection": true, "devices": devices}));
    world.asks("all", json!([{"name": "r", "exactly": {"deviceClassName": "far", "allocationMode": "All"}}]));
    world.check(&["all"], [Ok("r=far/0 r=far/2"), Ok("r=far/1 r=far/2")]);
}

#[test]
fn pods_that_wait_for_their_claims() {
    let mut world = World::new();
    let refused = |world: &World, pod: &Pod, why: &str| assert_eq!(wanted(pod, &world.0).unwrap_err(), why);
    refused(&world, &using(&["x"]), "resourceclaim.resource.k8s.io \"x\" not found");
    let templated = |told: Value| {
        let entry = json!({"name": "e", "resourceClaimTemplateName": "t"});
        pod("p", json!({"spec": {"resourceClaims": [entry]}, "status": {"resourceClaimStatuses": told}}))
    };
    refused(&world, &templated(json!([])), "pod \"default/p\": ResourceClaim not created yet");
    assert!(wanted(&templated(json!([{"name": "e"}])), &world.0).is_ok(), "none is needed");
    world.claim("made", json!({}));
    let made = templated(json!([{"name": "e", "resourceClaimName": "made"}]));
    refused(&world, &made, "ResourceClaim default/made was not created for Pod default/p (Pod is not owner)");
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p", "controller": true});
    world.claim("made", json!({"metadata": {"ownerReferences": [owner]}}));
    assert!(wanted(&made, &world.0).is_ok());
    world.claim("going", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}));
    refused(&world, &using(&["going"]), "resourceclaim \"going\" is being deleted");
    world.asks("odd", json!([{"name": "r", "exactly": {"deviceClassName": "none"}}]));
    refused(&world, &using(&["odd"]), "request r: device class none does not exist");
    world.asks("one", json!([exactly("r", json!({}))]));
    let plan = DevicePlan {
        claims: vec![(world.0.claim("default", "one").unwrap().clone(), Some(AllocationResult::default()))],
        extended: None,
    };
    world.0.assume("another", plan);
    refused(&world, &using(&["one"]), "resource claim default/one is in the process of being allocated");
}

#[test]
fn faults_of_claims_are_told() {
    let mut world = World::new();
    world.asks("many", json!([exactly("r", json!({"count": 33}))]));
    world.asks(
        "broken",
        json!([exactly("r", json!({"selectors": [cel("device.attributes['x.example.com'].y == 1")]}))]),
    );
    let many = "claim default/many: number of requested devices 33 exceeds the claim limit of 32";
    world.check(&["many"], [Err(many); 2]);
    world.check(&["broken"], [Err("claim default/broken: selector #0: CEL runtime error: no such key: y"); 2]);
}

#[test]
fn a_claim_with_devices_holds_its_pods() {
    let mut world = World::new();
    let term = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]});
    let allocation = json!({"nodeSelector": {"nodeSelectorTerms": [term]}});
    world.claim("held", json!({"status": {"allocation": allocation}}));
    world.check(&["held"], [Err(UNAVAILABLE), Ok("")]);
    let mut snapshot = Snapshot::default();
    snapshot.set_node(node("a", json!({})));
    snapshot.set_node(node("b", json!({})));
    snapshot.devices = world.0;
    let pod = using(&["held"]);
    assert!(stuck(&pod, &snapshot).is_some(), "nobody else has it");
    let user = json!({"resource": "pods", "name": "other", "uid": "other"});
    let held = json!({"metadata": {"name": "held", "namespace": "default", "uid": "held"}, "spec": {},
        "status": {"allocation": allocation, "reservedFor": [user]}});
    snapshot.devices.set_claim(&parse(held));
    assert!(stuck(&pod, &snapshot).is_none());
    let slot = snapshot.slot("b").unwrap();
    let plan = plan(&pod, &snapshot, snapshot.node(slot).node().unwrap(), 1).unwrap();
    assert!(matches!(plan.claims.as_slice(), [(_, None)]), "reserved, with the devices it has");
}

#[test]
fn drivers_are_told_what_classes_and_claims_say() {
    let mut world = World::new();
    let say = |parameters: &str| json!({"opaque": {"driver": "gpu.example.com", "parameters": {"say": parameters}}});
    let spec = json!({"config": [say("class")]});
    world.0.set_class(&parse(json!({"metadata": {"name": "gpu"}, "spec": spec})));
    let mut of_x = say("x");
    of_x["requests"] = json!(["x"]);
    let mut of_other = say("other");
    of_other["requests"] = json!(["z"]);
    world.claim(
        "c",
        json!({"spec": {"devices": {"requests": [exactly("x", json!({})), exactly("y", json!({}))],
        "config": [of_x, of_other, say("all")]}}}),
    );
    let (pod, at) = (using(&["c"]), node("a", json!({})));
    let wanted = wanted(&pod, &world.0).unwrap();
    let found = allocations(&wanted, &taken(&world.0), &world.0, &at, 1).unwrap();
    let told = serde_json::to_value(&found.of_claims[0]).unwrap();
    let config = told["devices"]["config"].as_array().unwrap();
    let shown: Vec<_> =
        config.iter().map(|one| (&one["source"], &one["requests"], &one["opaque"]["parameters"]["say"])).collect();
    assert_eq!(
        serde_json::to_value(shown).unwrap(),
        json!([["FromClass", ["x", "y"], "class"], ["FromClaim", ["x"], "x"], ["FromClaim", null, "all"]])
    );
    let fields = &told["nodeSelector"]["nodeSelectorTerms"][0]["matchFields"][0];
    assert_eq!(*fields, json!({"key": "metadata.name", "operator": "In", "values": ["a"]}));
}

#[test]
fn a_search_ends_in_time() {
    let mut world = World::new();
    let many: Vec<Value> = (0..24).map(|n| gpu(&format!("gpu-{n:02}"), &n.to_string(), json!({}))).collect();
    world.slice("b", json!({"driver": "gpu.example.com", "nodeName": "b", "devices": many}));
    let constraint = json!({"requests": [], "matchAttribute": "gpu.example.com/model"});
    let requests = json!([exactly("r", json!({"count": 12}))]);
    world.claim("twelve", json!({"spec": {"devices": {"requests": requests, "constraints": [constraint]}}}));
    let pod = using(&["twelve"]);
    let mut wanted = wanted(&pod, &world.0).unwrap();
    let mut ends = |timeout: Option<Duration>, at: &str| {
        wanted.limit = timeout.map(|timeout| Limit { clock: Clock::system(), timeout });
        allocations(&wanted, &taken(&world.0), &world.0, &node(at, json!({})), 0).map(drop)
    };
    let late = Err("node b: timed out trying to allocate devices".to_owned());
    assert_eq!(ends(Some(Duration::ZERO), "b"), late);
    assert_eq!(ends(Some(Duration::from_secs(3600)), "b"), Err(TOO_FEW.to_owned()));
    assert_eq!(ends(Some(Duration::ZERO), "a"), Err(TOO_FEW.to_owned()), "a short one needs no clock");
}
