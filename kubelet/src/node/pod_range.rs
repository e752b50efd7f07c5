//! Tells the runtime which addresses this node's pods get (CRI `UpdateRuntimeConfig`): by the Node's `podCIDRs`, or in
//! standalone mode by the configuration, as upstream does.
//!
//! A containerd with a `conf_template` writes its CNI configuration from it; other runtimes and set-ups pass it over.

use std::time::Duration;

use component::{
    informer::{Informer, Informers},
    shutdown::Shutdown,
};
use k8s_openapi::api::core::v1::Node;
use tokio::sync::watch;

use crate::runtime::SharedRuntime;

/// How soon a runtime that refused is told again.
const RETRY: Duration = Duration::from_secs(5);

/// Until shutdown. `configured` holds until the Node says something else; `informers` are those of a cluster.
pub async fn tell(
    runtime: SharedRuntime,
    configured: String,
    informers: Option<Informers>,
    node_name: String,
    shutdown: Shutdown,
) {
    let (sender, mut wanted) = watch::channel(configured);
    // Held, for a watch ends with its last informer.
    let _nodes = informers.map(|informers| follow(&informers, &node_name, sender));
    let work = async {
        let mut told = String::new();
        loop {
            let range = wanted.borrow_and_update().clone();
            if range != told && !range.is_empty() {
                match runtime.update_pod_range(&range).await {
                    Ok(()) => {
                        tracing::info!(range, "the runtime knows the pods' addresses");
                        told = range;
                    }
                    Err(error) => {
                        tracing::warn!(%error, range, "the runtime does not take the pods' addresses; telling it again");
                        tokio::time::sleep(RETRY).await;
                        continue;
                    }
                }
            }
            if wanted.changed().await.is_err() {
                return;
            }
        }
    };
    let _ = shutdown.run_until(work).await;
}

fn follow(informers: &Informers, node_name: &str, sender: watch::Sender<String>) -> Informer<Node> {
    let nodes = super::own::of_name(informers, node_name);
    nodes.on_event(move |event| {
        // Once given, a range is never taken back: a Node without one is a new object that will get it.
        if let Some(range) = range_of(event.object()) {
            sender.send_if_modified(|known| std::mem::replace(known, range.clone()) != range);
        }
    });
    nodes
}

/// One range of each family, with commas between them.
fn range_of(node: &Node) -> Option<String> {
    let ranges = node.spec.as_ref()?.pod_cidrs.as_ref()?;
    (!ranges.is_empty()).then(|| ranges.join(","))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use component::{random::Random, testing::FakeApi};
    use serde_json::json;

    use super::*;
    use crate::runtime::fake::FakeRuntime;

    async fn until(fake: &Arc<FakeRuntime>, range: &str) {
        let told = async {
            while fake.state().pod_range != range {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), told).await.expect("the runtime is told");
    }

    #[tokio::test]
    async fn the_nodes_ranges_replace_the_configured_one() {
        let (api, fake) = (FakeApi::new(), Arc::new(FakeRuntime::default()));
        let shutdown = Shutdown::new();
        let informers = Informers::new(api.client(), Random::seeded(1), shutdown.clone());
        let name = "node-1".to_owned();
        tokio::spawn(tell(fake.clone(), "10.9.0.0/24".into(), Some(informers), name, shutdown.clone()));
        until(&fake, "10.9.0.0/24").await;
        let spec = json!({"podCIDR": "10.244.3.0/24", "podCIDRs": ["10.244.3.0/24", "fd00:3::/64"]});
        api.put(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}, "spec": spec}));
        until(&fake, "10.244.3.0/24,fd00:3::/64").await;
        shutdown.trigger();
    }
}
