//! Writes into a pod's claims which devices they have and that the pod uses them, before the pod is bound; and takes the
//! pod off them when it is not bound after all.

use std::sync::Arc;
use std::time::Duration;

use component::recorder::Type;
use k8s_openapi::api::resource::v1::{AllocationResult, ResourceClaim, ResourceClaimConsumerReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::{Shared, bind::recorder};
use crate::devices::readiness::{self, Readiness};
use crate::devices::{ANNOTATION, Extended};
use crate::objects::Pod;
use crate::snapshot::DevicePlan;

/// Holds a claim that devices are allocated for.
const FINALIZER: &str = "resource.kubernetes.io/delete-protection";
/// How often a claim that others write too is read again.
const CONFLICTS_MAX: usize = 5;

/// The error is for people; then no claim is reserved for the pod.
pub(super) async fn reserve(
    shared: &Shared,
    pod: &Pod,
    node: &str,
    (plan, timeout): (&DevicePlan, Duration),
) -> Result<(), String> {
    let done = match write_all(shared, pod, plan).await {
        Ok(()) if plan.waits() => {
            let message = format!("waiting for binding conditions for device on node {node}");
            recorder(shared, pod).event(pod, Type::Normal, "BindingConditionsPending", message);
            ready(shared, pod, plan, timeout).await
        }
        done => done,
    };
    if done.is_err() {
        unreserve(shared, pod, plan).await;
    }
    done
}

async fn write_all(shared: &Shared, pod: &Pod, plan: &DevicePlan) -> Result<(), String> {
    for (claim, allocation) in &plan.claims {
        match reserve_one(shared, pod, claim, allocation.as_ref()).await {
            // What is decided next must know of it, and the watch may be behind.
            Ok(written) => shared.change(|core, _| core.device_claim_written(written)),
            Err(why) => return Err(why),
        }
    }
    match &plan.extended {
        Some(extended) => extend(shared, pod, &extended.0, &extended.1).await,
        None => Ok(()),
    }
}

/// Waits until drivers say that the devices are ready. Those that are too late are given back.
async fn ready(shared: &Shared, pod: &Pod, plan: &DevicePlan, timeout: Duration) -> Result<(), String> {
    let waiting = async {
        loop {
            // Registered before the claims are looked at: a change in between is kept.
            let news = shared.prepare_news.notified();
            if all_ready(shared, pod, plan)?.is_none() {
                return Ok(());
            }
            news.await;
        }
    };
    if let Ok(outcome) = tokio::time::timeout(timeout, waiting).await {
        return outcome;
    }
    match all_ready(shared, pod, plan)? {
        None => Ok(()),
        Some(late) => {
            let why = format!("device binding timeout: claim={}", late.name_any());
            deallocate(shared, pod, &late).await;
            Err(why)
        }
    }
}

/// A claim that is not ready yet.
fn all_ready(shared: &Shared, pod: &Pod, plan: &DevicePlan) -> Result<Option<Arc<ResourceClaim>>, String> {
    let core = shared.core();
    let extended = plan.extended.as_ref().and_then(|_| core.extended_claim(pod));
    let claims = plan.claims.iter().map(|(claim, _)| core.device_claim(pod.namespace(), &claim.name_any()));
    for claim in claims.chain(plan.extended.is_some().then_some(extended)) {
        let Some(claim) = claim else { return Err("a claim is gone".to_owned()) };
        match readiness::of(&claim) {
            Readiness::Ready => {}
            Readiness::Waiting => return Ok(Some(claim)),
            Readiness::Failed(why) => return Err(why),
        }
    }
    Ok(None)
}

/// Makes the claim for a pod's extended resources, and says in the pod's status which requests are for which container.
async fn extend(shared: &Shared, pod: &Pod, extended: &Extended, allocation: &AllocationResult) -> Result<(), String> {
    let mut claim = extended.claim.clone();
    claim.metadata.uid = None;
    let made = api(shared, pod).create(&PostParams::default(), &claim).await;
    let shown = format!("{}/{}", pod.namespace(), claim.metadata.generate_name.as_deref().unwrap_or_default());
    let made = made.map_err(|error| format!("create claim for extended resources {shown}: {error}"))?;
    shared.change(|core, _| core.device_claim_written(made.clone()));
    let written = reserve_one(shared, pod, &made, Some(allocation)).await?;
    shared.change(|core, _| core.device_claim_written(written));
    let told = json!({"resourceClaimName": made.name_any(), "requestMappings": extended.mappings});
    let patch = json!({"metadata": {"uid": pod.uid()}, "status": {"extendedResourceClaimStatus": told}});
    let pods = Api::<Pod>::namespaced(shared.context.client.clone(), pod.namespace());
    let patched = pods.patch_status(pod.name(), &PatchParams::default(), &Patch::Merge(patch)).await;
    let of = || format!("{}/{}", pod.namespace(), pod.name());
    patched.map(drop).map_err(|error| format!("update pod {} ExtendedResourceClaimStatus: {error}", of()))
}

fn left_over(shared: &Shared, pod: &Pod) -> Option<Arc<ResourceClaim>> {
    shared.core().extended_claim(pod)
}

/// Best effort: a claim that stays is found, and given up, before the pod is tried again.
async fn remove(shared: &Shared, pod: &Pod, claim: &ResourceClaim) {
    let (api, name) = (api(shared, pod), claim.name_any());
    // Others may hold it, too: theirs stay.
    let free = json!({"metadata": {"uid": claim.uid(), "$deleteFromPrimitiveList/finalizers": [FINALIZER]}});
    let freed = api.patch(&name, &PatchParams::default(), &Patch::Strategic(free)).await;
    let only_this = Preconditions { uid: claim.uid(), resource_version: None };
    let removed = match freed {
        Ok(_) => api.delete(&name, &DeleteParams::default().preconditions(only_this)).await.map(drop),
        Err(error) => Err(error),
    };
    match removed {
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => tracing::warn!(claim = name, namespace = pod.namespace(), %error, "removing a pod's claim"),
        Ok(()) => {}
    }
}

async fn reserve_one(
    shared: &Shared,
    pod: &Pod,
    claim: &ResourceClaim,
    allocation: Option<&AllocationResult>,
) -> Result<ResourceClaim, String> {
    let (api, shown) = (api(shared, pod), format!("{}/{}", pod.namespace(), claim.name_any()));
    let mut current = claim.clone();
    for _ in 0..CONFLICTS_MAX {
        match write(shared, pod, &api, current, allocation).await {
            Err(Failure::Api(kube::Error::Api(status))) if status.code == 409 => {
                let found = api.get(&claim.name_any()).await;
                current = found.map_err(|error| format!("get updated claim {shown} after conflict: {error}"))?;
            }
            Err(Failure::Api(error)) if allocation.is_some() => {
                return Err(format!("add allocation and reservation to claim {shown}: {error}"));
            }
            Err(Failure::Api(error)) => return Err(format!("add reservation to claim {shown}: {error}")),
            Err(Failure::Claim(why)) => return Err(format!("claim {shown} {why}")),
            Ok(written) => return Ok(written),
        }
    }
    Err(format!("claim {shown} is written by others all the time"))
}

enum Failure {
    Api(kube::Error),
    Claim(&'static str),
}

async fn write(
    shared: &Shared,
    pod: &Pod,
    api: &Api<ResourceClaim>,
    mut claim: ResourceClaim,
    allocation: Option<&AllocationResult>,
) -> Result<ResourceClaim, Failure> {
    let name = claim.name_any();
    let is_allocated = claim.status.as_ref().is_some_and(|status| status.allocation.is_some());
    if claim.metadata.deletion_timestamp.is_some() {
        return Err(Failure::Claim("got deleted in the meantime"));
    }
    match (allocation, is_allocated) {
        (Some(_), true) => return Err(Failure::Claim("got allocated elsewhere in the meantime")),
        (None, false) => return Err(Failure::Claim("got deallocated elsewhere in the meantime")),
        _ => {}
    }
    if allocation.is_some() && !claim.finalizers().iter().any(|finalizer| finalizer == FINALIZER) {
        claim.finalizers_mut().push(FINALIZER.to_owned());
        claim = api.replace(&name, &PostParams::default(), &claim).await.map_err(Failure::Api)?;
    }
    let status = claim.status.get_or_insert_default();
    if let Some(allocation) = allocation {
        let now = jiff::Timestamp::from_second(shared.now().as_second()).unwrap_or_default();
        status.allocation = Some(AllocationResult { allocation_timestamp: Some(Time(now)), ..allocation.clone() });
    }
    let consumers = status.reserved_for.get_or_insert_default();
    if !consumers.iter().any(|consumer| consumer.uid == pod.uid()) {
        consumers.push(ResourceClaimConsumerReference {
            resource: "pods".to_owned(),
            name: pod.name().to_owned(),
            uid: pod.uid().to_owned(),
            api_group: None,
        });
    }
    api.replace_status(&name, &PostParams::default(), &claim).await.map_err(Failure::Api)
}

/// Best effort: who is left over is taken off when the pod is gone.
pub(super) async fn unreserve(shared: &Shared, pod: &Pod, plan: &DevicePlan) {
    let api = api(shared, pod);
    if plan.extended.is_some()
        && let Some(claim) = left_over(shared, pod)
    {
        remove(shared, pod, &claim).await;
    }
    for (claim, _) in &plan.claims {
        let patch = json!({"metadata": {"uid": claim.uid()},
            "status": {"reservedFor": [{"$patch": "delete", "uid": pod.uid()}]}});
        let name = claim.name_any();
        match api.patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            Ok(written) => shared.change(|core, _| core.device_claim_written(written)),
            Err(error) => tracing::warn!(claim = name, namespace = pod.namespace(), %error, "taking a pod off a claim"),
        }
    }
}

/// Gives the devices of a claim back that keep its only pod from nodes where it would fit; one that was made for the pod's
/// extended resources goes.
pub(super) async fn deallocate(shared: &Shared, pod: &Pod, claim: &ResourceClaim) {
    if claim.annotations().contains_key(ANNOTATION) {
        return remove(shared, pod, claim).await;
    }
    let mut freed = claim.clone();
    if let Some(status) = &mut freed.status {
        status.allocation = None;
        status.devices = None;
        status.reserved_for = None;
    }
    let name = claim.name_any();
    if let Err(error) = api(shared, pod).replace_status(&name, &PostParams::default(), &freed).await {
        tracing::warn!(claim = name, namespace = pod.namespace(), %error, "giving a claim's devices back");
    }
}

fn api(shared: &Shared, pod: &Pod) -> Api<ResourceClaim> {
    Api::namespaced(shared.context.client.clone(), pod.namespace())
}
