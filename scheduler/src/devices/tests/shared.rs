//! Tables of devices that are shared, looked at by administrators, or behind extended resources.

use super::*;

#[test]
fn administrators_get_what_others_have() {
    let mut world = World::new();
    let held = json!({"request": "r", "driver": "gpu.example.com", "pool": "b", "device": "gpu-0"});
    world.claim("theirs", json!({"status": {"allocation": {"devices": {"results": [held]}}}}));
    world.asks("admin", json!([exactly("r", json!({"adminAccess": true}))]));
    world.asks("all", json!([exactly("r", json!({"adminAccess": true, "allocationMode": "All"}))]));
    world
        .asks("twice", json!([exactly("x", json!({"adminAccess": true})), exactly("y", json!({"adminAccess": true}))]));
    world.check(&["admin"], [Ok("r=a/gpu-0!"), Ok("r=b/gpu-0!")]);
    world.check(&["all"], [Ok("r=a/gpu-0! r=a/gpu-1!"), Ok("r=b/gpu-0!")]);
    world.check(&["twice"], [Ok("x=a/gpu-0! y=a/gpu-1!"), Err(TOO_FEW)]);
}

#[test]
fn parts_of_a_device_go_to_several() {
    let mut world = World::new();
    let policy = json!({"default": "10Gi", "validRange": {"min": "5Gi", "step": "5Gi"}});
    let memory = json!({"value": "40Gi", "requestPolicy": policy});
    let device = gpu("0", "x", json!({"allowMultipleAllocations": true, "capacity": {"memory": memory}}));
    world.slice("b", json!({"driver": "gpu.example.com", "nodeName": "b", "devices": [device]}));
    let asks = |amount: &str| exactly("r", json!({"capacity": {"requests": {"memory": amount}}}));
    world.asks("some", json!([asks("12Gi")]));
    world.asks("rest", json!([asks("25Gi")]));
    world.asks("more", json!([asks("26Gi")]));
    world.asks("default", json!([exactly("r", json!({}))]));
    world.asks("other", json!([exactly("r", json!({"capacity": {"requests": {"other": "1"}}}))]));
    world.check(&["some"], [Ok("r=a/gpu-0"), Ok("r=b/0(memory=15Gi)")]);
    world.check(&["some", "rest"], [Ok("r=a/gpu-0; r=a/gpu-1"), Ok("r=b/0(memory=15Gi); r=b/0(memory=25Gi)")]);
    world.check(&["some", "more"], [Ok("r=a/gpu-0; r=a/gpu-1"), Err(TOO_FEW)]);
    world.check(&["default"], [Ok("r=a/gpu-0"), Ok("r=b/0(memory=10Gi)")]);
    world.check(&["other"], [Err(TOO_FEW); 2]);
    let share = json!({"request": "r", "driver": "gpu.example.com", "pool": "b", "device": "0",
        "shareID": "a671734a-e8e5-11e4-8fde-42010af09327", "consumedCapacity": {"memory": "20Gi"}});
    world.claim("theirs", json!({"status": {"allocation": {"devices": {"results": [share]}}}}));
    world.check(&["some"], [Ok("r=a/gpu-0"), Ok("r=b/0(memory=15Gi)")]);
    world.check(&["rest"], [Ok("r=a/gpu-0"), Err(TOO_FEW)]);
    let id = |nonce: u64| {
        let (pod, at) = (using(&["some"]), node("b", json!({})));
        let found = allocations(&wanted(&pod, &world.0).unwrap(), &taken(&world.0), &world.0, &at, nonce);
        let results = found.unwrap().of_claims.remove(0).devices.unwrap().results.unwrap();
        results[0].share_id.clone().unwrap()
    };
    let (first, second) = (id(1), id(2));
    assert_eq!((first.len(), &first[14..15]), (36, "4"), "{first}");
    assert_ne!(first, second, "another attempt's");
}

#[test]
fn a_part_that_is_written_and_not_bound_yet_is_counted_once() {
    let mut world = World::new();
    let policy = json!({"default": "10Gi"});
    let memory = json!({"value": "40Gi", "requestPolicy": policy});
    let device = gpu("0", "x", json!({"allowMultipleAllocations": true, "capacity": {"memory": memory}}));
    world.slice("b", json!({"driver": "gpu.example.com", "nodeName": "b", "devices": [device]}));
    let asks = |amount: &str| json!([exactly("r", json!({"capacity": {"requests": {"memory": amount}}}))]);
    world.asks("theirs", asks("25Gi"));
    world.asks("rest", asks("15Gi"));
    world.asks("more", asks("16Gi"));
    let (theirs, at) = (using(&["theirs"]), node("b", json!({})));
    let mut snapshot = Snapshot::default();
    snapshot.devices = world.0;
    let plan = plan(&theirs, &snapshot, &at, 1).unwrap();
    let written = serde_json::to_value(plan.claims[0].1.as_ref().unwrap()).unwrap();
    let mut world = World(snapshot.devices);
    world.0.assume("theirs", plan);
    world.check(&["rest"], [Ok("r=a/gpu-0"), Ok("r=b/0(memory=15Gi)")]);
    world.claim("theirs", json!({"status": {"allocation": written}}));
    world.check(&["rest"], [Ok("r=a/gpu-0"), Ok("r=b/0(memory=15Gi)")]);
    world.check(&["more"], [Ok("r=a/gpu-0"), Err(TOO_FEW)]);
    world.0.forget("theirs");
    world.check(&["rest"], [Ok("r=a/gpu-0"), Ok("r=b/0(memory=15Gi)")]);
    world.check(&["more"], [Ok("r=a/gpu-0"), Err(TOO_FEW)]);
}

