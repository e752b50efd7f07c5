//! Keeps a VolumeAttributesClass from going while a volume or a claim names it.
//!
//! Enter by [`run`]. It puts a finalizer on, and takes it off a class that is being deleted and that nothing names any more.
//! Concepts: "Storage Object in Use Protection".

use std::sync::Arc;

use component::context::Context;
use component::informer::{Event, Informer};
use component::key::Key;
use component::queue::{self, Queue};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use kube::api::PostParams;
use kube::{Api, Resource, ResourceExt};

use super::protection::{Need, need};
use crate::common::error::{Doing, Error, wait_for_event};

const FINALIZER: &str = "kubernetes.io/vac-protection";

struct Classes {
    ctx: Context,
    classes: Informer<VolumeAttributesClass>,
    volumes: Informer<PersistentVolume>,
    claims: Informer<PersistentVolumeClaim>,
    queue: Queue<Key>,
}

/// Runs until the context's shutdown.
pub(crate) async fn run(ctx: Context) {
    let this = Arc::new(Classes {
        classes: ctx.informers.of(),
        volumes: ctx.informers.of(),
        claims: ctx.informers.of(),
        queue: Queue::new("vacprotection"),
        ctx,
    });
    let queue = this.queue.clone();
    this.classes.on_event(move |event| {
        if need(&**event.object(), FINALIZER) != Need::Nothing && !matches!(event, Event::Deleted(_)) {
            queue.add(Key::of(&**event.object()));
        }
    });
    let queue = this.queue.clone();
    this.volumes.on_event(move |event| released(event, of_volume).for_each(|key| queue.add(key)));
    let queue = this.queue.clone();
    this.claims.on_event(move |event| released(event, of_claim).for_each(|key| queue.add(key)));
    let synced = async {
        this.classes.synced().await;
        this.volumes.synced().await;
        this.claims.synced().await;
    };
    let shutdown = this.ctx.shutdown.clone();
    if shutdown.run_until(synced).await.is_some() {
        queue::run(this.queue.clone(), 1, shutdown, |key| this.sync(key)).await;
    }
}

fn of_volume(volume: &PersistentVolume) -> Vec<String> {
    volume.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.clone()).into_iter().collect()
}

/// What is wished for, what there is, and what a change goes to.
fn of_claim(claim: &PersistentVolumeClaim) -> Vec<String> {
    let wished = claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.clone());
    let status = claim.status.as_ref();
    let current = status.and_then(|status| status.current_volume_attributes_class_name.clone());
    let change = status.and_then(|status| status.modify_volume_status.as_ref());
    let target = change.and_then(|change| change.target_volume_attributes_class_name.clone());
    [wished, current, target].into_iter().flatten().filter(|name| !name.is_empty()).collect()
}

/// Classes that an object has ceased to name.
fn released<K: Resource>(event: &Event<K>, names: fn(&K) -> Vec<String>) -> impl Iterator<Item = Key> {
    let (before, now) = match event {
        Event::Added(_) => (Vec::new(), Vec::new()),
        Event::Updated { old, new } => (names(old), names(new)),
        Event::Deleted(last) => (names(last), Vec::new()),
    };
    before.into_iter().filter(move |name| !now.contains(name)).map(Key::cluster)
}

impl Classes {
    async fn sync(&self, key: Key) -> Result<(), Error> {
        let Some(class) = self.classes.get_key(&key) else { return Ok(()) };
        let mut changed = (*class).clone();
        match need(&*class, FINALIZER) {
            Need::Nothing => return Ok(()),
            Need::Finalizer => changed.finalizers_mut().push(FINALIZER.into()),
            Need::Permission if self.is_used(&key.name) => return Ok(()),
            Need::Permission => changed.finalizers_mut().retain(|finalizer| finalizer != FINALIZER),
        }
        let api = Api::<VolumeAttributesClass>::all(self.ctx.client.clone());
        let written = api.replace(&key.name, &PostParams::default(), &changed).await;
        wait_for_event(written.map(drop).doing("change protection of class", &key))
    }

    fn is_used(&self, name: &str) -> bool {
        let has = |names: Vec<String>| names.iter().any(|own| own == name);
        self.volumes.list().iter().any(|volume| has(of_volume(volume)))
            || self.claims.list().iter().any(|claim| has(of_claim(claim)))
    }
}
