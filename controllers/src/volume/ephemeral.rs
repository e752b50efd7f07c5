//! The ephemeral volume controller: claims for the volumes that pods bring with them.
//!
//! Enter by [`run`]. The claim is the pod's, and goes with it. Concepts: "Generic ephemeral volumes".

use std::sync::Arc;

use component::context::Context;
use component::informer::{Event, Informer};
use component::key::Key;
use component::queue::{self, Queue};
use component::recorder::Type;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, ResourceExt};

use super::pods;
use crate::common::error::{Doing, Error};
use crate::common::owner::controller_ref;
use crate::common::pod::{Pod, Volume};

struct Controller {
    ctx: Context,
    pods: Informer<Pod>,
    claims: Informer<PersistentVolumeClaim>,
}

/// Runs until the context's shutdown.
pub(crate) async fn run(ctx: Context, workers: usize) {
    let controller = Arc::new(Controller { pods: ctx.informers.of(), claims: ctx.informers.of(), ctx });
    let queue = Queue::new("ephemeral_volume");
    pods::index_by_claim(&controller.pods);
    let events = queue.clone();
    controller.pods.on_event(move |event| {
        if let Event::Added(pod) = event
            && wants_claims(pod)
        {
            events.add(Key::of(&**pod));
        }
    });
    let (events, all) = (queue.clone(), controller.pods.clone());
    controller.claims.on_event(move |event| {
        if let Event::Deleted(claim) = event {
            let users = pods::using(&all, &Key::of(&**claim));
            users.iter().filter(|pod| wants_claims(pod)).for_each(|pod| events.add(Key::of(&**pod)));
        }
    });
    let synced = async {
        controller.pods.synced().await;
        controller.claims.synced().await;
    };
    let shutdown = controller.ctx.shutdown.clone();
    if shutdown.run_until(synced).await.is_some() {
        queue::run(queue, workers, shutdown, |key| controller.sync(key)).await;
    }
}

fn wants_claims(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none() && pods::volumes(pod).any(|v| v.ephemeral.is_some())
}

impl Controller {
    async fn sync(&self, key: Key) -> Result<(), Error> {
        let Some(pod) = self.pods.get_key(&key).filter(|pod| wants_claims(pod)) else { return Ok(()) };
        for volume in pods::volumes(&pod) {
            if let Err(error) = self.ensure(&pod, volume).await {
                let message = format!("ephemeral volume {}: {}", volume.name, error.own_words());
                self.ctx.recorder.event(&*pod, Type::Warning, "FailedBinding", message);
                return Err(error);
            }
        }
        Ok(())
    }

    async fn ensure(&self, pod: &Pod, volume: &Volume) -> Result<(), Error> {
        let Some(claim) = claim_for(pod, volume) else { return Ok(()) };
        let key = Key::of(&claim);
        match self.claims.get_key(&key) {
            Some(there) if pods::is_made_for(pod, &there) => Ok(()),
            Some(_) => {
                let why = format!("PVC {key} was not created for pod {} (pod is not owner)", Key::of(pod));
                Err(Error::refused("use claim for ephemeral volume", key, why))
            }
            None => {
                let api = Api::<PersistentVolumeClaim>::namespaced(self.ctx.client.clone(), &key.namespace);
                let created = api.create(&PostParams::default(), &claim).await.map(drop).doing("create PVC", &key.name);
                created.map_err(|e| {
                    let why = format!("create PVC {}: {}", key.name, e.api_message());
                    Error::refused("make claim of ephemeral volume", &key, why)
                })
            }
        }
    }
}

fn claim_for(pod: &Pod, volume: &Volume) -> Option<PersistentVolumeClaim> {
    let template = volume.ephemeral.as_ref()?.volume_claim_template.as_ref()?;
    let given = template.metadata.clone().unwrap_or_default();
    Some(PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(pods::ephemeral_name(pod, volume)),
            namespace: pod.namespace(),
            labels: given.labels,
            annotations: given.annotations,
            owner_references: Some(vec![controller_ref(pod)]),
            ..Default::default()
        },
        spec: Some(template.spec.clone()),
        status: None,
    })
}
