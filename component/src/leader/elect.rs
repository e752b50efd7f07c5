//! The election itself.

use std::{sync::LazyLock, time::Duration};

use k8s_openapi::api::{coordination::v1::Lease, core::v1::ObjectReference};
use kube::{Api, api::PostParams};
use prometheus::IntGaugeVec;
use tokio::time::{Instant, sleep, timeout};

use super::{
    Error, Settings,
    decide::{Action, JITTER, Observed, decide, released},
};
use crate::{client::shown, context::Context, metrics::int_gauge, recorder::Type, shutdown::Shutdown};

/// Runs `lead` once this process leads, until `lead` ends, shutdown comes or the Lease is lost.
///
/// `lead` gets a signal of its own, triggered when leading ends; it has until the Lease expires to stop, then it is
/// dropped. Returns what `lead` returned; `Ok(None)` when shutdown came before leading. After [`Error::Lost`] the process
/// should exit, as upstream's do: parts of it may still believe to lead.
pub async fn run<F, Fut, T>(settings: Settings, context: &Context, lead: F) -> Result<Option<T>, Error>
where
    F: FnOnce(Shutdown) -> Fut,
    Fut: Future<Output = T>,
{
    settings.validate()?;
    let leading = context.shutdown.child();
    if !settings.elect {
        return Ok(Some(lead(leading).await));
    }
    MASTER.with_label_values(&[&settings.name]).set(0);
    let mut candidate = Candidate::new(settings, context);
    if context.shutdown.run_until(candidate.acquire()).await.is_none() {
        return Ok(None);
    }
    candidate.tell("became leader");
    let status = MASTER.with_label_values(&[&candidate.settings.name]);
    status.set(1);
    let mut work = std::pin::pin!(lead(leading.clone()));
    let finished = tokio::select! {
        biased;
        value = &mut work => Some(value),
        () = candidate.hold() => None,
    };
    status.set(0);
    match finished {
        Some(value) => {
            candidate.release().await;
            Ok(Some(value))
        }
        None => {
            candidate.tell("stopped leading");
            leading.trigger();
            let rest = candidate.settings.lease_duration - candidate.settings.renew_deadline;
            let _ = timeout(rest, work).await;
            Err(Error::Lost)
        }
    }
}

static MASTER: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "Whether this process holds the lease of that name: 1 it does, 0 it does not.";
    int_gauge("leader_election_master_status", help, &["name"])
});

/// A server that just starts refuses at first; nobody need wait a whole period for it.
const RETRY_FIRST: Duration = Duration::from_millis(100);

/// What came of one try.
enum Attempt {
    Held,
    /// Somebody else holds it.
    Waiting,
    Failed,
}

struct Candidate<'a> {
    settings: Settings,
    context: &'a Context,
    api: Api<Lease>,
    observed: Observed,
    /// The Lease as the server last told it.
    lease: Option<Lease>,
    /// Whom we last reported as the leader.
    reported: String,
}

impl<'a> Candidate<'a> {
    fn new(settings: Settings, context: &'a Context) -> Self {
        let api = Api::namespaced(context.client.clone(), &settings.namespace);
        Self { settings, context, api, observed: Observed::default(), lease: None, reported: String::new() }
    }

    /// Returns once the Lease is held.
    async fn acquire(&mut self) {
        tracing::info!(lease = self.settings.name, "attempting to acquire leader lease");
        let mut soon = RETRY_FIRST;
        loop {
            let delay = match self.attempt().await {
                Attempt::Held => break,
                Attempt::Waiting => self.settings.retry_period,
                Attempt::Failed => {
                    let delay = soon;
                    soon = (soon * 2).min(self.settings.retry_period);
                    delay
                }
            };
            sleep(self.context.random.jitter(delay, JITTER)).await;
        }
        tracing::info!(lease = self.settings.name, "successfully acquired lease");
    }

