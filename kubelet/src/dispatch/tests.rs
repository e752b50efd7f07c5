//! Who has a pod's place, at every moment.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::*;
use crate::pod::worker_tests::{Bed, until};

fn static_pod(uid: &str) -> Arc<Pod> {
    let object = json!({"metadata": {"name": "web", "namespace": "ns", "uid": uid,
        "annotations": {spec::CONFIG_SOURCE: "file"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    Arc::new(serde_json::from_value(object).expect("a pod"))
}

/// Somebody looks all the time while static pods of one name follow each other: a place that is free for a moment, between
/// the end of one and the start of the next, would be taken by a third.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_place_of_a_static_pod_is_not_free_before_the_next_has_it() {
    let mut bed = Bed::new();
    let (_node, dispatch) = bed.dispatcher();
    dispatch.put(static_pod("0"));
    let is_over = Arc::new(AtomicBool::new(false));
    let look = {
        let (dispatch, is_over) = (dispatch.clone(), is_over.clone());
        move || {
            let mut free = 0;
            while !is_over.load(Ordering::Relaxed) {
                free += usize::from(dispatch.lock().is_empty());
            }
            free
        }
    };
    let look = std::thread::spawn(look);
    for round in 1..=40 {
        let (before, next) = ((round - 1).to_string(), round.to_string());
        dispatch.gone(&before);
        dispatch.put(static_pod(&next));
        until("the next has the place", || dispatch.has(&next)).await;
    }
    is_over.store(true, Ordering::Relaxed);
    assert_eq!(look.join().expect("no panic"), 0, "times that the place was free");
}
