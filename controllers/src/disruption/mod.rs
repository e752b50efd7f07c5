//! The disruption controller: keeps PodDisruptionBudgets told how many pods may be evicted.
//!
//! Enter by [`run`]. This shell reads the caches, lets [`plan`] count and writes the status; the eviction API is what acts on
//! it. It also takes back the condition of pods that were to be disrupted and were not. Concepts: "Disruptions".

mod plan;
mod scale;

use std::sync::Arc;

use component::context::Context;
use component::informer::{Event, Informer};
use component::key::Key;
use component::queue::{self, Queue};
use component::recorder::Type;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use kube::api::PostParams;
use kube::core::{Selector, SelectorExt};
use kube::{Api, ResourceExt};

use self::scale::Scales;
use crate::common::error::{Doing, Error, wait_for_event};
use crate::common::go_text::label_selector;
use crate::common::map;
use crate::common::owner::selector;
use crate::common::pod::Pod;
use crate::common::pod_status;

struct Controller {
    ctx: Context,
    budgets: Informer<PodDisruptionBudget>,
    pods: Informer<Pod>,
    scales: Scales,
    queue: Queue<Key>,
    stale: Queue<Key>,
}

/// Runs until the context's shutdown.
pub(crate) async fn run(ctx: Context) {
    let controller = Arc::new(Controller {
        budgets: ctx.informers.of(),
        pods: ctx.informers.of(),
        scales: Scales::new(&ctx),
        queue: Queue::new("disruption"),
        stale: Queue::new("stale_pod_disruption"),
        ctx,
    });
    let queue = controller.queue.clone();
    controller.budgets.on_event(move |event| queue.add(Key::of(&**event.object())));
    controller.pods.notify(&controller, Controller::on_pod);
    let synced = async {
        controller.budgets.synced().await;
        controller.pods.synced().await;
        controller.scales.synced().await;
    };
    let shutdown = controller.ctx.shutdown.clone();
    if shutdown.run_until(synced).await.is_some() {
        let budgets = queue::run(controller.queue.clone(), 1, shutdown.clone(), |key| controller.sync(key));
        let stale = queue::run(controller.stale.clone(), 1, shutdown, |key| controller.take_back(key));
        tokio::join!(budgets, stale);
    }
}

impl Controller {
    fn on_pod(&self, event: &Event<Pod>) {
        let pod = event.object();
        let mut keys = self.budgets_of(pod);
        if keys.len() > 1 && matches!(event, Event::Added(_)) {
            let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
            let chosen = &keys[0].name;
            let message = format!(
                "Pod {namespace:?}/{name:?} matches multiple PodDisruptionBudgets.  Chose {chosen:?} arbitrarily."
            );
            self.ctx.recorder.event(&**pod, Type::Warning, "MultiplePodDisruptionBudgets", message);
        }
        if let Some(old) = event.old().filter(|old| old.labels() != pod.labels()) {
            keys.extend(self.budgets_of(old));
        }
        keys.into_iter().for_each(|key| self.queue.add(key));
        if let (Event::Added(_) | Event::Updated { .. }, Some(after)) =
            (event, plan::stale_in(pod, self.ctx.clock.now()))
        {
            self.stale.add_after(Key::of(&**pod), after);
        }
    }

    fn budgets_of(&self, pod: &Pod) -> Vec<Key> {
        let all = self.budgets.in_namespace(pod.metadata.namespace.as_deref().unwrap_or_default());
        let matching = all.iter().filter(|b| selector_of(b).is_some_and(|s| s.matches(map(&pod.metadata.labels))));
        matching.map(|b| Key::of(&**b)).collect()
    }

    async fn sync(&self, key: Key) -> Result<(), Error> {
        let Some(pdb) = self.budgets.get_key(&key) else { return Ok(()) };
        let selector = selector_of(&pdb);
        let mut pods = self.pods.in_namespace(&key.namespace);
        pods.retain(|pod| selector.as_ref().is_some_and(|s| s.matches(map(&pod.metadata.labels))));
        if pods.is_empty() {
            self.ctx.recorder.event(&*pdb, Type::Normal, "NoPods", "No matching pods found");
        }
        let wanted = match self.wanted(&pdb, &pods).await {
            Ok(wanted) => wanted,
            Err(e) => {
                let message = e.own_words();
                let event = format!("Failed to calculate the number of expected pods: {message}");
                self.ctx.recorder.event(&*pdb, Type::Warning, "CalculateExpectedPodCountFailed", event);
                return self.write(&key, &pdb, plan::failed(&pdb, &message, self.ctx.clock.now())).await;
            }
        };
        let look = plan::look(&pdb, &pods, wanted, self.ctx.clock.now());
        for pod in &look.not_deleted {
            let message = format!("Pod was expected by PDB {key} to be deleted but it wasn't");
            self.ctx.recorder.event(&**pod, Type::Warning, "NotDeleted", message);
        }
        self.write(&key, &pdb, look.status).await?;
        if let Some(after) = look.recheck {
            self.queue.add_after(key, after);
        }
        Ok(())
    }

    async fn wanted(&self, pdb: &PodDisruptionBudget, pods: &[Arc<Pod>]) -> Result<plan::Wanted, Error> {
        let Some(spec) = &pdb.spec else { return Ok(plan::Wanted::default()) };
        if !plan::needs_scale(spec) {
            return Ok(plan::wanted(spec, pods.len(), 0));
        }
        let expected = self.scales.of(pods).await?;
        if !expected.unmanaged.is_empty() {
            let selector = spec.selector.as_ref().map_or_else(|| "nil".into(), label_selector);
            let message = format!(
                "Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a result, \
                 the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account \
                 for these pods please set \".spec.minAvailable\" field of the PDB to an integer value."
            );
            self.ctx.recorder.event(pdb, Type::Warning, "UnmanagedPods", message);
        }
        Ok(plan::wanted(spec, pods.len(), expected.count))
    }

    async fn write(
        &self,
        key: &Key,
        pdb: &PodDisruptionBudget,
        status: PodDisruptionBudgetStatus,
    ) -> Result<(), Error> {
        if pdb.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let changed = PodDisruptionBudget { status: Some(status), ..pdb.clone() };
        let api = Api::<PodDisruptionBudget>::namespaced(self.ctx.client.clone(), &key.namespace);
        let written = api.replace_status(&key.name, &PostParams::default(), &changed).await;
        wait_for_event(written.map(drop).doing("update status of pod disruption budget", key))
    }

    async fn take_back(&self, key: Key) -> Result<(), Error> {
        let now = self.ctx.clock.now();
        let Some(pod) = self.pods.get_key(&key) else { return Ok(()) };
        match plan::stale_in(&pod, now) {
            None => Ok(()),
            Some(left) if !left.is_zero() => {
                self.stale.add_after(key, left);
                Ok(())
            }
            Some(_) => pod_status::patch_as_seen(&self.ctx.client, &pod, plan::no_longer_target(&pod, now)).await,
        }
    }
}

/// None selects nothing; an empty one selects all.
fn selector_of(pdb: &PodDisruptionBudget) -> Option<Selector> {
    pdb.spec.as_ref().and_then(|s| s.selector.as_ref()).and_then(selector)
}
