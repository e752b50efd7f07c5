//! The work queue in simulated time.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use component::{
    queue::{self, Backoff, Queue},
    shutdown::Shutdown,
};
use tokio::{sync::Notify, time::Instant};

use crate::support::soon;

#[tokio::test(start_paused = true)]
async fn a_key_waits_once_and_is_worked_on_once() {
    let queue = Queue::new("test-once");
    queue.add("a");
    queue.add("a");
    queue.add("b");
    assert_eq!(queue.len(), 2);
    let first = queue.get().await.unwrap();
    queue.add(first);
    assert_eq!(queue.len(), 1, "a key in work does not get ready");
    assert_eq!(queue.get().await, Some("b"));
    queue.done(&first);
    assert_eq!(queue.get().await, Some("a"), "it comes again after its work ended");
}

#[tokio::test(start_paused = true)]
async fn delayed_keys_keep_the_earlier_time() {
    let queue = Queue::new("test-delay");
    let start = Instant::now();
    queue.add_after("late", Duration::from_secs(10));
    queue.add_after("early", Duration::from_secs(5));
    queue.add_after("late", Duration::from_secs(2));
    queue.add_after("early", Duration::from_secs(60));
    assert_eq!(queue.get().await, Some("late"));
    assert_eq!(start.elapsed().as_secs(), 2);
    assert_eq!(queue.get().await, Some("early"));
    assert_eq!(start.elapsed().as_secs(), 5);
}

#[test]
fn back_off_doubles_up_to_its_limit() {
    let backoff = Backoff::default();
    let delays: Vec<_> = (0..4).map(|failures| backoff.delay(failures).as_millis()).collect();
    assert_eq!(delays, [5, 10, 20, 40]);
    assert_eq!(backoff.delay(17), Duration::from_millis(655_360));
    for failures in [18, 31, 32, u32::MAX] {
        assert_eq!(backoff.delay(failures), Duration::from_secs(1000));
    }
}

#[tokio::test(start_paused = true)]
async fn errors_and_panics_are_tried_again_and_success_forgets() {
    let queue = Queue::new("test-retry");
    let (shutdown, tries) = (Shutdown::new(), Arc::new(AtomicUsize::new(0)));
    queue.add("key");
    let (stop, count, seen) = (shutdown.clone(), tries.clone(), queue.clone());
    let work = queue::run(queue.clone(), 2, shutdown, move |key| {
        let (stop, count, seen) = (stop.clone(), count.clone(), seen.clone());
        async move {
            match count.fetch_add(1, Ordering::SeqCst) {
                0 => Err("not yet"),
                1 => panic!("a bug"),
                _ => {
                    assert_eq!(seen.num_requeues(&key), 2);
                    stop.trigger();
                    Ok(())
                }
            }
        }
    });
    soon(work).await;
    assert_eq!(tries.load(Ordering::SeqCst), 3);
    assert_eq!(queue.num_requeues(&"key"), 0);
}

#[tokio::test(start_paused = true)]
async fn workers_share_the_keys_and_shutdown_lets_them_end() {
    let queue = Queue::new("test-workers");
    (0..4).for_each(|key| queue.add(key));
    let (shutdown, running, gate) = (Shutdown::new(), Arc::new(Mutex::new((0, 0))), Arc::new(Notify::new()));
    let (state, open) = (running.clone(), gate.clone());
    let work = tokio::spawn(queue::run(queue.clone(), 3, shutdown.clone(), move |_| {
        let (state, open) = (state.clone(), open.clone());
        async move {
            {
                let mut state = state.lock().unwrap();
                state.0 += 1;
                state.1 = state.1.max(state.0);
            }
            open.notified().await;
            state.lock().unwrap().0 -= 1;
            Ok::<_, String>(())
        }
    }));
    while running.lock().unwrap().0 < 3 {
        tokio::task::yield_now().await;
    }
    shutdown.trigger();
    (0..3).for_each(|_| gate.notify_one());
    soon(work).await.unwrap();
    assert_eq!(*running.lock().unwrap(), (0, 3));
    queue.add(9);
    assert_eq!(queue.len(), 1, "nothing new after shutdown; the fourth key still waits");
}

#[tokio::test(start_paused = true)]
async fn metrics_carry_the_queues_name() {
    let queue = Queue::new("test-metrics");
    queue.add(1);
    queue.add(2);
    queue.add_rate_limited(3);
    let item = queue.get().await.unwrap();
    tokio::time::advance(Duration::from_millis(100)).await;
    queue.done(&item);
    let text = String::from_utf8(component::metrics::text()).unwrap();
    for line in [
        "workqueue_depth{name=\"test-metrics\"} 1",
        "workqueue_adds_total{name=\"test-metrics\"} 2",
        "workqueue_retries_total{name=\"test-metrics\"} 1",
        "workqueue_work_duration_seconds_count{name=\"test-metrics\"} 1",
        "workqueue_work_duration_seconds_sum{name=\"test-metrics\"} 0.1",
        "workqueue_unfinished_work_seconds{name=\"test-metrics\"} 0",
        "workqueue_longest_running_processor_seconds{name=\"test-metrics\"} 0",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}
