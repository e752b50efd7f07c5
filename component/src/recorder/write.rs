//! The task that sends events.

use std::time::Duration;

use k8s_openapi::api::core::v1::Event;
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use tokio::{sync::mpsc, time::sleep};

use super::{
    DROPPED,
    correlate::{Correlator, Verdict},
};
use crate::{client::shown, clock::Clock, random::Random, shutdown::Shutdown};

/// Upstream's: a server that cannot be reached is asked 12 times, every 10 s.
const TRIES: u32 = 12;
const RETRY: Duration = Duration::from_secs(10);
/// How long after shutdown waiting events are still sent.
const LAST_WORDS: Duration = Duration::from_secs(2);

pub(super) async fn run(
    client: Client,
    mut events: mpsc::Receiver<Event>,
    component: String,
    clock: Clock,
    random: Random,
    shutdown: Shutdown,
) {
    let mut writer = Writer { client, component, correlator: Correlator::new(), random };
    while let Some(Some(event)) = shutdown.run_until(events.recv()).await {
        if shutdown.run_until(writer.write(event, clock)).await.is_none() {
            break;
        }
    }
    let rest = async {
        while let Ok(event) = events.try_recv() {
            writer.write(event, clock).await;
        }
    };
    let _ = tokio::time::timeout(LAST_WORDS, rest).await;
}

struct Writer {
    client: Client,
    component: String,
    correlator: Correlator,
    random: Random,
}

impl Writer {
    async fn write(&mut self, event: Event, clock: Clock) {
        let verdict = self.correlator.correlate(event, clock.now());
        if matches!(verdict, Verdict::Drop) {
            return self.dropped("spam");
        }
        for attempt in 0..TRIES {
            match self.send(&verdict).await {
                Ok(told) => {
                    if let Verdict::Create(_, id) | Verdict::Patch { id, .. } = verdict {
                        self.correlator.remember(id, &told);
                    }
                    return;
                }
                Err(kube::Error::Api(status)) => {
                    tracing::debug!(
                        code = status.code,
                        message = status.message,
                        "server rejected event, not retrying"
                    );
                    return self.dropped("rejected");
                }
                Err(error) => tracing::debug!(error = shown(&error), attempt, "sending event failed, trying again"),
            }
            // The first retry comes at a random time, or all components would ask a returning server at once.
            let delay = if attempt == 0 { RETRY.mul_f64(self.random.f64()) } else { RETRY };
            sleep(delay).await;
        }
        self.dropped("unreachable");
    }

    async fn send(&self, verdict: &Verdict) -> kube::Result<Event> {
        match verdict {
            Verdict::Drop => Ok(Event::default()),
            Verdict::Create(event, _) => self.create(event).await,
            Verdict::Patch { event, patch, .. } => {
                let name = event.metadata.name.as_deref().unwrap_or_default();
                let patch = Patch::Strategic(patch);
                match self.api(event).patch(name, &PatchParams::default(), &patch).await {
                    Err(kube::Error::Api(status)) if status.code == 404 => self.create(event).await,
                    patched => patched,
                }
            }
        }
    }

    async fn create(&self, event: &Event) -> kube::Result<Event> {
        let mut event = event.clone();
        event.metadata.resource_version = None;
        match self.api(&event).create(&PostParams::default(), &event).await {
            // An earlier try got through, its answer did not.
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(event),
            created => created,
        }
    }

    fn api(&self, event: &Event) -> Api<Event> {
        Api::namespaced(self.client.clone(), event.metadata.namespace.as_deref().unwrap_or("default"))
    }

    fn dropped(&self, cause: &str) {
        DROPPED.with_label_values(&[self.component.as_str(), cause]).inc();
    }
}
