//! Addresses for Services of type LoadBalancer, out of a pool that the user names (`--load-balancer-pool`).
//!
//! Enter by [`run`]; [`plan`] and [`pool`] are pure. Upstream leaves this to cloud providers; with no pool this controller
//! does not run. It announces nothing: the user's network sends the pool's addresses to a node, where the proxy takes them.

mod plan;
mod pool;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use component::context::Context;
use component::informer::{Event, Informer};
use component::key::Key;
use component::queue::{self, Queue};
use component::recorder::Type;
use k8s_openapi::api::core::v1::{LoadBalancerStatus, Service};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use self::plan::Decision;
pub(crate) use self::pool::Pool;
use crate::common::error::{Doing, Error, wait_for_event};

struct Controller {
    ctx: Context,
    pool: Pool,
    services: Informer<Service>,
    /// What was given, by UID: the cache shows it a moment later.
    given: Mutex<HashMap<String, Vec<IpAddr>>>,
}

/// Runs until the context's shutdown. One worker: two would give the same address.
pub(crate) async fn run(ctx: Context, pool: Pool) {
    let controller = Arc::new(Controller { pool, services: ctx.informers.of(), given: Mutex::default(), ctx });
    let queue = Queue::new("service");
    let events = queue.clone();
    controller.services.notify(&controller, move |this, event| {
        let service = event.object();
        events.add(Key::of(&**service));
        if let Event::Deleted(_) = event {
            this.forget(service);
            // Its address may be what another one waits for.
            let waits = |other: &&Arc<Service>| plan::is_ours(other) && plan::held(other).next().is_none();
            this.services.list().iter().filter(waits).for_each(|other| events.add(Key::of(&**other)));
        }
    });
    let shutdown = controller.ctx.shutdown.clone();
    if shutdown.run_until(controller.services.synced()).await.is_some() {
        queue::run(queue, 1, shutdown, |key| controller.sync(key)).await;
    }
}

impl Controller {
    fn forget(&self, service: &Service) {
        self.given.lock().unwrap_or_else(PoisonError::into_inner).remove(&service.uid().unwrap_or_default());
    }

    fn remember(&self, service: &Service, status: &LoadBalancerStatus) {
        let addresses = status.ingress.iter().flatten().filter_map(|i| i.ip.as_ref()?.parse().ok()).collect();
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.insert(service.uid().unwrap_or_default(), addresses);
    }

    /// The addresses of all Services but this one.
    fn taken(&self, but: &Service) -> HashSet<IpAddr> {
        let others = self.services.list().into_iter().filter(|other| other.metadata.uid != but.metadata.uid);
        let mut taken: HashSet<IpAddr> = others.flat_map(|other| plan::held(&other).collect::<Vec<_>>()).collect();
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        taken.extend(given.iter().filter(|(uid, _)| Some(*uid) != but.metadata.uid.as_ref()).flat_map(|(_, a)| a));
        taken
    }

    async fn sync(&self, key: Key) -> Result<(), Error> {
        let Some(service) = self.services.get_key(&key) else { return Ok(()) };
        match plan::decide(&service, &self.pool, &self.taken(&service)) {
            Decision::Nothing => Ok(()),
            Decision::Give(status) => {
                self.remember(&service, &status);
                self.ctx.recorder.event(&*service, Type::Normal, "EnsuringLoadBalancer", "Ensuring load balancer");
                self.write(&key, &service, &status).await?;
                self.ctx.recorder.event(&*service, Type::Normal, "EnsuredLoadBalancer", "Ensured load balancer");
                Ok(())
            }
            Decision::TakeBack => {
                self.forget(&service);
                self.write(&key, &service, &LoadBalancerStatus::default()).await?;
                self.ctx.recorder.event(&*service, Type::Normal, "DeletedLoadBalancer", "Deleted load balancer");
                Ok(())
            }
            // The next Service that goes wakes it.
            Decision::Refuse(why) => {
                let message = format!("Error syncing load balancer: {why}");
                self.ctx.recorder.event(&*service, Type::Warning, "SyncLoadBalancerFailed", message);
                Ok(())
            }
        }
    }

    async fn write(&self, key: &Key, service: &Service, status: &LoadBalancerStatus) -> Result<(), Error> {
        let ingress = status.ingress.clone();
        let patch = json!({
            "metadata": {"uid": service.uid(), "resourceVersion": service.resource_version()},
            "status": {"loadBalancer": {"ingress": ingress}},
        });
        let api = Api::<Service>::namespaced(self.ctx.client.clone(), &key.namespace);
        let written = api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        wait_for_event(written.map(drop).doing("update load balancer status of service", key))
    }
}
