//! The queues of one priority level: who is served next, who waits, who is turned away.

use super::*;

fn queue(queues: usize, hand: usize, length_max: usize) -> Discipline {
    Discipline::Queue { queues, hand, length_max }
}

/// Flows whose hands of one card are the queues of these numbers.
fn flow(queue: u64) -> u64 {
    queue
}

#[test]
fn the_exempt_always_run_and_the_rejected_never_wait() {
    let now = Instant::now();
    let mut exempt = FairQueues::new(Discipline::Exempt, 0, now);
    assert!((0..100).all(|_| exempt.arrive(0, 1, now).is_ok_and(|arrival| arrival.started.len() == 1)));
    let mut reject = FairQueues::new(Discipline::Reject, 2, now);
    let first = reject.arrive(0, 1, now).unwrap().ticket;
    reject.arrive(0, 1, now).unwrap();
    assert_eq!(reject.arrive(0, 1, now).unwrap_err(), Refusal::NoSeat);
    reject.leave(first, now);
    assert!(reject.arrive(0, 1, now).is_ok());
}

#[test]
fn a_full_queue_refuses_while_nobody_can_run() {
    let now = Instant::now();
    let mut queues = FairQueues::new(queue(2, 1, 2), 1, now);
    let running = queues.arrive(flow(0), 1, now).unwrap();
    assert_eq!(running.started, [running.ticket]);
    let waiting: Vec<Ticket> = (0..2).map(|_| queues.arrive(flow(0), 1, now).unwrap().ticket).collect();
    assert_eq!(queues.arrive(flow(0), 1, now).unwrap_err(), Refusal::QueueFull);
    // The other queue has room.
    let other = queues.arrive(flow(1), 1, now).unwrap();
    assert_eq!((other.queue_length, other.started.len()), (Some(1), 0));
    // Who gives up leaves its place.
    assert_eq!(queues.leave(waiting[1], now).ran, None);
    assert!(queues.arrive(flow(0), 1, now).is_ok());
    assert_eq!(queues.seats_wanted(), 4);
}

/// One flow asks for hundred requests at once, another for ten: of the first twenty that run each has ten.
#[test]
fn a_flood_does_not_starve_a_trickle() {
    let mut now = Instant::now();
    let mut queues = FairQueues::new(queue(8, 1, 1000), 1, now);
    let mut owner = HashMap::new();
    let mut running = Vec::new();
    for (who, count) in [(0, 100), (1, 10)] {
        for _ in 0..count {
            let arrival = queues.arrive(flow(who), 1, now).unwrap();
            owner.insert(arrival.ticket, who);
            running.extend(arrival.started);
        }
    }
    let mut served = [0; 2];
    for _ in 0..20 {
        let ticket = running.pop().expect("somebody runs");
        served[owner[&ticket] as usize] += 1;
        now += Duration::from_millis(5);
        running.extend(queues.leave(ticket, now).started);
    }
    assert!(served[1] >= 9, "{served:?}");
}

/// A flow with slow requests gets no more of the seats' time than one with fast ones.
#[test]
fn time_is_shared_not_requests() {
    let mut now = Instant::now();
    let mut queues = FairQueues::new(queue(8, 1, 10_000), 1, now);
    let took = [Duration::from_millis(50), Duration::from_millis(5)];
    let (mut owner, mut running) = (HashMap::new(), Vec::new());
    for who in [0, 1] {
        for _ in 0..1000 {
            let arrival = queues.arrive(flow(who), 1, now).unwrap();
            owner.insert(arrival.ticket, who as usize);
            running.extend(arrival.started);
        }
    }
    let mut served = [Duration::ZERO; 2];
    for _ in 0..300 {
        let ticket = running.pop().expect("somebody runs");
        let who = owner[&ticket];
        served[who] += took[who];
        now += took[who];
        running.extend(queues.leave(ticket, now).started);
    }
    let ratio = served[0].as_secs_f64() / served[1].as_secs_f64();
    assert!((0.8..1.25).contains(&ratio), "{served:?}");
}

#[test]
fn a_wide_request_waits_for_its_seats() {
    let now = Instant::now();
    let mut queues = FairQueues::new(queue(4, 1, 10), 4, now);
    let narrow = queues.arrive(flow(0), 1, now).unwrap();
    assert_eq!(narrow.started.len(), 1);
    let wide = queues.arrive(flow(1), 4, now).unwrap();
    assert_eq!(wide.started.len(), 0);
    assert_eq!(queues.leave(narrow.ticket, now).started, [wide.ticket]);
    queues.leave(wide.ticket, now);
    // Wider than the level: alone.
    let giant = queues.arrive(flow(2), 9, now).unwrap();
    assert_eq!(giant.started, [giant.ticket]);
    assert_eq!(queues.arrive(flow(3), 1, now).unwrap().started.len(), 0);
}

#[test]
fn other_settings_lose_nobody() {
    let now = Instant::now();
    let mut queues = FairQueues::new(queue(4, 1, 10), 1, now);
    let first = queues.arrive(flow(3), 1, now).unwrap();
    let waiting: Vec<Ticket> = (0..3).map(|_| queues.arrive(flow(3), 1, now).unwrap().ticket).collect();
    assert_eq!(queues.reshape(queue(1, 1, 10), 2, now), waiting[..1]);
    assert_eq!(queues.reshape(Discipline::Reject, 2, now), [] as [Ticket; 0]);
    assert_eq!(queues.leave(first.ticket, now).started, waiting[1..2]);
    assert_eq!(queues.leave(waiting[0], now).started, waiting[2..]);
    queues.leave(waiting[1], now);
    queues.leave(waiting[2], now);
    assert_eq!((queues.seats_wanted(), queues.active, queues.queues.len()), (0, 0, 0));
}