    /// Renews the Lease; returns when that did not succeed for the renew deadline.
    async fn hold(&mut self) {
        let mut renewed = Instant::now();
        loop {
            sleep(self.settings.retry_period).await;
            let left = self.settings.renew_deadline.saturating_sub(renewed.elapsed());
            match timeout(left, self.attempt()).await {
                Ok(Attempt::Held) => renewed = Instant::now(),
                Ok(_) if renewed.elapsed() < self.settings.renew_deadline => {}
                Ok(_) | Err(_) => {
                    tracing::error!(lease = self.settings.name, "failed to renew lease in time");
                    return;
                }
            }
        }
    }

    /// One try to get or keep the Lease.
    async fn attempt(&mut self) -> Attempt {
        match self.try_once().await {
            Ok(true) => Attempt::Held,
            Ok(false) => Attempt::Waiting,
            Err(error) => {
                // Ours or not is unknown now: look again before the next write.
                self.lease = None;
                tracing::warn!(lease = self.settings.name, error = shown(&error), "leader election try failed");
                Attempt::Failed
            }
        }
    }

    async fn try_once(&mut self) -> kube::Result<bool> {
        let name = self.settings.name.clone();
        let ours = self.lease.clone().filter(|lease| self.is_ours(lease));
        let lease = match ours {
            // The holder writes without reading first: a lost race shows as a conflict.
            Some(lease) => Some(lease),
            None => self.api.get_opt(&name).await?,
        };
        if let Some(spec) = lease.as_ref().and_then(|lease| lease.spec.as_ref()) {
            self.observed.see(spec, Instant::now());
        }
        let action = decide(&self.settings, lease.as_ref(), &self.observed, Instant::now(), self.context.clock.now());
        let wanted = match action {
            Action::Wait { holder } => {
                self.report(holder);
                return Ok(false);
            }
            Action::Write(wanted) => wanted,
        };
        let written = match lease {
            None => self.api.create(&PostParams::default(), &wanted).await?,
            Some(_) => self.api.replace(&name, &PostParams::default(), &wanted).await?,
        };
        self.report(self.settings.identity.as_str().to_owned());
        self.lease = Some(written);
        Ok(true)
    }

    fn is_ours(&self, lease: &Lease) -> bool {
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
        holder.is_some_and(|holder| self.settings.identity.is(holder))
    }

    /// Gives the Lease up, so that a standby need not wait. The work has ended: nobody leads twice.
    async fn release(&self) {
        let name = &self.settings.name;
        match timeout(self.settings.retry_period, self.try_release()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(lease = name, error = shown(&error), "releasing lease failed"),
            Err(_) => tracing::warn!(lease = name, "releasing lease took too long"),
        }
    }

    /// Reads first: a renewal may have been cut off before its answer was taken.
    async fn try_release(&self) -> kube::Result<()> {
        let name = &self.settings.name;
        if let Some(lease) = self.api.get_opt(name).await?.filter(|lease| self.is_ours(lease)) {
            let lease = released(lease, self.context.clock.now());
            self.api.replace(name, &PostParams::default(), &lease).await?;
        }
        Ok(())
    }

    fn report(&mut self, leader: String) {
        if self.reported != leader {
            tracing::info!(lease = self.settings.name, leader, "new leader");
            self.reported = leader;
        }
    }

    fn tell(&self, what: &str) {
        let about = ObjectReference {
            api_version: Some("coordination.k8s.io/v1".to_owned()),
            kind: Some("Lease".to_owned()),
            namespace: Some(self.settings.namespace.clone()),
            name: Some(self.settings.name.clone()),
            uid: self.lease.as_ref().and_then(|lease| lease.metadata.uid.clone()),
            ..ObjectReference::default()
        };
        let message = format!("{} {what}", self.settings.identity.as_str());
        self.context.recorder.event_about(&about, Type::Normal, "LeaderElection", message);
    }
}
