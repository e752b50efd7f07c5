//! Who did what when, written down (Kubernetes concept: "Auditing").
//!
//! Enter at [`Auditor::from_flags`] and [`Trail`]. [`policy`] says what is written of a request, [`event`] in which form;
//! both are pure. [`backend`] is where it goes: a [`log`] or a [`webhook`], by itself or in a [`batch`], with or without
//! its request waiting for that; [`truncate`] says what of a large one. No thread waits: requests do.

mod backend;
mod batch;
mod event;
mod log;
mod policy;
mod trail;
mod truncate;
mod webhook;

use std::path::Path;
use std::sync::{Arc, LazyLock};

use component::clock::Clock;
use component::flags::Values;
use component::metrics::counter;
use component::random::Random;
use prometheus::IntCounterVec;

pub use trail::Trail;

use backend::{Backend, Receipt};
use batch::Queue;
use event::Event;
use policy::{Level, Policy};

static EVENTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter("apiserver_audit_event_total", "Counter of audit events generated and sent to the audit backend.", &[])
});
static LEVELS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter("apiserver_audit_level_total", "Counter of policy levels for audit events (1 per request).", &["level"])
});
static ERRORS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Counter of audit events that failed to be audited properly.";
    counter("apiserver_audit_error_total", help, &["plugin"])
});

fn level_counted(level: Level) {
    LEVELS.with_label_values(&[format!("{level:?}").as_str()]).inc();
}

/// The policy and where events go.
pub struct Auditor {
    policy: Policy,
    backends: Vec<Backend>,
    clock: Clock,
}

impl Auditor {
    /// None where the flags ask for none.
    pub fn from_flags(values: &Values, clock: Clock, random: &Random) -> Result<Option<Arc<Self>>, String> {
        let policy = values.opt_str("audit-policy-file");
        let wanted = [("audit-log-path", "log"), ("audit-webhook-config-file", "webhook")];
        let wanted = wanted.into_iter().filter_map(|(flag, plugin)| Some((flag, plugin, values.opt_str(flag)?)));
        let mut backends = Vec::new();
        for (flag, plugin, given) in wanted {
            match (policy, plugin) {
                (None, _) => tracing::warn!("no --audit-policy-file is given: nothing will be written to --{flag}"),
                (_, "log") => backends.push(Backend::log(values, given, clock)?),
                _ => backends.push(Backend::webhook(values, given, random.clone())?),
            }
        }
        let Some(policy) = policy.filter(|_| !backends.is_empty()) else { return Ok(None) };
        let policy: Policy = component::config::load(Path::new(policy), "Policy", &["audit.k8s.io/v1"])
            .map_err(|error| format!("loading audit policy file: {error}"))?;
        let policy = policy.checked().map_err(|wrong| format!("loading audit policy file: {wrong}"))?;
        Ok(Some(Arc::new(Self { policy, backends, clock })))
    }

    fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.backends.iter().filter_map(Backend::queue)
    }

    /// Begins to deliver what goes on beside the requests.
    pub fn start(&self) {
        self.queues().for_each(Queue::start);
    }

    /// When no request runs any more: what waits is delivered.
    pub async fn close(&self) {
        futures::future::join_all(self.queues().map(Queue::close)).await;
    }

    fn now(&self) -> String {
        self.clock.now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
    }

    fn write(&self, event: &Event) -> Receipt {
        EVENTS.with_label_values(&[] as &[&str]).inc();
        let mut receipt = Receipt::default();
        // All of them, whatever becomes of it in the first.
        self.backends.iter().for_each(|backend| backend.write(event, &mut receipt));
        receipt
    }
}
