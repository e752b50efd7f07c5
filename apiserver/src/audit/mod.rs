//! Who did what when, written down (Kubernetes concept: "Auditing").
//!
//! Enter at [`Auditor::from_flags`] and [`Trail`]. [`policy`] says what is written of a request, [`event`] in which form;
//! both are pure. [`backend`] is where it goes: a [`log`], before the answer goes on, or a [`webhook`]; [`truncate`] says
//! what of a large one.

mod backend;
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

use backend::{Backend, Sink};
use event::Event;
use policy::{Level, Policy};
use webhook::Webhook;

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

    fn webhooks(&self) -> impl Iterator<Item = &Webhook> {
        self.backends.iter().filter_map(|backend| match &backend.sink {
            Sink::Webhook(webhook) => Some(webhook),
            Sink::Log { .. } => None,
        })
    }

    /// Begins to send what is sent beside the requests.
    pub fn start(&self) {
        self.webhooks().for_each(Webhook::start);
    }

    /// When no request runs any more: what waits is sent.
    pub async fn close(&self) {
        futures::future::join_all(self.webhooks().map(Webhook::close)).await;
    }

    fn now(&self) -> String {
        self.clock.now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
    }

    /// The error is for those who must not go on without their event.
    fn write(&self, event: &Event) -> Result<(), ()> {
        EVENTS.with_label_values(&[] as &[&str]).inc();
        // All of them, whatever became of it in the first.
        let refusals = self.backends.iter().filter(|backend| !backend.write(event)).count();
        if refusals == 0 { Ok(()) } else { Err(()) }
    }
}
