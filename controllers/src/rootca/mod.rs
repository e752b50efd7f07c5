//! The root CA publisher: every active namespace has a ConfigMap `kube-root-ca.crt`, which pods' tokens are mounted with.
//!
//! Enter by [`run`]. [`root_ca`] says where the certificates come from.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use component::client::ClientConfig;
use component::context::Context;
use component::informer::{Informer, Selection};
use component::key::Key;
use component::queue::{self, Queue};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;

use crate::common::error::{Doing, Error};
use crate::common::{is_active_namespace, map, root_ca};

const NAME: &str = "kube-root-ca.crt";
const DESCRIPTION_KEY: &str = "kubernetes.io/description";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
     endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
     distributions of Kubernetes clusters.";

struct Controller {
    ctx: Context,
    root_ca: String,
    namespaces: Informer<Namespace>,
    config_maps: Informer<ConfigMap>,
    queue: Queue<Key>,
}

/// Runs until the context's shutdown.
pub(crate) async fn run(ctx: Context, root_ca_file: Option<PathBuf>, config: ClientConfig) {
    let shutdown = ctx.shutdown.clone();
    let found = root_ca::found(&ctx.client, root_ca_file.as_ref(), &config);
    if let Some(root_ca) = shutdown.run_until(found).await {
        publish(ctx, root_ca).await;
    }
}

/// `root_ca` is PEM.
async fn publish(ctx: Context, root_ca: String) {
    let controller = Arc::new(Controller {
        namespaces: ctx.informers.of(),
        config_maps: ctx.informers.selected(Selection::fields(format!("metadata.name={NAME}"))),
        queue: Queue::new("root_ca_cert_publisher"),
        ctx,
        root_ca,
    });
    let queue = controller.queue.clone();
    controller.namespaces.on_event(move |event| queue.add(Key::of(&**event.object())));
    let queue = controller.queue.clone();
    controller.config_maps.on_event(move |event| {
        queue.add(Key::cluster(event.object().metadata.namespace.clone().unwrap_or_default()));
    });
    let synced = async {
        controller.namespaces.synced().await;
        controller.config_maps.synced().await;
    };
    let shutdown = controller.ctx.shutdown.clone();
    if shutdown.run_until(synced).await.is_some() {
        queue::run(controller.queue.clone(), 1, shutdown, |key| controller.sync(key)).await;
    }
}

impl Controller {
    async fn sync(&self, key: Key) -> Result<(), Error> {
        if !self.namespaces.get_key(&key).is_some_and(|ns| is_active_namespace(&ns)) {
            return Ok(());
        }
        let api = Api::<ConfigMap>::namespaced(self.ctx.client.clone(), &key.name);
        let current = self.config_maps.get(&key.name, NAME);
        let Some(wanted) = wanted(current.as_deref(), &self.root_ca) else { return Ok(()) };
        let written = match current {
            None => api.create(&PostParams::default(), &wanted).await,
            Some(_) => api.replace(NAME, &PostParams::default(), &wanted).await,
        };
        match written.doing("publish the root CA in namespace", &key) {
            Err(e) if !(e.is_already_exists() || e.is_namespace_terminating()) => Err(e),
            _ => Ok(()),
        }
    }
}

/// The ConfigMap to write; None when the current one is right. Its description may be anybody's.
fn wanted(current: Option<&ConfigMap>, root_ca: &str) -> Option<ConfigMap> {
    let data = BTreeMap::from([("ca.crt".to_string(), root_ca.to_string())]);
    let described = |c: &ConfigMap| map(&c.metadata.annotations).get(DESCRIPTION_KEY).is_some_and(|d| !d.is_empty());
    if current.is_some_and(|c| c.data.as_ref() == Some(&data) && described(c)) {
        return None;
    }
    let mut wanted = current.cloned().unwrap_or_else(|| ConfigMap {
        metadata: ObjectMeta { name: Some(NAME.into()), ..Default::default() },
        ..Default::default()
    });
    wanted.data = Some(data);
    wanted.metadata.annotations.get_or_insert_default().insert(DESCRIPTION_KEY.into(), DESCRIPTION.into());
    Some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_until_it_is_right() {
        let first = wanted(None, "A").unwrap();
        assert_eq!(wanted(Some(&first), "A"), None);
        let rotated = wanted(Some(&first), "B").unwrap();
        assert_eq!(rotated.data.as_ref().unwrap()["ca.crt"], "B");
        let mut bare = first.clone();
        bare.metadata.annotations = None;
        assert!(wanted(Some(&bare), "A").is_some());
        let mut renamed = first;
        renamed.metadata.annotations.as_mut().unwrap().insert(DESCRIPTION_KEY.into(), "mine".into());
        assert_eq!(wanted(Some(&renamed), "A"), None);
    }
}
