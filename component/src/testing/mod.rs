//! A small API server in memory, for the tests of whoever uses a [`kube::Client`]; and programs and descriptors that tests
//! running side by side in one process do not take from each other ([`write_program`], [`Descriptor`]).
//!
//! [`FakeApi`] lists, watches, creates, replaces, patches and deletes objects of any kind, with resource versions,
//! conflicts, finalizers and selectors; [`FakeApi::react`] scripts other answers. It knows no kinds: nothing is defaulted
//! or validated, every patch is a merge patch (finalizers can be
//! taken away as in a strategic one) or a JSON patch, and a namespace is only a word.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use component::testing::FakeApi;
//! use k8s_openapi::api::core::v1::ConfigMap;
//! let fake = FakeApi::new();
//! fake.put(&serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "ns"}}));
//! let api: kube::Api<ConfigMap> = kube::Api::namespaced(fake.client(), "ns");
//! assert_eq!(api.get("a").await.unwrap().metadata.name.as_deref(), Some("a"));
//! # });
//! ```

mod answer;
mod descriptor;
mod program;
mod request;
mod select;
mod store;

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{Full, combinators::UnsyncBoxBody};
use kube::client::Body;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::sync::watch;
use tower::Service;

use self::store::Store;
pub use self::{descriptor::Descriptor, program::write_program, request::Received};

/// What a reaction answers: a status code and an object.
pub type Reply = (u16, Value);

type Reaction = Box<dyn FnMut(&Received) -> Option<Reply> + Send>;

/// The server. Cheap to clone; clones are the same server.
#[derive(Clone)]
pub struct FakeApi(Arc<Inner>);

struct Inner {
    store: Mutex<Store>,
    reactions: Mutex<Vec<Reaction>>,
    received: watch::Sender<Vec<Received>>,
}

impl Default for FakeApi {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeApi {
    /// Empty.
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            store: Mutex::default(),
            reactions: Mutex::default(),
            received: watch::Sender::new(Vec::new()),
        }))
    }

    /// A client of this server. Must be called on a runtime.
    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.clone(), "default")
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.0.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an object there, new or changed, past all reactions; `apiVersion` and `kind` must be set (k8s-openapi's
    /// objects serialize them). The resource is the kind's plural by upstream's rule. Watchers are told.
    pub fn put(&self, object: &impl Serialize) {
        let object = serde_json::to_value(object).expect("an object is JSON");
        self.store().put(store::Place::of(&object), object);
    }

    /// Takes an object away, past reactions and finalizers.
    pub fn remove<K: kube::Resource<DynamicType = ()>>(&self, namespace: &str, name: &str) {
        let place = store::Place::of_kind::<K>(namespace, name);
        self.store().remove(&place);
    }

    /// An object as it is there.
    pub fn get<K>(&self, namespace: &str, name: &str) -> Option<K>
    where
        K: kube::Resource<DynamicType = ()> + DeserializeOwned,
    {
        let object = self.store().get(&store::Place::of_kind::<K>(namespace, name))?;
        Some(serde_json::from_value(object).expect("the object has the shape of its kind"))
    }

    /// All objects of a kind, by namespace and name.
    pub fn list<K>(&self) -> Vec<K>
    where
        K: kube::Resource<DynamicType = ()> + DeserializeOwned,
    {
        let place = store::Place::of_kind::<K>("", "");
        let objects = self.store().list(&place.group, &place.resource, "");
        let typed = objects.into_iter().map(serde_json::from_value);
        typed.collect::<Result<_, _>>().expect("the objects have the shape of their kind")
    }

    /// Answers requests in its own way: the first reaction that returns something wins. It sees every request, and is
    /// asked before the store.
    pub fn react(&self, reaction: impl FnMut(&Received) -> Option<Reply> + Send + 'static) {
        self.0.reactions.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(reaction));
    }

    /// Answers the next `times` requests of a verb on a resource with an error Status.
    pub fn fail(&self, verb: &'static str, resource: &'static str, mut times: u32, code: u16, reason: &'static str) {
        self.react(move |request| {
            let hit = times > 0 && request.verb == verb && request.resource == resource;
            times -= u32::from(hit);
            hit.then(|| (code, answer::status(code, reason, "a scripted failure")))
        });
    }

    /// Ends all watches now, as a server does that restarts. Watchers come back with their resource version.
    pub fn break_watches(&self) {
        self.store().break_watches();
    }

    /// Forgets all events: whoever resumes a watch from before now gets `410 Expired`.
    pub fn compact(&self) {
        self.store().compact();
    }

    /// Every request so far.
    pub fn received(&self) -> Vec<Received> {
        self.0.received.borrow().clone()
    }

    /// Returns once the requests so far satisfy `condition`. Give it a deadline.
    pub async fn until(&self, condition: impl FnMut(&Vec<Received>) -> bool) {
        let _ = self.0.received.subscribe().wait_for(condition).await;
    }

    fn respond(&self, request: Received) -> Response<AnyBody> {
        self.0.received.send_modify(|all| all.push(request.clone()));
        let mut reactions = self.0.reactions.lock().unwrap_or_else(PoisonError::into_inner);
        let scripted = reactions.iter_mut().find_map(|reaction| reaction(&request));
        drop(reactions);
        match scripted {
            Some((code, object)) => answer::json(code, &object),
            None => answer::answer(&mut self.store(), &request),
        }
    }
}

type AnyBody = UnsyncBoxBody<Bytes, Infallible>;

fn whole(bytes: Vec<u8>) -> AnyBody {
    UnsyncBoxBody::new(Full::new(Bytes::from(bytes)))
}

impl Service<Request<Body>> for FakeApi {
    type Response = Response<AnyBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let fake = self.clone();
        Box::pin(async move { Ok(fake.respond(Received::read(request).await)) })
    }
}
