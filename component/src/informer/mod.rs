//! Indexed local copies of one kind each, kept up to date by a list and a watch.
//!
//! [`Informers`] hands out one [`Informer`] per kind (and selector) per process; the first request starts its reflector.
//! `store` is the pure part: what is known and what changed; `reflect` feeds it from kube-rs's watcher. Neither knows
//! what any kind means. `text` is what travels between them, and lets one reflector serve all kinds.

mod alike;
mod reflect;
mod store;
mod text;

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kube::{
    Api, Resource,
    core::{ApiResource, NamespaceResourceScope},
};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

pub use self::{alike::Alike, store::Event};
use self::{reflect::Shared, text::Text};
use crate::{key::Key, random::Random, shutdown::Shutdown};

/// What can be kept in an informer: every k8s-openapi object that lists and watches.
pub trait Object: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static {}

impl<K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static> Object for K {}

/// Makes a decoded type what informers can list and watch. The crate that uses it has `kube` and `k8s_openapi`; the type
/// has a field `metadata`.
#[macro_export]
macro_rules! api_resource {
    ($scope:ident $type:ty, $group:literal, $version:literal, $kind:literal, $plural:literal) => {
        impl kube::Resource for $type {
            type DynamicType = ();
            type Scope = k8s_openapi::$scope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                $kind.into()
            }

            fn group((): &()) -> std::borrow::Cow<'_, str> {
                $group.into()
            }

            fn version((): &()) -> std::borrow::Cow<'_, str> {
                $version.into()
            }

            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

/// What part of a kind an informer keeps. The default is everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selection {
    /// A label selector such as `app=web`; empty for all.
    pub labels: String,
    /// A field selector such as `spec.nodeName=node-1`; empty for all.
    pub fields: String,
}

impl Selection {
    pub fn fields(fields: impl Into<String>) -> Self {
        Self { fields: fields.into(), ..Self::default() }
    }

    pub fn labels(labels: impl Into<String>) -> Self {
        Self { labels: labels.into(), ..Self::default() }
    }
}

type Running = HashMap<(TypeId, String, Selection), Box<dyn Any + Send + Sync>>;

/// All informers of one component. Cheap to clone; clones share their informers.
#[derive(Clone)]
pub struct Informers {
    client: kube::Client,
    random: Random,
    shutdown: Shutdown,
    running: Arc<Mutex<Running>>,
    synced: Arc<Mutex<Vec<watch::Receiver<bool>>>>,
}

impl Informers {
    /// Starts nothing yet. Every reflector ends with `shutdown`.
    pub fn new(client: kube::Client, random: Random, shutdown: Shutdown) -> Self {
        Self { client, random, shutdown, running: Arc::default(), synced: Arc::default() }
    }

    /// The informer of all objects of a kind. The first call spawns its reflector on the current runtime.
    pub fn of<K: Object>(&self) -> Informer<K> {
        self.selected(Selection::default())
    }

    /// The informer of some objects of a kind, with a reflector for each different selection.
    pub fn selected<K: Object>(&self, selection: Selection) -> Informer<K> {
        self.run(Api::all_with(self.client.clone(), &ApiResource::erase::<K>(&())), "", selection)
    }

    /// As [`Informers::selected`], of one namespace: for whom may not list the others.
    pub fn namespaced<K>(&self, namespace: &str, selection: Selection) -> Informer<K>
    where
        K: Object + Resource<Scope = NamespaceResourceScope>,
    {
        let kind = ApiResource::erase::<K>(&());
        self.run(Api::namespaced_with(self.client.clone(), namespace, &kind), namespace, selection)
    }

    /// Returns once every informer that was asked for so far has its first list.
    pub async fn synced(&self) {
        let waiting = lock(&self.synced).clone();
        for mut one in waiting {
            // An error says that the informer is gone, which ends only with the process.
            let _ = one.wait_for(|synced| *synced).await;
        }
    }

    pub fn has_synced(&self) -> bool {
        lock(&self.synced).iter().all(|one| *one.borrow())
    }

    fn run<K: Object>(&self, api: Api<Text>, namespace: &str, selection: Selection) -> Informer<K> {
        let mut running = lock(&self.running);
        let slot = (TypeId::of::<K>(), namespace.to_owned(), selection.clone());
        if let Some(informer) = running.get(&slot).and_then(|any| any.downcast_ref::<Informer<K>>()) {
            return informer.clone();
        }
        let informer = Informer(Arc::new(Shared::new()));
        let feed = reflect::feed(api, selection, informer.0.clone(), self.random.clone(), self.shutdown.clone());
        lock(&self.synced).push(informer.0.watch_synced());
        tokio::spawn(feed);
        running.insert(slot, Box::new(informer.clone()));
        informer
    }
}

/// A local copy of a kind. Cheap to clone. Reads never block on the network and may lag behind the server.
pub struct Informer<K>(Arc<Shared<K>>);

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Object> Informer<K> {
    /// One object; `namespace` is empty for cluster-scoped kinds.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.0.read().get(namespace, name)
    }

    pub fn get_key(&self, key: &Key) -> Option<Arc<K>> {
        self.get(&key.namespace, &key.name)
    }

    /// All objects, ordered by namespace and name.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.0.read().list()
    }

    /// The objects of one namespace, ordered by name.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.0.read().in_namespace(namespace)
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.0.read().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds an index over what is there and what comes. A second index of the same name is ignored: several users of
    /// one informer may each ask for the index they need.
    pub fn index(&self, name: &'static str, values: fn(&K) -> Vec<String>) {
        self.0.write().index(name, values);
    }

    /// The objects whose index values contain `value`, ordered by namespace and name. Empty for an unknown index.
    pub fn by_index(&self, name: &'static str, value: &str) -> Vec<Arc<K>> {
        self.0.read().by_index(name, value)
    }

    /// Calls `handler` for every change, in order, after the store has taken it; first with `Added` for all that is
    /// there. Runs on the reflector's task: it must be short (put a key in a queue) and must not call `on_event` on the
    /// same informer, which would wait for itself.
    pub fn on_event(&self, handler: impl Fn(&Event<K>) + Send + Sync + 'static) {
        self.0.subscribe(Box::new(handler));
    }

    /// As [`Informer::on_event`], for somebody who holds this informer: kept alive by it, neither would ever go. The
    /// handler is called until `observer` is gone.
    pub fn notify<T: Send + Sync + 'static>(
        &self,
        observer: &Arc<T>,
        handler: impl Fn(&T, &Event<K>) + Send + Sync + 'static,
    ) {
        let observer = Arc::downgrade(observer);
        self.on_event(move |event| {
            if let Some(observer) = observer.upgrade() {
                handler(&observer, event);
            }
        });
    }

    /// Returns once the first list is in the store. Never, when the server cannot be reached: select it against shutdown.
    pub async fn synced(&self) {
        self.0.synced().await;
    }

    pub fn has_synced(&self) -> bool {
        self.0.has_synced()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
