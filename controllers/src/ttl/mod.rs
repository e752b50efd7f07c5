//! The TTL controller: tells every node, in an annotation, how long its kubelet may keep Secrets and ConfigMaps that it
//! has read. The more nodes there are, the longer.
//!
//! Enter by [`run`]; `size` is pure.

mod size;

use std::sync::{Arc, Mutex, PoisonError};

use component::context::Context;
use component::informer::{Event, Informer};
use component::key::Key;
use component::queue::{self, Queue};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use self::size::Size;
use crate::common::error::{Doing, Error, wait_for_event};
use crate::common::map;

const ANNOTATION: &str = "node.alpha.kubernetes.io/ttl";
const WORKERS: usize = 5;

struct Controller {
    ctx: Context,
    nodes: Informer<Node>,
    queue: Queue<Key>,
    size: Mutex<Size>,
}

/// Runs until the context's shutdown.
pub(crate) async fn run(ctx: Context) {
    let nodes: Informer<Node> = ctx.informers.of();
    let controller = Arc::new(Controller { nodes, queue: Queue::new("ttlcontroller"), size: Mutex::default(), ctx });
    controller.nodes.notify(&controller, Controller::on_node);
    let shutdown = controller.ctx.shutdown.clone();
    if shutdown.run_until(controller.nodes.synced()).await.is_some() {
        queue::run(controller.queue.clone(), WORKERS, shutdown, |key| controller.sync(key)).await;
    }
}

impl Controller {
    fn with_size<R>(&self, look: impl FnOnce(&mut Size) -> R) -> R {
        look(&mut self.size.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn on_node(&self, event: &Event<Node>) {
        let is_news = match event {
            Event::Added(_) => self.with_size(Size::grow),
            Event::Deleted(_) => self.with_size(Size::shrink),
            Event::Updated { .. } => false,
        };
        if is_news {
            self.nodes.list().iter().for_each(|node| self.queue.add(Key::of(&**node)));
        } else if !matches!(event, Event::Deleted(_)) {
            self.queue.add(Key::of(&**event.object()));
        }
    }

    async fn sync(&self, key: Key) -> Result<(), Error> {
        let Some(node) = self.nodes.get_key(&key) else { return Ok(()) };
        let seconds = self.with_size(|size| size.ttl_seconds());
        let told = map(&node.metadata.annotations).get(ANNOTATION).and_then(|text| text.parse().ok());
        if told == Some(seconds) {
            return Ok(());
        }
        let patch = json!({"metadata": {"annotations": {ANNOTATION: seconds.to_string()}}});
        let api = Api::<Node>::all(self.ctx.client.clone());
        let patched = api.patch(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await;
        wait_for_event(patched.map(drop).doing("tell the TTL to node", &key))
    }
}
