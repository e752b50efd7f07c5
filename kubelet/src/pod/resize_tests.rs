//! Resizes as tables: what is granted, what is due, what the status shows.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use k8s_cri::v1::LinuxContainerResources;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

use super::{
    admission::Room,
    allocation::{Allocation, Settled, settle},
    configs::tests::facts,
    resize::{self, Due, Having},
    spec,
};
use crate::runtime::{ContainerRecord, ContainerState, Observed};

fn pod(resources: Value, policy: Value) -> Pod {
    let object = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u", "generation": 2},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": resources, "resizePolicy": policy}]}});
    serde_json::from_value(object).expect("a pod")
}

fn burstable(cpu: &str, limit: &str) -> Value {
    json!({"requests": {"cpu": cpu, "memory": "32Mi"}, "limits": {"cpu": limit, "memory": "64Mi"}})
}

fn running(shares: i64, quota: i64, memory: i64) -> Observed {
    let resources = LinuxContainerResources {
        cpu_shares: shares,
        cpu_quota: quota,
        cpu_period: 100_000,
        memory_limit_in_bytes: memory,
        ..LinuxContainerResources::default()
    };
    let record =
        ContainerRecord { resources: Some(resources), ..ContainerRecord::for_test("c", ContainerState::Running) };
    Observed::sorted(Vec::new(), vec![record])
}

/// Of a node with two CPUs that nobody has anything of.
fn room() -> Room {
    Room::new(&[], &Node::default(), &facts())
}

const MIB_64: i64 = 64 << 20;

#[test]
fn a_resize_is_granted_where_it_fits() {
    let given = Allocation::of_spec(&pod(burstable("100m", "200m"), Value::Null));
    let judge = |cpu: &str| settle(&given, &pod(burstable(cpu, "4"), Value::Null), &room(), Timestamp::UNIX_EPOCH);
    assert_eq!(
        settle(&given, &pod(burstable("0.1", "0.2"), Value::Null), &room(), Timestamp::UNIX_EPOCH),
        Settled::Same
    );
    assert!(matches!(judge("1"), Settled::Granted(_)));
    let Settled::Waits(pending) = judge("3") else { panic!("three of two CPUs are granted") };
    assert_eq!(pending.message, "Node didn't have enough resource: cpu, requested: 3000, used: 0, capacity: 2000");
    let wish = Arc::new(pod(burstable("3", "4"), Value::Null));
    let shown = given.apply(&wish);
    assert_eq!(Having::wanted(&shown, &spec::spec(&shown).containers[0]).cpu_request_milli, 100);
}

#[test]
fn a_resize_that_came_while_no_kubelet_ran_is_found() {
    let mut object = pod(burstable("1", "2"), Value::Null);
    let status = json!({"containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": true,
        "restartCount": 0, "containerID": "x://c", "resources": burstable("100m", "200m")}]});
    object.status = Some(serde_json::from_value(status).expect("a status"));
    let given = Allocation::recovered(&object);
    assert!(matches!(settle(&given, &object, &room(), Timestamp::UNIX_EPOCH), Settled::Granted(_)));
    object.status = None;
    assert_eq!(settle(&Allocation::recovered(&object), &object, &room(), Timestamp::UNIX_EPOCH), Settled::Same);
}

#[test]
fn a_plain_init_container_may_change_while_it_runs() {
    let of = |cpu: &str| {
        let mut object = pod(burstable("100m", "200m"), Value::Null);
        let init = json!([{"name": "i", "image": "i", "resources": burstable(cpu, "1")}]);
        object.spec.get_or_insert_default().init_containers = serde_json::from_value(init).expect("containers");
        object
    };
    let given = Allocation::of_spec(&of("100m"));
    let wish = Arc::new(of("500m"));
    assert!(matches!(settle(&given, &wish, &room(), Timestamp::UNIX_EPOCH), Settled::Granted(_)));
    let shown = given.apply(&wish);
    let init = &spec::init_containers(&shown)[0];
    assert_eq!(Having::wanted(&shown, init).cpu_request_milli, 100, "until it is granted");
    let mut observed = running(102, 100_000, MIB_64);
    observed.containers[0].name = "i".into();
    let due = resize::due(&wish, &observed, &mut HashMap::new(), &facts());
    assert_eq!(due.updates.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["i"]);
}

