//! The ServiceCIDR controller: says of each that it serves, and keeps a deleted one for as long as Services have addresses
//! that are in no other.
//!
//! Enter by [`run`]; `plan` is pure. Addresses are given out by the API server.

mod plan;

use std::net::IpAddr;
use std::sync::Arc;

use component::context::Context;
use component::informer::{Event, Informer};
use component::key::Key;
use component::queue::{self, Queue};
use component::recorder::Type;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use self::plan::{FINALIZER, HELD, Plan, Ready, SERVING};
use crate::common::error::{Doing, Error, wait_for_event};
use crate::common::seconds;

const FIELD_MANAGER: &str = "service-cidr-controller";
const WORKERS: usize = 5;

struct Controller {
    ctx: Context,
    cidrs: Informer<ServiceCIDR>,
    addresses: Informer<IPAddress>,
    queue: Queue<Key>,
}

/// Runs until the context's shutdown.
pub(crate) async fn run(ctx: Context) {
    let controller = Arc::new(Controller {
        cidrs: ctx.informers.of(),
        addresses: ctx.informers.of(),
        queue: Queue::new("ipaddresses"),
        ctx,
    });
    controller.cidrs.notify(&controller, Controller::on_cidr);
    controller.addresses.notify(&controller, Controller::on_address);
    let synced = async {
        controller.cidrs.synced().await;
        controller.addresses.synced().await;
    };
    let shutdown = controller.ctx.shutdown.clone();
    if shutdown.run_until(synced).await.is_some() {
        queue::run(controller.queue.clone(), WORKERS, shutdown, |key| controller.sync(key)).await;
    }
}

impl Controller {
    /// One that comes may free another that waits to go; so may one whose own addresses are gone with it.
    fn on_cidr(&self, event: &Event<ServiceCIDR>) {
        self.queue.add(Key::of(&**event.object()));
        if !matches!(event, Event::Updated { .. }) {
            let names = plan::overlapping(&self.cidrs.list(), event.object());
            names.into_iter().for_each(|name| self.queue.add(Key::cluster(name)));
        }
    }

    fn on_address(&self, event: &Event<IPAddress>) {
        if matches!(event, Event::Updated { .. }) {
            return;
        }
        if let Some(address) = plan::address_of(event.object()) {
            let names = plan::serving(&self.cidrs.list(), address);
            names.into_iter().for_each(|name| self.queue.add(Key::cluster(name)));
        }
    }

    async fn sync(&self, key: Key) -> Result<(), Error> {
        let Some(cidr) = self.cidrs.get_key(&key) else { return Ok(()) };
        let listed = self.addresses.list();
        let addresses = listed.iter().filter_map(|object| plan::address_of(object)).collect::<Vec<IpAddr>>();
        match plan::plan(&cidr, &self.cidrs.list(), addresses.into_iter(), self.ctx.clock.now()) {
            Plan::Serve => self.serve(&key, &cidr).await,
            Plan::Hold => self.tell(&key, &cidr, HELD).await,
            Plan::LetGoIn(left) => {
                self.queue.add_after(key, left);
                Ok(())
            }
            Plan::LetGo if is_protected(&cidr) => {
                let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": [FINALIZER]}});
                self.patch(&key, patch).await
            }
            Plan::LetGo => Ok(()),
        }
    }

    async fn serve(&self, key: &Key, cidr: &ServiceCIDR) -> Result<(), Error> {
        if !is_protected(cidr) {
            self.patch(key, json!({"metadata": {"finalizers": [FINALIZER]}})).await?;
        }
        let told = self.tell(key, cidr, SERVING).await;
        if told.is_err() {
            let message = "The ServiceCIDR Status can not be set to Ready=True";
            self.ctx.recorder.event(cidr, Type::Warning, "KubernetesServiceCIDRError", message);
        }
        told
    }

    async fn patch(&self, key: &Key, patch: Value) -> Result<(), Error> {
        let patched = self.api().patch(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await;
        wait_for_event(patched.map(drop).doing("change protection of ServiceCIDR", key))
    }

    async fn tell(&self, key: &Key, cidr: &ServiceCIDR, ready: Ready) -> Result<(), Error> {
        if plan::is_told(cidr, ready) {
            return Ok(());
        }
        let (status, reason, message) = ready;
        let condition = json!({"type": "Ready", "status": status, "reason": reason, "message": message,
            "lastTransitionTime": seconds(self.ctx.clock.now())});
        let patch = json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
            "metadata": {"name": key.name}, "status": {"conditions": [condition]}});
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patched = self.api().patch_status(&key.name, &params, &Patch::Apply(patch)).await;
        patched.map(drop).doing("tell the state of ServiceCIDR", key)
    }

    fn api(&self) -> Api<ServiceCIDR> {
        Api::all(self.ctx.client.clone())
    }
}

fn is_protected(cidr: &ServiceCIDR) -> bool {
    cidr.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
}
