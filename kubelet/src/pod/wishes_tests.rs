//! Whose wish comes first, what is granted to whom, and that its worker hears of it.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::{
    admission::Verdict,
    allocation::{Allocation, Settled},
    configs::{resources, tests::facts},
    node::Registry,
    spec,
    wishes::{Grant, Told, Wish, Wishes, in_order},
    worker_tests::{Bed, status, until},
};

/// With `cpu` as its request; Guaranteed where that is its limit, too.
fn pod(uid: &str, priority: i64, cpu: &str, is_guaranteed: bool) -> Arc<Pod> {
    let amounts = json!({"cpu": cpu, "memory": "32Mi"});
    let limits = if is_guaranteed { amounts.clone() } else { Value::Null };
    let object = json!({"metadata": {"name": uid, "namespace": "ns", "uid": uid, "generation": 2}, "spec": {
        "priority": priority, "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "c", "image": "i:1", "resources": {"requests": amounts, "limits": limits}}]}});
    Arc::new(serde_json::from_value(object).expect("a pod"))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

#[test]
fn wishes_stand_in_upstreams_order() {
    let wish = |uid: &str, priority: i64, cpu: &str, is_guaranteed: bool, since: Option<i64>| {
        let given = Allocation::of_spec(&pod(uid, priority, "500m", is_guaranteed));
        (uid.to_owned(), Wish { pod: pod(uid, priority, cpu, is_guaranteed), given, since: since.map(at) })
    };
    let waiting = BTreeMap::from([
        wish("a-new", 0, "1", false, None),
        wish("b-late", 0, "1", false, Some(20)),
        wish("c-early", 0, "1", false, Some(10)),
        wish("d-guaranteed", 0, "1", true, Some(30)),
        wish("e-important", 7, "1", false, Some(40)),
        wish("f-unimportant", -7, "1", true, Some(1)),
        wish("g-smaller", -9, "100m", false, Some(50)),
    ]);
    let wanted = ["g-smaller", "e-important", "d-guaranteed", "c-early", "b-late", "a-new", "f-unimportant"];
    assert_eq!(in_order(&waiting), wanted);
}

/// The node has two CPUs.
struct Table {
    running: Registry,
    wishes: Wishes,
}

impl Table {
    fn new(pods: &[Arc<Pod>]) -> Self {
        let running = Registry::default();
        pods.iter().for_each(|pod| running.put(pod.clone()));
        Self { running, wishes: Wishes::default() }
    }

    /// A pod that was given 100m asks for something else.
    fn ask(&self, wish: &Arc<Pod>, now: i64) -> Told {
        let given = Allocation::of_spec(&pod("", 0, "100m", false));
        let wish = Wish { pod: wish.clone(), given, since: None };
        self.wishes.settle(wish, &self.running, &facts(), at(now))
    }

    fn cpu_milli(&self, uid: &str) -> i64 {
        self.running.get(uid).map_or(0, |pod| resources::request(&pod, "cpu"))
    }
}

#[test]
fn free_room_goes_to_the_first_that_it_is_enough_for() {
    let table =
        Table::new(&[pod("hog", 0, "1500m", false), pod("low", 0, "100m", false), pod("high", 5, "100m", false)]);
    let (low, high, huge) = (pod("low", 0, "1200m", false), pod("high", 5, "1500m", false), pod("huge", 9, "9", false));
    assert_eq!(table.ask(&low, 1), Told { earlier: None, settled: Settled::Unjudged }, "not all pods are known");
    table.wishes.open(&table.running);
    let waits = |told: Told| match told.settled {
        Settled::Waits(pending) => (told.earlier, pending.since),
        other => panic!("{other:?}"),
    };
    assert_eq!(waits(table.ask(&low, 2)), (None, at(2)));
    assert_eq!(waits(table.ask(&high, 3)), (None, at(3)));
    assert_eq!(waits(table.ask(&huge, 4)), (None, at(4)));
    let mut room = table.running.room();
    table.running.remove("hog");
    room.mark_unchanged();
    assert_eq!(waits(table.ask(&low, 5)).0, None, "the more important one has it, and what cannot fit holds nobody up");
    assert!(room.has_changed().expect("open"), "and is told");
    assert_eq!(table.cpu_milli("high"), 1500, "held before its worker knows");
    let grant = Grant { given: Allocation::of_spec(&high), generation: 2 };
    table.running.put(pod("high", 5, "100m", false));
    room.mark_unchanged();
    assert!(matches!(table.ask(&low, 6).settled, Settled::Waits(_)), "also when the worker shows it as it was");
    assert!(!room.has_changed().expect("open"), "told once");
    table.running.put(pod("high", 5, "100m", false));
    table.wishes.admit(&pod("new", 0, "1", false), &table.running, |others| {
        let held = others.iter().map(|pod| resources::request(pod, "cpu")).sum::<i64>();
        assert_eq!(held, 1600, "a pod that comes does not find it free either");
        Verdict::Admitted
    });
    table.running.remove("new");
    assert_eq!(table.ask(&high, 7), Told { earlier: Some(grant), settled: Settled::Same });
    assert_eq!(table.cpu_milli("high"), 1500);
    assert!(matches!(table.ask(&low, 8).settled, Settled::Waits(_)));
    table.wishes.forget("huge");
    table.running.remove("high");
    assert_eq!(table.ask(&low, 9).settled, Settled::Granted(Allocation::of_spec(&low)));
}

#[test]
fn a_wish_that_changed_is_judged_against_what_was_granted_meanwhile() {
    let table = Table::new(&[pod("one", 0, "100m", false), pod("two", 1, "100m", false)]);
    assert_eq!(table.ask(&pod("two", 1, "1", false), 1).settled, Settled::Unjudged);
    table.wishes.open(&table.running);
    assert!(matches!(table.ask(&pod("one", 0, "9", false), 2).settled, Settled::Waits(_)));
    let (changed, given) = (pod("two", 1, "9", false), Allocation::of_spec(&pod("", 0, "100m", false)));
    let changed = Wish { pod: changed, given, since: Some(at(1)) };
    let Told { earlier, settled } = table.wishes.settle(changed, &table.running, &facts(), at(3));
    assert_eq!(earlier.map(|it| it.given), Some(Allocation::of_spec(&pod("two", 1, "1", false))));
    assert!(matches!(settled, Settled::Waits(pending) if pending.since == at(3)));
    assert_eq!(table.cpu_milli("two"), 1000);
}

#[test]
fn what_an_earlier_kubelet_deferred_keeps_its_place() {
    let mut object = (*pod("p", 0, "9", false)).clone();
    let told = json!({"conditions": [{"type": "PodResizePending", "status": "True", "reason": "Deferred",
            "lastTransitionTime": at(7).to_string(), "message": "no", "observedGeneration": 2}],
        "containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
            "containerID": "x://c", "resources": {"requests": {"cpu": "100m", "memory": "32Mi"}}}]});
    object.status = Some(serde_json::from_value(told).expect("a status"));
    let wish = Wish::recovered(&Arc::new(object));
    assert_eq!((wish.since, wish.given), (Some(at(7)), Allocation::of_spec(&pod("p", 0, "100m", false))));
}

#[tokio::test]
async fn workers_hear_of_what_they_were_granted() {
    let mut bed = Bed::new();
    let (node, dispatch) = bed.dispatcher();
    let pods = [pod("hog", 0, "1500m", false), pod("low", 0, "100m", false), pod("high", 5, "100m", false)];
    for pod in &pods {
        dispatch.put(pod.clone());
    }
    for pod in &pods {
        until("it runs", || status(&node, spec::uid(pod)) == "Running").await;
    }
    let is_pending = |uid: &str| {
        let conditions = node.running.get(uid).and_then(|pod| pod.status.clone()?.conditions).unwrap_or_default();
        conditions.iter().any(|it| it.type_ == "PodResizePending")
    };
    for wish in [pod("low", 0, "1200m", false), pod("high", 5, "1200m", false)] {
        dispatch.put(wish.clone());
        until("it waits", || is_pending(spec::uid(&wish))).await;
    }
    dispatch.gone("hog");
    let cpu_milli = |uid: &str| node.running.get(uid).map_or(0, |pod| resources::request(&pod, "cpu"));
    until("the important one has it", || cpu_milli("high") == 1200 && !is_pending("high")).await;
    let shares = || {
        let state = bed.runtime.state();
        let all: Vec<i64> = state
            .containers
            .values()
            .filter_map(|(_, it)| Some(it.resources.as_ref()?.linux.as_ref()?.cpu_shares))
            .collect();
        all
    };
    until("its container, too", || shares().contains(&1228)).await;
    assert!(is_pending("low") && cpu_milli("low") == 100);
}

/// Running, with `cpu` as what its container still has.
fn having(pod: &Arc<Pod>, cpu: &str) -> Arc<Pod> {
    let mut shown = (**pod).clone();
    let status = json!({"phase": "Running", "containerStatuses": [{"name": "c", "image": "i", "imageID": "",
        "ready": true, "restartCount": 0, "resources": {"requests": {"cpu": cpu, "memory": "32Mi"}}}]});
    shown.status = Some(serde_json::from_value(status).expect("a status"));
    Arc::new(shown)
}

#[test]
fn what_a_resize_gives_back_is_free_once_the_runtime_has_taken_it() {
    let shrunk = pod("shrunk", 0, "100m", false);
    let table = Table::new(&[having(&shrunk, "1500m"), pod("low", 0, "100m", false)]);
    table.wishes.open(&table.running);
    let low = pod("low", 0, "1500m", false);
    let message = |told: Told| match told.settled {
        Settled::Waits(pending) => pending.message,
        other => panic!("{other:?}"),
    };
    let words =
        |used: i64| format!("Node didn't have enough resource: cpu, requested: 1500, used: {used}, capacity: 2000");
    assert_eq!(message(table.ask(&low, 1)), words(1500));
    table.wishes.admit(&pod("new", 0, "100m", false), &table.running, |_| Verdict::Admitted);
    assert_eq!(message(table.ask(&low, 2)), words(1500), "nobody is judged anew while there cannot be more room");
    table.running.put(having(&shrunk, "1"));
    assert_eq!(message(table.ask(&low, 3)), words(1100));
    let mut room = table.running.room();
    room.mark_unchanged();
    table.running.put(having(&shrunk, "100m"));
    assert!(room.has_changed().expect("open"), "those that wait are told");
    assert_eq!(table.ask(&low, 4).settled, Settled::Granted(Allocation::of_spec(&low)));
}

#[test]
fn room_is_given_once_though_a_worker_shows_its_pod_as_it_was() {
    let (first, second) = (pod("first", 5, "1500m", false), pod("second", 0, "1500m", false));
    let before = [pod("first", 5, "100m", false), pod("second", 0, "100m", false)];
    for _ in 0..200 {
        let table = Table::new(&[pod("hog", 0, "1800m", false), before[0].clone(), before[1].clone()]);
        table.wishes.open(&table.running);
        assert!(matches!(table.ask(&first, 1).settled, Settled::Waits(_)));
        table.running.remove("hog");
        let start = std::sync::Barrier::new(2);
        let told = std::thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                (0..200).for_each(|_| table.running.put(before[0].clone()));
            });
            start.wait();
            table.ask(&second, 2)
        });
        assert!(matches!(told.settled, Settled::Waits(_)), "{told:?}");
    }
}

#[test]
fn what_another_worker_of_the_pod_notes_is_judged_by_itself() {
    let table = Table::new(&[pod("p", 0, "100m", false)]);
    table.wishes.open(&table.running);
    let of = |told: Told| match told.settled {
        Settled::Waits(pending) => (pending.generation, pending.message),
        other => panic!("{other:?}"),
    };
    let words = |cpu: i64| format!("Node didn't have enough resource: cpu, requested: {cpu}, used: 0, capacity: 2000");
    assert_eq!(of(table.ask(&pod("p", 0, "9", false), 1)), (2, words(9000)));
    let mut later = (*pod("p", 0, "5", false)).clone();
    later.metadata.generation = Some(3);
    let later = Arc::new(later);
    let given = Allocation::of_spec(&pod("", 0, "100m", false));
    table.wishes.note(Wish { pod: later.clone(), given, since: None });
    assert_eq!(of(table.ask(&later, 2)), (3, words(5000)));
}