#[test]
fn what_runs_otherwise_is_updated_once() {
    let mut actuated = HashMap::new();
    let small = pod(burstable("100m", "200m"), Value::Null);
    let right = running(102, 20_000, MIB_64);
    assert_eq!(resize::due(&small, &right, &mut actuated, &facts()), Due::default());
    // The systemd driver rounds 205 ms/s up to 210.
    let rounded = pod(burstable("100m", "205m"), Value::Null);
    assert!(resize::due(&rounded, &running(102, 21_000, MIB_64), &mut HashMap::new(), &facts()).is_empty());
    let large = pod(burstable("500m", "1"), Value::Null);
    let due = resize::due(&large, &right, &mut actuated, &facts());
    let update = &due.updates[0];
    assert_eq!((update.resources.cpu_shares, update.resources.cpu_quota), (512, 100_000));
    assert_eq!(update.tighter_memory_bytes, None);
    actuated.insert(update.id.clone(), update.wanted);
    assert!(resize::due(&large, &right, &mut actuated, &facts()).is_empty(), "what was accepted is not sent again");
}

#[test]
fn tighter_memory_and_removed_limits_are_told() {
    let none = pod(json!({"requests": {"cpu": "100m", "memory": "32Mi"}}), Value::Null);
    let due = resize::due(&none, &running(102, 20_000, MIB_64), &mut HashMap::new(), &facts());
    assert_eq!(due.updates[0].resources.cpu_quota, -1);
    let mut actuated = HashMap::new();
    let with_limit = pod(burstable("100m", "200m"), Value::Null);
    assert!(resize::due(&with_limit, &running(102, 20_000, MIB_64), &mut actuated, &facts()).is_empty());
    let halved = json!({"requests": {"cpu": "100m", "memory": "32Mi"}, "limits": {"cpu": "200m", "memory": "32Mi"}});
    let due = resize::due(&pod(halved, Value::Null), &running(102, 20_000, MIB_64), &mut actuated, &facts());
    assert_eq!(due.updates[0].tighter_memory_bytes, Some(32 << 20));
}

#[test]
fn a_policy_asks_for_a_restart() {
    let restart = json!([{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]);
    let large = pod(burstable("500m", "1"), restart);
    let due = resize::due(&large, &running(102, 20_000, MIB_64), &mut HashMap::new(), &facts());
    assert_eq!((due.updates.len(), due.restarts.as_slice()), (0, &["c".to_owned()][..]));
}

#[test]
fn statuses_show_what_the_runtime_has() {
    let shown = |cpu: &str, limit: &str, observed: &Observed| {
        let pod = pod(burstable(cpu, limit), Value::Null);
        let resources = resize::actual(&spec::spec(&pod).containers[0], &observed.containers[0]).expect("resources");
        let text = |amounts: &Option<std::collections::BTreeMap<String, _>>| -> String {
            let amounts: &std::collections::BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity> =
                amounts.as_ref().expect("amounts");
            amounts["cpu"].0.clone()
        };
        (text(&resources.requests), text(&resources.limits))
    };
    assert_eq!(shown("500m", "1", &running(102, 20_000, MIB_64)), ("100m".into(), "200m".into()));
    assert_eq!(shown("0.5", "1", &running(512, 100_000, MIB_64)), ("0.5".into(), "1".into()), "texts stay");
    assert_eq!(shown("1m", "5m", &running(2, 1000, MIB_64)), ("1m".into(), "5m".into()), "below what can be told");
}
