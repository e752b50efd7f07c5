//! Who is next: order, back-off, hints.

use serde_json::json;

use super::*;
use crate::testkit::pod;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

fn rejected_by(index: usize) -> PluginSet {
    let mut set = PluginSet::default();
    set.insert(index);
    set
}

fn popped(queue: &mut Queue, seconds: i64) -> Vec<String> {
    std::iter::from_fn(|| queue.pop(at(seconds))).map(|popped| popped.pod.name().to_owned()).collect()
}

fn with(pods: &[(&str, i32, i64)]) -> Queue {
    let mut queue = Queue::default();
    for (name, priority, seconds) in pods {
        queue.add(pod(name, json!({"spec": {"priority": priority}})), at(*seconds));
    }
    queue
}

#[test]
fn priority_then_arrival() {
    let mut queue = with(&[("a", 0, 0), ("b", 5, 1), ("c", 0, 0), ("d", 5, 0)]);
    assert_eq!(popped(&mut queue, 1), ["d", "b", "a", "c"]);
}

#[test]
fn pauses_double_up_to_the_most() {
    let pauses = Backoff::default();
    let seconds: Vec<u64> = (0..7).map(|failures| pauses.after(failures).as_secs()).collect();
    assert_eq!(seconds, [0, 1, 2, 4, 8, 10, 10]);
}

#[test]
fn a_turned_away_pod_waits_for_an_event_and_then_for_its_pause() {
    let mut queue = with(&[("a", 0, 0), ("busy", 0, 0)]);
    queue.pop(at(0));
    queue.unschedulable("a", rejected_by(3), at(0));
    queue.event("NodeAdd", at(0), |_, _| false);
    assert_eq!(queue.lengths(), Lengths { active: 1, unschedulable: 1, ..Lengths::default() });
    queue.event("NodeAdd", at(0), |pod, plugins| pod.name() == "a" && plugins.iter().eq([3]));
    assert_eq!(queue.lengths(), Lengths { active: 1, backoff: 1, ..Lengths::default() });
    assert_eq!(queue.next_wakeup(), Some(at(1)));
    queue.pop(at(0));
    queue.failed("busy", at(0));
    // With nothing else to do the woken pod goes early; the one that failed sits its pause out.
    assert_eq!(popped(&mut queue, 0), ["a"]);
    assert_eq!(popped(&mut queue, 1), ["busy"]);
}

#[test]
fn a_pod_that_changed_while_it_was_judged_is_judged_again() {
    let mut queue = with(&[("a", 0, 0)]);
    queue.pop(at(0));
    queue.update(pod("a", json!({"metadata": {"labels": {"x": "y"}}})), at(0), |_, _| false);
    queue.unschedulable("a", rejected_by(3), at(0));
    assert_eq!(queue.lengths().unschedulable, 0);
    assert_eq!(popped(&mut queue, 1), ["a"]);
}

#[test]
fn a_pause_that_is_over_is_not_waited_for_again() {
    let mut queue = with(&[("a", 0, 0)]);
    queue.pop(at(0));
    queue.unschedulable("a", rejected_by(0), at(0));
    queue.event("NodeAdd", at(1), |_, _| true);
    assert_eq!(queue.lengths().active, 1);
}

#[test]
fn no_plugin_to_ask_means_any_event_helps() {
    let mut queue = with(&[("a", 0, 0)]);
    queue.pop(at(0));
    queue.unschedulable("a", PluginSet::default(), at(0));
    queue.event("NodeAdd", at(5), |_, _| false);
    assert_eq!(popped(&mut queue, 5), ["a"]);
}

#[test]
fn what_happens_while_others_are_asked_about_a_pod_is_not_missed() {
    let mut queue = with(&[("a", 0, 0)]);
    queue.pop(at(0));
    queue.event("NodeAdd", at(0), |_, _| false);
    queue.unschedulable("a", rejected_by(0), at(0));
    assert_eq!(queue.lengths(), Lengths { backoff: 1, ..Lengths::default() });
    assert!(queue.pop(at(0)).is_none(), "it may have been nothing to this pod: it goes when its pause is over");
    assert_eq!(popped(&mut queue, 1), ["a"]);
    queue.unschedulable("a", rejected_by(0), at(1));
    assert_eq!(queue.lengths(), Lengths { unschedulable: 1, ..Lengths::default() });
}

#[test]
fn leftovers_are_tried_again() {
    let mut queue = with(&[("a", 0, 0)]);
    queue.pop(at(0));
    queue.unschedulable("a", rejected_by(0), at(0));
    assert_eq!(queue.next_wakeup(), Some(at(300)));
    assert!(popped(&mut queue, 299).is_empty());
    assert_eq!(popped(&mut queue, 300), ["a"]);
}

#[test]
fn updates_reach_pods_wherever_they_wait() {
    let mut queue = with(&[("a", 0, 0)]);
    let labelled = pod("a", json!({"metadata": {"labels": {"x": "y"}}}));
    queue.update(labelled.clone(), at(0), |_, _| panic!("an active pod needs no waking"));
    assert_eq!(queue.pop(at(0)).unwrap().pod.label("x"), Some("y"));
    queue.unschedulable("a", rejected_by(0), at(0));
    queue.update(labelled.clone(), at(2), |_, _| false);
    assert_eq!(queue.lengths().unschedulable, 1);
    queue.update(labelled, at(2), |old, plugins| old.label("x").is_some() && plugins.iter().eq([0]));
    assert_eq!(queue.lengths().active, 1);
}

#[test]
fn gated_pods_come_when_the_gates_go() {
    let mut queue = Queue::default();
    queue.add(pod("a", json!({"spec": {"schedulingGates": [{"name": "g"}]}})), at(0));
    assert_eq!((queue.lengths().gated, queue.next_wakeup()), (1, None));
    queue.update(pod("a", json!({})), at(0), |_, _| false);
    assert_eq!(popped(&mut queue, 0), ["a"]);
    assert_eq!(queue.lengths(), Lengths::default());
}

#[test]
fn removal_leaves_nothing_behind() {
    let mut queue = with(&[("a", 0, 0), ("b", 0, 0), ("c", 0, 0), ("d", 0, 0)]);
    queue.pop(at(0));
    queue.pop(at(0));
    queue.unschedulable("a", rejected_by(0), at(0));
    queue.failed("b", at(0));
    for name in ["a", "b", "c", "d"] {
        assert!(queue.remove(name).is_some());
        assert!(queue.remove(name).is_none());
    }
    assert_eq!((queue.lengths(), queue.next_wakeup()), (Lengths::default(), None));
    queue.unschedulable("a", rejected_by(0), at(0));
    assert_eq!(queue.lengths(), Lengths::default());
}