#[test]
fn devices_with_counters_in_common() {
    let mut world = World::new();
    let takes = |n: &str| json!([{"counterSet": "card", "counters": {"memory": {"value": n}}}]);
    let part = |name: &str, n: &str| gpu(name, "x", json!({"consumesCounters": takes(n)}));
    let devices =
        json!([part("whole", "40Gi"), part("half-0", "20Gi"), part("half-1", "20Gi"), part("quarter", "10Gi")]);
    let pool = json!({"name": "b", "generation": 1, "resourceSliceCount": 2});
    let counters = json!([{"name": "card", "counters": {"memory": {"value": "40Gi"}}}]);
    world.slice("b", json!({"driver": "gpu.example.com", "nodeName": "b", "pool": pool, "devices": devices}));
    world.slice(
        "counters",
        json!({"driver": "gpu.example.com", "nodeName": "b", "pool": pool, "sharedCounters": counters}),
    );
    let ask = |count: u8| json!([exactly("r", json!({"count": count}))]);
    world.asks("one", ask(1));
    world.asks("two", ask(2));
    world.asks("three", ask(3));
    world.check(&["one"], [Ok("r=a/gpu-0"), Ok("r=b/whole")]);
    world.check(&["two"], [Ok("r=a/gpu-0 r=a/gpu-1"), Ok("r=b/half-0 r=b/half-1")]);
    world.check(&["three"], [Err(TOO_FEW); 2]);
    let held = json!({"request": "r", "driver": "gpu.example.com", "pool": "b", "device": "half-1"});
    world.claim("theirs", json!({"status": {"allocation": {"devices": {"results": [held]}}}}));
    world.check(&["one"], [Ok("r=a/gpu-0"), Ok("r=b/half-0")]);
    world.check(&["two"], [Ok("r=a/gpu-0 r=a/gpu-1"), Err(TOO_FEW)]);
    let odd = json!([{"name": "other", "counters": {"memory": {"value": "40Gi"}}}]);
    world.slice("counters", json!({"driver": "gpu.example.com", "nodeName": "b", "pool": pool, "sharedCounters": odd}));
    world.check(&["one"], [Ok("r=a/gpu-0"), Err("invalid resource pools were encountered")]);
}

#[test]
fn extended_resources_are_devices_where_the_node_has_none() {
    let mut world = World::new();
    world.0.set_class(&parse(json!({"metadata": {"name": "gpu"}, "spec": {"extendedResourceName": "example.com/gpu",
        "selectors": [cel("device.driver == 'gpu.example.com'")]}})));
    let container = |name: &str, count: u8| json!({"name": name, "resources": {"requests": {"cpu": "1", "example.com/gpu": count.to_string()}}});
    let asks =
        |init: Value, containers: Value| pod("p", json!({"spec": {"initContainers": init, "containers": containers}}));
    let one = asks(json!([]), json!([container("c", 1)]));
    assert_eq!(world.on(&one, "a").as_deref(), Ok("container-0-request-1=a/gpu-0"));
    assert_eq!(world.on(&one, "b").as_deref(), Ok("container-0-request-1=b/gpu-0"));
    let two = asks(json!([]), json!([container("c", 1), container("d", 1)]));
    assert_eq!(world.on(&two, "a").as_deref(), Ok("container-0-request-1=a/gpu-0 container-1-request-1=a/gpu-1"));
    assert_eq!(world.on(&two, "b").unwrap_err(), TOO_FEW);
    let init = asks(json!([container("i", 2), container("j", 1)]), json!([container("c", 1)]));
    assert_eq!(world.on(&init, "a").as_deref(), Ok("container-0-request-1=a/gpu-0 container-2-request-1=a/gpu-1"));
    let at = node("a", json!({}));
    let made = extended::on_node(&init, &at, &world.0).unwrap();
    let shown: Vec<_> = made.mappings.iter().map(|m| format!("{} {}", m.container_name, m.request_name)).collect();
    assert_eq!(
        shown,
        ["c container-2-request-1", "i container-2-request-1", "j container-2-request-1", "i container-0-request-1"]
    );
    let plugged = node("a", json!({"status": {"allocatable": {"example.com/gpu": "4", "pods": "10"}}}));
    assert_eq!(extended::on_node(&init, &plugged, &world.0), None, "a device plugin has them");
    let by_class = json!({"name": "c", "resources": {"requests": {"deviceclass.resource.kubernetes.io/gpu": "1"}}});
    let by_class = asks(json!([]), json!([by_class]));
    assert_eq!(world.on(&by_class, "b").as_deref(), Ok("container-0-request-0=b/gpu-0"));
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p", "controller": true});
    world.claim("left", json!({"metadata": {"ownerReferences": [owner], "annotations": {ANNOTATION: "true"}}}));
    assert_eq!(world.on(&one, "a").unwrap_err(), LEFT_OVER);
}
