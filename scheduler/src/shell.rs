//! The scheduler among its surroundings: informers feed the core, its decisions go to the API.
//!
//! Enter at [`run`]. One task decides; each binding and each report is a task of its own. What to decide is
//! [`crate::core`]'s business.

mod bind;
mod devices;
mod extend;
mod feed;
mod report;
#[cfg(test)]
mod tests;
mod volumes;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use component::context::Context;
use jiff::Timestamp;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::core::{Core, Nominate, Step};
use crate::extender::Extenders;
use crate::metrics;

/// How many decisions may be on their way to the API at once. More would only queue there.
const IN_FLIGHT_MAX: usize = 256;
/// Decisions in a row before other tasks of the thread get their turn.
const BURST: usize = 16;

/// What the tasks of one scheduler share.
pub(crate) struct Shared {
    pub(crate) context: Context,
    pub(crate) extenders: Extenders,
    core: Mutex<Core>,
    /// Told after every event.
    news: Notify,
    /// The same, for bindings that wait for their claims.
    prepare_news: Notify,
}

impl Shared {
    pub(crate) fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.context.clock.now()
    }

    /// Changes the core and lets the deciding task look again.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Core, Timestamp)) {
        change(&mut self.core(), self.now());
        self.news.notify_one();
        self.prepare_news.notify_waiters();
    }
}

/// Schedules until shutdown. Ends early, with `false`, when shutdown comes before the first lists are in.
pub async fn run(core: Core, extenders: Extenders, context: Context) -> bool {
    let shutdown = context.shutdown.clone();
    let (core, news, prepare_news) = (Mutex::new(core), Notify::new(), Notify::new());
    let shared = Arc::new(Shared { context, extenders, core, news, prepare_news });
    if shutdown.run_until(feed::start(&shared)).await.is_none() {
        return false;
    }
    metrics::show();
    tracing::info!("scheduling");
    shutdown.run_until(decide(&shared)).await;
    true
}

async fn decide(shared: &Arc<Shared>) {
    let slots = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    loop {
        for _ in 0..BURST {
            let Ok(slot) = slots.clone().acquire_owned().await else { return };
            let step = shared.core().step(shared.now());
            if let Step::Idle(until) = step {
                drop(slot);
                wait(shared, until).await;
            } else {
                carry_out(shared, step, slot);
            }
        }
        tokio::task::yield_now().await;
    }
}

fn carry_out(shared: &Arc<Shared>, step: Step, slot: OwnedSemaphorePermit) {
    let shared = shared.clone();
    match step {
        Step::Idle(_) => {}
        Step::Bind { pod, node, attempt, preparation } => {
            // Claims can take minutes: a pod that waits for them is not in anybody's way.
            let slot = (!preparation.waits()).then_some(slot);
            tokio::spawn(async move {
                bind::bind(&shared, pod, &node, preparation, attempt).await;
                drop(slot);
            });
        }
        Step::Consult(consultation) => {
            tokio::spawn(async move {
                if let Some(step) = extend::consult(&shared, *consultation).await {
                    carry_out(&shared, step, slot);
                }
            });
        }
        Step::Unschedulable { pod, mut message, mut preemption, mut nominated, rooms, stuck } => {
            tokio::spawn(async move {
                if let Some(claim) = stuck {
                    devices::deallocate(&shared, &pod, &claim).await;
                }
                if !rooms.is_empty() {
                    match extend::room(&shared, &pod, rooms).await {
                        Ok(found) => {
                            nominated = Nominate::Node(found.node.clone());
                            preemption = Some(found);
                        }
                        Err(why) => message.add_preemption(&why),
                    }
                }
                report::unschedulable(&shared, pod, &message, preemption, nominated).await;
                drop(slot);
            });
        }
    }
}

/// Until an event, or until `until`.
async fn wait(shared: &Shared, until: Option<Timestamp>) {
    let Some(until) = until else { return shared.news.notified().await };
    // A little late rather than a moment early, which would find nothing due and wait again.
    let pause = shared.context.clock.until(until) + Duration::from_millis(1);
    let _ = tokio::time::timeout(pause, shared.news.notified()).await;
}
