//! The ConfigMaps and Secrets that this node's pods refer to, each kept up to date by a watch of its own.
//!
//! Enter at [`ObjectSources`]: a pod's worker names what its pod uses ([`ObjectSources::claim`]), waits until it is
//! loaded, reads it without waiting, and is woken when it changes. One watch per object, not one per kind: the Node
//! authorizer lets a node read only what its own pods refer to.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use component::key::Key;
use futures::StreamExt as _;
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{ConfigMap, Pod, Secret},
};
use kube::{
    Api, Client, Resource,
    runtime::{WatchStreamExt as _, watcher},
};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::{env, pod::spec};

/// Called with a pod's UID when something that it refers to has changed.
pub type Wake = Arc<dyn Fn(&str) + Send + Sync>;

/// See the module. Without a client (standalone) every object is refused.
pub struct ObjectSources {
    config_maps: Watches<ConfigMap>,
    secrets: Watches<Secret>,
}

/// The names that a pod refers to in its own namespace.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct References {
    pub config_maps: BTreeSet<String>,
    pub secrets: BTreeSet<String>,
}

impl References {
    /// From variables, volumes and image pull secrets.
    pub fn of_pod(pod: &Pod) -> Self {
        let mut found = Self::default();
        let pod_spec = spec::spec(pod);
        for (_, container) in spec::containers(pod) {
            for source in container.env_from.iter().flatten() {
                found.config_maps.extend(source.config_map_ref.iter().map(|it| it.name.clone()));
                found.secrets.extend(source.secret_ref.iter().map(|it| it.name.clone()));
            }
            for source in container.env.iter().flatten().filter_map(|it| it.value_from.as_ref()) {
                found.config_maps.extend(source.config_map_key_ref.iter().map(|it| it.name.clone()));
                found.secrets.extend(source.secret_key_ref.iter().map(|it| it.name.clone()));
            }
        }
        for volume in pod_spec.volumes.iter().flatten() {
            found.config_maps.extend(volume.config_map.iter().map(|it| it.name.clone()));
            found.secrets.extend(volume.secret.iter().filter_map(|it| it.secret_name.clone()));
            for source in volume.projected.iter().flat_map(|it| it.sources.iter().flatten()) {
                found.config_maps.extend(source.config_map.iter().map(|it| it.name.clone()));
                found.secrets.extend(source.secret.iter().map(|it| it.name.clone()));
            }
        }
        found.secrets.extend(pod_spec.image_pull_secrets.iter().flatten().map(|it| it.name.clone()));
        found
    }
}

impl ObjectSources {
    pub fn new(client: Option<Client>, wake: Wake) -> Self {
        Self { config_maps: Watches::new(client.clone(), wake.clone()), secrets: Watches::new(client, wake) }
    }

    /// Starts the watches that the pod needs and are not there yet.
    pub fn claim(&self, pod: &Pod) {
        let references = References::of_pod(pod);
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        self.config_maps.claim(spec::uid(pod), namespace, &references.config_maps);
        self.secrets.claim(spec::uid(pod), namespace, &references.secrets);
    }

    /// Waits until everything that the pod refers to is known, to be there or not to be.
    pub async fn loaded(&self, pod_uid: &str) {
        self.config_maps.loaded(pod_uid).await;
        self.secrets.loaded(pod_uid).await;
    }

    /// Ends the watches that only this pod used.
    pub fn release(&self, pod_uid: &str) {
        self.config_maps.release(pod_uid);
        self.secrets.release(pod_uid);
    }
}

impl env::Sources for ObjectSources {
    fn config_map(&self, namespace: &str, name: &str) -> Result<Option<Arc<ConfigMap>>, String> {
        self.config_maps.get(namespace, name)
    }

    fn secret(&self, namespace: &str, name: &str) -> Result<Option<Arc<Secret>>, String> {
        self.secrets.get(namespace, name)
    }
}

type State<K> = Option<Result<Option<Arc<K>>, String>>;

struct Entry<K> {
    /// None until the first answer.
    state: watch::Receiver<State<K>>,
    users: HashSet<String>,
    task: tokio::task::AbortHandle,
}

struct Watches<K> {
    client: Option<Client>,
    wake: Wake,
    entries: Arc<Mutex<HashMap<Key, Entry<K>>>>,
}

impl<K> Watches<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static,
{
    fn new(client: Option<Client>, wake: Wake) -> Self {
        Self { client, wake, entries: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Entry<K>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn claim(&self, pod_uid: &str, namespace: &str, names: &BTreeSet<String>) {
        let Some(client) = &self.client else { return };
        let mut entries = self.lock();
        for name in names {
            let key = Key { namespace: namespace.to_owned(), name: name.clone() };
            let entry = entries.entry(key.clone()).or_insert_with(|| self.start(client.clone(), key));
            entry.users.insert(pod_uid.to_owned());
        }
    }

    fn start(&self, client: Client, key: Key) -> Entry<K> {
        let (sender, state) = watch::channel(None);
        let entries = self.entries.clone();
        let wake = self.wake.clone();
        let task = tokio::spawn(async move {
            let api: Api<K> = Api::namespaced(client, &key.namespace);
            let mut stream = std::pin::pin!(watcher::watch_object(api, &key.name).default_backoff());
            while let Some(item) = stream.next().await {
                let next = match item {
                    Ok(object) => Ok(object.map(Arc::new)),
                    Err(error) => Err(format!("watching {} {key}: {error}", K::kind(&()))),
                };
                // An error does not undo what is known: pods go on with the object as it was.
                if next.is_err() && matches!(&*sender.borrow(), Some(Ok(_))) {
                    continue;
                }
                sender.send_replace(Some(next));
                let users: Vec<String> = {
                    let entries = entries.lock().unwrap_or_else(PoisonError::into_inner);
                    entries.get(&key).map(|entry| entry.users.iter().cloned().collect()).unwrap_or_default()
                };
                users.iter().for_each(|uid| wake(uid));
            }
        });
        Entry { state, users: HashSet::new(), task: task.abort_handle() }
    }

    async fn loaded(&self, pod_uid: &str) {
        let states: Vec<watch::Receiver<State<K>>> = self
            .lock()
            .values()
            .filter(|entry| entry.users.contains(pod_uid))
            .map(|entry| entry.state.clone())
            .collect();
        for mut state in states {
            // Closed means released meanwhile.
            let _ = state.wait_for(Option::is_some).await;
        }
    }

    fn get(&self, namespace: &str, name: &str) -> Result<Option<Arc<K>>, String> {
        if self.client.is_none() {
            return Err(format!("couldn't get {} {namespace}/{name}, no kubeClient defined", K::kind(&())));
        }
        let key = Key { namespace: namespace.to_owned(), name: name.to_owned() };
        let state = self.lock().get(&key).and_then(|entry| entry.state.borrow().clone());
        state.unwrap_or_else(|| Err(format!("{} {key} is not known yet", K::kind(&()))))
    }

    fn release(&self, pod_uid: &str) {
        self.lock().retain(|_, entry| {
            entry.users.remove(pod_uid);
            if entry.users.is_empty() {
                entry.task.abort();
            }
            !entry.users.is_empty()
        });
    }
}
