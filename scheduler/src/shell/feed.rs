//! From the informers into the core.

mod served;

use std::sync::Arc;

use component::informer::{Event, Object, Selection};
use jiff::Timestamp;
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};

use self::served::Served;
use super::Shared;
use crate::core::Core;
use crate::objects::{
    Attachment, Capacity, Claim, CsiDriver, CsiNode, Namespace, Node, Pod, PodDisruptionBudget, ReplicaSet,
    ReplicationController, Service, StatefulSet, StorageClass, Volume,
};

/// Registers all handlers and returns once every first list is in the core. Kinds that only improve decisions are left
/// out where the API server does not have them.
pub(super) async fn start(shared: &Arc<Shared>) {
    let served = Served::ask(shared).await;
    let live = Selection::fields("status.phase!=Succeeded,status.phase!=Failed");
    let on_node = |core: &mut Core, event: &Event<Node>, now| core.on_node(event, now);
    let on_pod = |core: &mut Core, event: &Event<Pod>, now| core.on_pod(event, now);
    if shared.extenders.need_nodes() {
        shared.context.informers.of::<k8s_openapi::api::core::v1::Node>().synced().await;
    }
    tokio::join!(
        follow(shared, Selection::default(), on_node),
        follow(shared, live, on_pod),
        follow_if_served(shared, &served, |core, event: &Event<Namespace>, _| core.on_namespace(event)),
        follow_if_served(shared, &served, |core, event: &Event<Service>, _| core.on_service(event)),
        follow_if_served(shared, &served, |core, event: &Event<ReplicaSet>, _| core.on_replica_set(event)),
        follow_if_served(shared, &served, |core, event: &Event<StatefulSet>, _| core.on_stateful_set(event)),
        follow_if_served(shared, &served, |core, event: &Event<ReplicationController>, _| {
            core.on_replication_controller(event);
        }),
        follow_if_served(shared, &served, |core, event: &Event<PodDisruptionBudget>, _| core.on_budget(event)),
        follow_if_served(shared, &served, |core, event: &Event<Claim>, now| core.on_claim(event, now)),
        follow_if_served(shared, &served, |core, event: &Event<Volume>, now| core.on_volume(event, now)),
        follow_if_served(shared, &served, |core, event: &Event<StorageClass>, now| core.on_storage_class(event, now)),
        follow_if_served(shared, &served, |core, event: &Event<CsiNode>, now| core.on_csi_node(event, now)),
        follow_if_served(shared, &served, |core, event: &Event<Attachment>, now| core.on_attachment(event, now)),
        follow_if_served(shared, &served, |core, event: &Event<CsiDriver>, now| core.on_csi_driver(event, now)),
        follow_if_served(shared, &served, |core, event: &Event<Capacity>, now| core.on_capacity(event, now)),
        follow_if_served(shared, &served, |core, event: &Event<ResourceClaim>, now| core.on_device_claim(event, now)),
        follow_if_served(shared, &served, |core, event: &Event<DeviceClass>, now| core.on_device_class(event, now)),
        follow_if_served(shared, &served, |core, event: &Event<ResourceSlice>, now| core.on_resource_slice(event, now)),
    );
}

async fn follow_if_served<K: Object>(
    shared: &Arc<Shared>,
    served: &Served,
    take: impl Fn(&mut Core, &Event<K>, Timestamp) + Send + Sync + 'static,
) {
    if served.has::<K>() {
        follow(shared, Selection::default(), take).await;
    } else {
        tracing::warn!(resource = %K::plural(&()), "not served by the API server, scheduling without it");
    }
}

async fn follow<K: Object>(
    shared: &Arc<Shared>,
    selection: Selection,
    take: impl Fn(&mut Core, &Event<K>, Timestamp) + Send + Sync + 'static,
) {
    let informer = shared.context.informers.selected::<K>(selection);
    // The informer outlives this scheduler, so it must not keep it alive.
    informer.notify(shared, move |shared, event| shared.change(|core, now| take(core, event, now)));
    informer.synced().await;
}
