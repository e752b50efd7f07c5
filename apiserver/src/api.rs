//! The server's heart: what every verb, admission plug-in and connection works with.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use component::clock::Clock;
use component::random::Random;
use component::shutdown::Shutdown;
use machinery::status::Status;
use serde_json::Value;

use crate::admission::Admission;
use crate::aggregation::Aggregation;
use crate::audit::Auditor;
use crate::authn::Authenticator;
use crate::authn::tokens::Tokens;
use crate::authz::Authorizer;
use crate::browsers::Browsers;
use crate::cache::{Cache, EventKind, WatchFrom};
use crate::catalogue::{Catalogue, Served};
use crate::connect::kubelet::KubeletClient;
use crate::end;
use crate::errors;
use crate::limits::Limits;
use crate::rest::current::{Current, not_json};
use crate::services::ServiceRanges;
use crate::store::{Commit, Revision, Store};
use crate::stored::Media;

/// How long a consistent read waits for the store and for the cache.
const READ_DEADLINE: Duration = Duration::from_secs(30);

/// Everything a request may need, shared by all requests.
pub struct Api {
    pub catalogue: Catalogue,
    pub store: Arc<dyn Store>,
    pub cache: Arc<Cache>,
    pub authenticator: Authenticator,
    pub authorizer: Arc<Authorizer>,
    pub admission: Admission,
    pub auditor: Option<Arc<Auditor>>,
    pub aggregation: Aggregation,
    pub tokens: Option<Tokens>,
    pub services: ServiceRanges,
    pub kubelets: KubeletClient,
    pub clock: Clock,
    pub random: Random,
    pub shutdown: Shutdown,
    pub limits: Limits,
    /// In which form objects are stored.
    pub storage_media: Media,
    /// How long objects that the store forgets are kept; zero: for ever.
    pub event_ttl: Duration,
    pub browsers: Browsers,
}

impl Api {
    /// The revision that a consistent read must have seen, once the cache has seen it.
    pub async fn consistent(&self) -> Result<Revision, Status> {
        let seen = tokio::time::timeout(READ_DEADLINE, self.cache.consistent()).await;
        let seen = seen.map_err(|_| end::too_late())?;
        seen.map_err(|error| errors::store(&error))
    }

    /// Waits until the cache holds everything; false when the server ends before.
    pub async fn is_loaded(&self) -> bool {
        self.shutdown.run_until(self.cache.ready()).await.is_some()
    }

    /// An object as of now: nothing acknowledged before this call is missing from it.
    pub async fn read(&self, served: &Served, namespace: &str, name: &str) -> Result<Option<Current>, Status> {
        self.consistent().await?;
        self.peek(served, namespace, name)
    }

    /// An object as the watch cache has it: may lag behind by a moment, costs no round trip.
    pub fn peek(&self, served: &Served, namespace: &str, name: &str) -> Result<Option<Current>, Status> {
        let key = self.catalogue.key(served, namespace, name);
        self.cache.get(served.id, &key).map(|item| Current::from_item(&item)).transpose()
    }

    /// As [`Api::peek`], for a small object that many requests look at: it is taken apart once for all of them.
    pub fn peek_shared(&self, served: &Served, namespace: &str, name: &str) -> Result<Option<Arc<Value>>, Status> {
        let found = self.cache.get(served.id, &self.catalogue.key(served, namespace, name));
        found.map(|item| item.tree()).transpose().map_err(|error| not_json(&error))
    }

    /// As [`Api::peek`], for a built-in resource by its name.
    pub fn peek_named(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        let served = self.catalogue.find(group, "v1", plural)?;
        self.peek(served, namespace, name).ok().flatten().map(|current| current.object)
    }

    /// Waits until the cache has an object, at most `deadline`.
    pub async fn await_object(
        &self,
        served: &Served,
        namespace: &str,
        name: &str,
        deadline: Duration,
    ) -> Result<Option<Current>, Status> {
        let prefix = self.catalogue.prefix(served, namespace);
        let mut watcher = self.cache.watch(served.id, &prefix, WatchFrom::Now);
        // Looked at after the watch is open, so that an object made in between is not missed.
        if let Some(found) = self.read(served, namespace, name).await? {
            return Ok(Some(found));
        }
        let key = self.catalogue.key(served, namespace, name);
        let appears = async {
            while let Ok(event) = watcher.next().await {
                if *event.item.key == key && event.kind != EventKind::Deleted {
                    break;
                }
            }
        };
        // Whether it came or the time is over, the cache tells.
        let _ = tokio::time::timeout(deadline, appears).await;
        self.peek(served, namespace, name)
    }

    pub fn new_uid(&self) -> String {
        uuid::Builder::from_random_bytes(
            ((u128::from(self.random.u64()) << 64) | u128::from(self.random.u64())).to_be_bytes(),
        )
        .into_uuid()
        .to_string()
    }

    /// Fills in what the cluster alone can say of a Service: its families, and addresses that nobody has.
    /// Upstream does so before it judges the rest, and tells what it refuses alone.
    pub fn complete_service(
        &self,
        served: &Served,
        new: &mut Value,
        old: Option<&Value>,
        dry_run: bool,
    ) -> Result<(), Status> {
        match served.hooks.allocates {
            true => self.services.complete(self, new, old.unwrap_or(&Value::Null), dry_run),
            false => Ok(()),
        }
    }

    /// What is written in the same commit as a change of this object: addresses and ports that a Service holds.
    /// `new` is absent on a delete, `old` on a create; allocation may complete `new`. Of a dry run nothing is written. A
    /// write of a status has none: upstream allocates nothing for it.
    pub async fn companions(
        &self,
        served: &Served,
        new: Option<&mut Value>,
        old: Option<&Value>,
        dry_run: bool,
    ) -> Result<Commit, Status> {
        match served.hooks.allocates {
            true => self.services.companions(self, new, old, dry_run).await,
            false => Ok(Commit::default()),
        }
    }

    /// The bytes to store: the object without its resource version, which is the store's to say.
    pub fn encode_stored(&self, object: &Value) -> Result<Bytes, Status> {
        self.storage_media.encode(object).map_err(Status::internal_error)
    }

    /// The current second, as `metav1.Time` writes it.
    pub fn now_text(&self) -> String {
        self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
}
