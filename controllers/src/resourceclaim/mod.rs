//! The ResourceClaim controller: makes the claims that pods ask for by templates, reserves claims for pods that were placed
//! past the scheduler, takes pods that are done off claims, gives devices back that nobody uses, and deletes claims whose
//! pod has ended.
//!
//! Enter by [`run`]; `plan` is pure. It allocates nothing: that is the scheduler's.

mod metrics;
mod plan;

use std::sync::Arc;

use component::context::Context;
use component::informer::{Event, Informer};
use component::key::Key;
use component::queue::{self, Queue};
use component::recorder::Type;
use k8s_openapi::api::core::v1::PodResourceClaim;
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimConsumerReference, ResourceClaimTemplate};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use self::plan::{FINALIZER, is_done};
use crate::common::device_claims::{claims_of, is_made_for, is_pod, is_unneeded, name_of};
use crate::common::error::{Doing, Error};
use crate::common::pod::Pod;
use crate::common::pods;

const FIELD_MANAGER: &str = "ResourceClaimController";
/// The index of pods by the claims that they name or got.
const BY_CLAIM: &str = "claim";

/// What is to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Work {
    Pod(Key),
    Claim(Key),
}

struct Controller {
    ctx: Context,
    pods: Informer<Pod>,
    claims: Informer<ResourceClaim>,
    templates: Informer<ResourceClaimTemplate>,
    queue: Queue<Work>,
}

/// Runs until the context's shutdown.
pub(crate) async fn run(ctx: Context, workers: usize) {
    let controller = Arc::new(Controller {
        pods: ctx.informers.of(),
        claims: ctx.informers.of(),
        templates: ctx.informers.of(),
        queue: Queue::new("resource_claim"),
        ctx,
    });
    controller.subscribe();
    let claims = Arc::downgrade(&controller);
    component::metrics::before_scrape(move || {
        claims.upgrade().map(|controller| metrics::count(&controller.claims.list())).is_some()
    });
    let synced = async {
        controller.pods.synced().await;
        controller.claims.synced().await;
        controller.templates.synced().await;
    };
    let shutdown = controller.ctx.shutdown.clone();
    if shutdown.run_until(synced).await.is_some() {
        queue::run(controller.queue.clone(), workers, shutdown, |work| controller.sync(work)).await;
    }
}

/// The claims that a pod names or got.
fn named(pod: &Pod) -> impl Iterator<Item = Key> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let extended = pod.status.as_ref().and_then(|status| status.extended_resource_claim.as_deref());
    let names = claims_of(pod).iter().filter_map(move |entry| name_of(pod, entry)).chain(extended);
    names.map(move |name| Key::new(namespace, name))
}

impl Controller {
    fn subscribe(self: &Arc<Self>) {
        self.pods.index(BY_CLAIM, |pod| named(pod).map(|key| key.to_string()).collect());
        self.pods.notify(self, |controller, event| {
            controller.on_pod(event.object(), matches!(event, Event::Deleted(_)));
        });
        self.claims.notify(self, Self::on_claim);
        self.templates.notify(self, |controller, event| {
            let key = Key::of(&**event.object());
            let wants = |entry: &PodResourceClaim| entry.resource_claim_template_name.as_ref() == Some(&key.name);
            let waiting = controller.pods.in_namespace(&key.namespace);
            let waiting = waiting.iter().filter(|pod| claims_of(pod).iter().any(wants));
            waiting.for_each(|pod| controller.queue.add(Work::Pod(Key::of(&**pod))));
        });
    }

    fn on_pod(&self, pod: &Pod, deleted: bool) {
        if deleted || is_done(pod) {
            named(pod).for_each(|claim| self.queue.add(Work::Claim(claim)));
        } else if !claims_of(pod).is_empty() {
            self.queue.add(Work::Pod(Key::of(pod)));
        }
    }

    fn on_claim(&self, event: &Event<ResourceClaim>) {
        let (claim, key) = (event.object(), Key::of(&**event.object()));
        if let Some((pod, _)) = plan::owner(claim) {
            // One that was deleted by mistake is made again.
            self.queue.add(Work::Pod(Key::new(key.namespace.clone(), pod.to_owned())));
        }
        self.pods.by_index(BY_CLAIM, &key.to_string()).iter().for_each(|pod| self.on_pod(pod, false));
        if !matches!(event, Event::Deleted(_)) {
            self.queue.add(Work::Claim(key));
        }
    }

