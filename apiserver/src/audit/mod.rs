//! Who did what when, written down (Kubernetes concept: "Auditing").
//!
//! Enter at [`Auditor::from_flags`] and [`Trail`]. [`policy`] says what is written of a request, [`event`] in which form;
//! both are pure. [`log`] is the file. Events are written before the answer goes on, one after the other; sending them
//! to a webhook is not built.

mod event;
mod log;
mod policy;
mod trail;

use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use component::clock::Clock;
use component::flags::Values;
use component::metrics::counter;
use prometheus::IntCounterVec;

pub use trail::Trail;

use event::Event;
use log::{Keep, Log};
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
    log: Mutex<Log>,
    /// A request of which nothing can be written is refused.
    is_strict: bool,
    clock: Clock,
}

impl Auditor {
    /// None where the flags ask for none.
    pub fn from_flags(values: &Values, clock: Clock) -> Result<Option<Arc<Self>>, String> {
        let (policy, path) = (values.opt_str("audit-policy-file"), values.opt_str("audit-log-path"));
        let is_strict = match values.str("audit-log-mode") {
            "blocking" => false,
            "blocking-strict" => true,
            "batch" => {
                tracing::warn!("--audit-log-mode=batch: events are written one by one all the same");
                false
            }
            other => {
                return Err(format!(
                    "invalid audit log mode {other}, allowed modes are batch,blocking,blocking-strict"
                ));
            }
        };
        let Some(path) = path else { return Ok(None) };
        let Some(policy) = policy else {
            tracing::warn!("no --audit-policy-file is given: nothing will be written to --audit-log-path");
            return Ok(None);
        };
        let policy: Policy = component::config::load(Path::new(policy), "Policy", &["audit.k8s.io/v1"])
            .map_err(|error| format!("loading audit policy file: {error}"))?;
        let policy = policy.checked().map_err(|wrong| format!("loading audit policy file: {wrong}"))?;
        let number = |flag: &str| {
            let given = values.int(flag);
            u64::try_from(given).map_err(|_| format!("--{flag} {given} can't be a negative number"))
        };
        let keep = Keep {
            age_days_max: number("audit-log-maxage")?,
            backups_max: usize::try_from(number("audit-log-maxbackup")?).unwrap_or(usize::MAX),
            size_mb_max: number("audit-log-maxsize")?,
        };
        let log = Log::open(path, keep, clock).map_err(|error| format!("--audit-log-path {path}: {error}"))?;
        Ok(Some(Arc::new(Self { policy, log: Mutex::new(log), is_strict, clock })))
    }

    fn now(&self) -> String {
        self.clock.now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
    }

    /// The error is for those who must not go on without their event.
    fn write(&self, event: &Event) -> Result<(), ()> {
        EVENTS.with_label_values(&[] as &[&str]).inc();
        let line = serde_json::to_vec(event).map(|mut line| {
            line.push(b'\n');
            line
        });
        let written = line
            .map_err(std::io::Error::from)
            .and_then(|line| self.log.lock().unwrap_or_else(PoisonError::into_inner).write_line(&line));
        match written {
            Ok(()) => Ok(()),
            Err(error) => {
                ERRORS.with_label_values(&["log"]).inc();
                tracing::error!(%error, "writing an audit event");
                if self.is_strict { Err(()) } else { Ok(()) }
            }
        }
    }
}
