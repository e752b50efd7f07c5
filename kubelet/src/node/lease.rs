//! The node's Lease in kube-node-lease: the heartbeat that the node controller looks at.

use std::time::Duration;

use component::{clock::Clock, random::Random, shutdown::Shutdown};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference},
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};

const NAMESPACE: &str = "kube-node-lease";
const RETRY: Duration = Duration::from_secs(1);

/// Renews the Lease every quarter of its duration until shutdown. `node_uid` makes the node its owner.
pub(super) async fn keep(
    client: Client,
    node_name: String,
    node_uid: Option<String>,
    duration_seconds: i32,
    clock: Clock,
    random: Random,
    shutdown: Shutdown,
) {
    let api: Api<Lease> = Api::namespaced(client, NAMESPACE);
    let period = Duration::from_secs(u64::try_from(duration_seconds).unwrap_or(40)) / 4;
    let mut held: Option<Lease> = None;
    loop {
        let spec = LeaseSpec {
            holder_identity: Some(node_name.clone()),
            lease_duration_seconds: Some(duration_seconds),
            renew_time: Some(MicroTime(clock.now())),
            ..LeaseSpec::default()
        };
        let renewed = shutdown.run_until(renew(&api, &node_name, node_uid.as_deref(), held.take(), spec)).await;
        let pause = match renewed {
            None => return,
            Some(Ok(lease)) => {
                held = Some(lease);
                // A little off the beat, so that a fleet does not renew in step.
                random.jitter(period, 0.04)
            }
            Some(Err(error)) => {
                tracing::warn!(%error, node = node_name, "renewing the node's lease failed");
                RETRY
            }
        };
        if shutdown.run_until(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// One write where the Lease is known; a look first, where it is not or somebody else changed it.
async fn renew(
    api: &Api<Lease>,
    name: &str,
    node_uid: Option<&str>,
    held: Option<Lease>,
    spec: LeaseSpec,
) -> Result<Lease, kube::Error> {
    let found = match held {
        Some(lease) => Some(lease),
        None => api.get_opt(name).await?,
    };
    match found {
        Some(mut lease) => {
            lease.spec = Some(LeaseSpec { acquire_time: lease.spec.and_then(|it| it.acquire_time), ..spec });
            api.replace(name, &PostParams::default(), &lease).await
        }
        None => {
            let owner = node_uid.map(|uid| OwnerReference {
                api_version: "v1".into(),
                kind: "Node".into(),
                name: name.to_owned(),
                uid: uid.to_owned(),
                ..OwnerReference::default()
            });
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(name.to_owned()),
                    namespace: Some(NAMESPACE.into()),
                    owner_references: owner.map(|owner| vec![owner]),
                    ..ObjectMeta::default()
                },
                spec: Some(spec),
            };
            api.create(&PostParams::default(), &lease).await
        }
    }
}
