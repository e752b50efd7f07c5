//! Tells events about objects (`core/v1` Event), as client-go's `tools/record` does.
//!
//! [`Recorder::event`] never blocks and never fails: a bounded queue takes the event or drops and counts it. A task
//! behind it (`write`) correlates repetitions (`correlate`, pure) and sends what is left. What a reason means is not
//! known here.

mod correlate;
mod write;

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicI64, Ordering},
};

use jiff::Timestamp;

use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::Resource;
use prometheus::IntCounterVec;
use tokio::sync::mpsc;

use crate::{clock::Clock, metrics, random::Random, shutdown::Shutdown};

/// Events that may wait to be sent; upstream's broadcaster holds as many.
const QUEUE_LENGTH: usize = 1000;

static DROPPED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::counter(
        "skiff_events_dropped_total",
        "Events that were not told, by component and cause",
        &["component", "cause"],
    )
});

/// Whether an event is news or trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Normal,
    Warning,
}

impl Type {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Who tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Such as `kubelet` or `deployment-controller`.
    pub component: String,
    /// The node's name, where the component belongs to a node; empty otherwise.
    pub host: String,
}

impl Source {
    pub fn new(component: impl Into<String>) -> Self {
        Self { component: component.into(), host: String::new() }
    }

    pub fn on_host(mut self, host: impl Into<String>) -> Self {
        self.host = host.into();
        self
    }
}

/// The way to tell events. Cheap to clone; clones share the queue.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Event>,
    source: Source,
    clock: Clock,
    /// The nanosecond of the last event's name.
    last_name: Arc<AtomicI64>,
}

impl Recorder {
    /// Starts the task that sends, on the current runtime. After `shutdown` it sends what waits, for a moment.
    pub fn start(client: kube::Client, source: Source, clock: Clock, random: Random, shutdown: Shutdown) -> Self {
        let (queue, events) = mpsc::channel(QUEUE_LENGTH);
        tokio::spawn(write::run(client, events, source.component.clone(), clock, random, shutdown));
        Self { queue, source, clock, last_name: Arc::default() }
    }

    /// Tells nobody: for tests and for a component without an API server.
    pub fn silent() -> Self {
        Self::to(mpsc::channel(1).0)
    }

    /// Hands every event on as it is made: for tests of what is told.
    pub fn to(queue: mpsc::Sender<Event>) -> Self {
        Self { queue, source: Source::default(), clock: Clock::system(), last_name: Arc::default() }
    }

    /// The same recorder, telling as `source`: a controller manager has many voices.
    pub fn with_source(&self, source: Source) -> Self {
        Self { source, ..self.clone() }
    }

    /// Tells that something happened to `object`. `reason` is short and CamelCase.
    pub fn event<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        kind: Type,
        reason: &str,
        message: impl Into<String>,
    ) {
        let mut regarding = object.object_ref(&());
        regarding.resource_version.clone_from(&object.meta().resource_version);
        self.event_about(&regarding, kind, reason, message);
    }

    /// As [`Recorder::event`], where only a reference is at hand, or one with a `fieldPath`.
    pub fn event_about(&self, regarding: &ObjectReference, kind: Type, reason: &str, message: impl Into<String>) {
        let event = self.make(regarding.clone(), kind, reason, message.into());
        if let Err(refused) = self.queue.try_send(event) {
            let cause = match refused {
                mpsc::error::TrySendError::Full(_) => "queue-full",
                mpsc::error::TrySendError::Closed(_) => "shut-down",
            };
            DROPPED.with_label_values(&[&*self.source.component, cause]).inc();
        }
    }

    /// `now`, or a little later: two events of one instant need two names.
    fn name_nanosecond(&self, now: Timestamp) -> i64 {
        let now = i64::try_from(now.as_nanosecond()).unwrap_or_default();
        let next = |last: i64| Some(now.max(last + 1));
        self.last_name.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).map_or(now, |last| now.max(last + 1))
    }

    fn make(&self, regarding: ObjectReference, kind: Type, reason: &str, message: String) -> Event {
        let now = self.clock.now();
        let object = regarding.name.as_deref().unwrap_or_default();
        // Events about cluster-scoped objects live in `default`.
        let namespace = regarding.namespace.clone().filter(|namespace| !namespace.is_empty());
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{object}.{:x}", self.name_nanosecond(now))),
                namespace: Some(namespace.unwrap_or_else(|| "default".to_owned())),
                ..ObjectMeta::default()
            },
            involved_object: regarding,
            type_: Some(kind.as_str().to_owned()),
            reason: Some(reason.to_owned()),
            message: Some(message),
            source: Some(EventSource {
                component: Some(self.source.component.clone()),
                host: Some(self.source.host.clone()).filter(|host| !host.is_empty()),
            }),
            reporting_component: Some(self.source.component.clone()),
            reporting_instance: Some(self.source.host.clone()),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            count: Some(1),
            ..Event::default()
        }
    }
}