    async fn sync(&self, work: Work) -> Result<(), Error> {
        match work {
            Work::Pod(key) => self.sync_pod(&key).await,
            Work::Claim(key) => self.sync_claim(&key).await,
        }
    }

    async fn sync_pod(&self, key: &Key) -> Result<(), Error> {
        let Some(pod) = self.pods.get_key(key).filter(|pod| pod.metadata.deletion_timestamp.is_none() && !is_done(pod))
        else {
            return Ok(());
        };
        let mut made = Vec::new();
        for entry in claims_of(&pod) {
            match self.ensure(&pod, entry).await {
                Ok(name) => made.extend(name.map(|name| (entry.name.clone(), name))),
                Err(error) => {
                    let message = format!("PodResourceClaim {}: {}", entry.name, error.own_words());
                    self.ctx.recorder.event(&*pod, Type::Warning, "FailedResourceClaimCreation", message);
                    return Err(error);
                }
            }
        }
        if !made.is_empty() {
            self.tell(key, plan::told(&pod, made)).await?;
        }
        self.reserve(&pod).await
    }

    /// For a pod that somebody else than the scheduler placed.
    async fn reserve(&self, pod: &Pod) -> Result<(), Error> {
        if pods::node_name(pod).is_empty() {
            return Ok(());
        }
        let namespace = pod.namespace().unwrap_or_default();
        for entry in claims_of(pod) {
            let Some(claim) = name_of(pod, entry).and_then(|name| self.claims.get(&namespace, name)) else { continue };
            let key = Key::of(&*claim);
            if entry.resource_claim_template_name.is_some() && !is_made_for(pod, &claim) {
                let why = format!("ResourceClaim {key} was not created for Pod {} (Pod is not owner)", Key::of(pod));
                return Err(Error::refused("reserve claim", key, why));
            }
            if let Some(reserved) = plan::reserved_for(&claim, pod) {
                let written = self.api(&key).replace_status(&key.name, &PostParams::default(), &reserved).await;
                written.doing("reserve claim", key)?;
            }
        }
        Ok(())
    }

    /// The claim of the entry's template: its name, where the pod does not know it yet.
    async fn ensure(&self, pod: &Pod, entry: &PodResourceClaim) -> Result<Option<String>, Error> {
        let Some(template) = entry.resource_claim_template_name.as_ref().filter(|_| !is_unneeded(pod, entry)) else {
            return Ok(None);
        };
        let namespace = pod.namespace().unwrap_or_default();
        let known = name_of(pod, entry).and_then(|name| self.claims.get(&namespace, name));
        if known.is_some_and(|claim| is_made_for(pod, &claim)) {
            return Ok(None);
        }
        if let Some(name) = plan::made_for(pod, entry, &self.claims.in_namespace(&namespace)) {
            return Ok(Some(name));
        }
        let Some(found) = self.templates.get(&namespace, template) else {
            let missing = format!("resourceclaimtemplate.resource.k8s.io {template:?} not found");
            let why = format!("resource claim template {template:?}: {missing}");
            return Err(Error::refused("make claim for pod", Key::of(pod), why));
        };
        let api = Api::<ResourceClaim>::namespaced(self.ctx.client.clone(), &namespace);
        let claim = plan::claim_from(&found, pod, entry);
        let created = api.create(&PostParams::default(), &claim).await;
        metrics::created(&claim, created.is_ok());
        // Upstream names the claim here, which has no name before the server gives it one.
        let refused = |e: Error| {
            let why = format!("create ResourceClaim : {}", e.api_message());
            Error::refused("make claim for pod", Key::of(pod), why)
        };
        Ok(Some(created.doing("create ResourceClaim for", Key::of(pod)).map_err(refused)?.name_any()))
    }

