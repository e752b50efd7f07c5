//! Priority and fairness: which requests run, which wait, which are refused (Kubernetes concept: "API Priority and
//! Fairness").
//!
//! Enter at [`Fairness::take_seat`]. A request is sorted by the FlowSchemas ([`rules`]) into a level with so many seats
//! ([`shares`]) and into one of its queues ([`hand`], [`queues`]); all of that is pure. [`level`] lets requests wait,
//! [`follow`] keeps the plan true to the stored objects. A write's watchers cost no seats here, unlike upstream: its
//! event is encoded once for all of them.

mod demand;
pub mod dump;
mod follow;
mod hand;
mod level;
mod plan;
mod queues;
mod retry;
mod rules;
mod series;
mod shares;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;

pub use follow::{run, settle};
pub use level::Seat;
pub use plan::Marks;

use crate::request::{RequestInfo, User};
use level::{Demanded, Origin};
use plan::Plan;
use retry::Refusals;

/// Objects that cost one more seat to list.
const OBJECTS_PER_SEAT: usize = 100;
/// The most seats of any one request.
const SEATS_MAX: usize = 10;

pub struct Fairness {
    seats_total: usize,
    plan: RwLock<Arc<Plan>>,
    refusals: Mutex<HashMap<String, Refusals>>,
    begun: Instant,
}

/// Who asks for what, and how long it may wait.
pub struct Asked<'a> {
    pub info: &'a RequestInfo,
    pub user: &'a User,
    /// Objects that it will look at; 0 when it is no list.
    pub objects: usize,
    pub patience: Duration,
}

/// There is no seat.
#[derive(Debug)]
pub struct Refused {
    pub retry_after_seconds: u64,
}

impl Fairness {
    pub fn new(seats_total: usize) -> Self {
        Self {
            seats_total,
            plan: RwLock::new(Arc::new(Plan::new(seats_total, &[], &[], None))),
            refusals: Mutex::default(),
            begun: Instant::now(),
        }
    }

    /// A seat for the request, or a refusal; and how it was sorted, whichever it is.
    pub async fn take_seat(&self, asked: Asked<'_>) -> (Arc<Marks>, Result<Seat, Refused>) {
        let plan = self.plan();
        let Asked { info, user, objects, patience } = asked;
        let Some(schema) = plan.classify(info, user) else {
            return (Arc::default(), Err(Refused { retry_after_seconds: 1 }));
        };
        let planned = &schema.planned;
        let distinguisher = schema.distinguisher(info, user);
        let origin = Origin { distinguisher: distinguisher.to_owned(), user: user.name.clone(), info: info.clone() };
        let demanded = Demanded {
            series: schema.series.clone(),
            flow: schema.flow(distinguisher),
            origin,
            seats: objects.div_ceil(OBJECTS_PER_SEAT).clamp(1, SEATS_MAX.min(planned.request_seats_max)),
            is_watch: info.verb == "watch",
            patience,
        };
        let seat = planned.level.take_seat(demanded).await.map_err(|reason| {
            schema.series.rejected(reason);
            Refused { retry_after_seconds: self.refuse(&planned.level.name) }
        });
        (schema.marks.clone(), seat)
    }

    /// The table at a path below [`dump::PATH`], if there is one of that name.
    pub fn dump(&self, name: &str, with_details: bool, now: jiff::Timestamp) -> Option<String> {
        dump::table(&self.plan(), name, with_details, &dump::Now { instant: Instant::now(), time: now })
    }

    fn refuse(&self, level: &str) -> u64 {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.entry(level.to_owned()).or_default().refuse(self.begun.elapsed().as_secs())
    }

    fn plan(&self) -> Arc<Plan> {
        self.plan.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replan(&self, levels: &[serde_json::Value], schemas: &[serde_json::Value]) {
        let new = Plan::new(self.seats_total, levels, schemas, Some(&self.plan()));
        new.adjust();
        *self.plan.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
    }
}