    async fn tell(&self, key: &Key, all: Vec<(String, String)>) -> Result<(), Error> {
        let told = |(name, claim): (String, String)| json!({"name": name, "resourceClaimName": claim});
        let statuses: Vec<Value> = all.into_iter().map(told).collect();
        let patch = json!({"apiVersion": "v1", "kind": "Pod", "status": {"resourceClaimStatuses": statuses}});
        let api = Api::<Pod>::namespaced(self.ctx.client.clone(), &key.namespace);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patched = api.patch_status(&key.name, &params, &Patch::Apply(patch)).await;
        patched.map(drop).doing("tell the claims of pod", key)
    }

    async fn sync_claim(&self, key: &Key) -> Result<(), Error> {
        let Some(claim) = self.claims.get_key(key) else { return Ok(()) };
        let mut claim = (*claim).clone();
        let gone = self.gone(&claim).await?;
        if let Some(left) = plan::without_gone(&claim, |consumer| !gone.contains(&consumer.uid)) {
            claim = self
                .api(key)
                .replace_status(&key.name, &PostParams::default(), &left)
                .await
                .doing("release claim", key)?;
            if !plan::is_allocated(&claim) {
                claim = self.let_go(key, claim).await?;
            }
        } else if claim.metadata.deletion_timestamp.is_some() && !plan::is_reserved(&claim) {
            return self.free(key, claim).await;
        }
        if plan::is_reserved(&claim) {
            return Ok(());
        }
        let owner = plan::owner(&claim).and_then(|(pod, uid)| Some((self.pods.get(&key.namespace, pod)?, uid)));
        match owner {
            Some((pod, uid)) if pod.uid().as_deref() != Some(uid) || is_done(&pod) => {
                match self.api(key).delete(&key.name, &DeleteParams::default()).await.doing("delete claim", key) {
                    Err(e) if !e.is_not_found() => Err(e),
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// UIDs of the pods among the consumers that will not use the claim any more. One that the cache lacks may be new.
    async fn gone(&self, claim: &ResourceClaim) -> Result<Vec<String>, Error> {
        let namespace = claim.namespace().unwrap_or_default();
        let consumers = claim.status.iter().flat_map(|status| status.reserved_for.iter().flatten());
        let mut gone = Vec::new();
        for consumer in consumers.filter(|consumer| is_pod(consumer)) {
            if self.is_gone(&namespace, consumer).await? {
                gone.push(consumer.uid.clone());
            }
        }
        Ok(gone)
    }

    async fn is_gone(&self, namespace: &str, consumer: &ResourceClaimConsumerReference) -> Result<bool, Error> {
        if let Some(pod) = self.pods.get(namespace, &consumer.name) {
            return Ok(pod.uid().as_deref() != Some(&consumer.uid) || is_done(&pod));
        }
        let api = Api::<Pod>::namespaced(self.ctx.client.clone(), namespace);
        let found = api.get_metadata_opt(&consumer.name).await.doing("get pod", &consumer.name)?;
        Ok(found.is_none_or(|pod| pod.metadata.uid.as_deref() != Some(&consumer.uid)))
    }

    /// A claim that is to go gives its devices back first.
    async fn free(&self, key: &Key, mut claim: ResourceClaim) -> Result<(), Error> {
        if !claim.finalizers().iter().any(|finalizer| finalizer == FINALIZER) {
            return Ok(());
        }
        if plan::is_allocated(&claim) {
            claim.status.get_or_insert_default().allocation = None;
            claim = self
                .api(key)
                .replace_status(&key.name, &PostParams::default(), &claim)
                .await
                .doing("free claim", key)?;
        }
        self.let_go(key, claim).await.map(drop)
    }

    /// Takes the finalizer off that holds a claim with devices.
    async fn let_go(&self, key: &Key, mut claim: ResourceClaim) -> Result<ResourceClaim, Error> {
        if !claim.finalizers().iter().any(|finalizer| finalizer == FINALIZER) {
            return Ok(claim);
        }
        claim.finalizers_mut().retain(|finalizer| finalizer != FINALIZER);
        self.api(key).replace(&key.name, &PostParams::default(), &claim).await.doing("let claim go", key)
    }

    fn api(&self, key: &Key) -> Api<ResourceClaim> {
        Api::namespaced(self.ctx.client.clone(), &key.namespace)
    }
}
