//! What admission is asked about: who does what to which object, and what is to be written beside it.

use std::sync::{Arc, Mutex, PoisonError};

use machinery::meta;
use machinery::status::Status;
use serde_json::Value;
use tokio::sync::OwnedMutexGuard;

use crate::api::Api;
use crate::catalogue::Served;
use crate::request::{RequestInfo, User};
use crate::rest::Call;
use crate::rest::current::not_json;
use crate::store::Commit;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

impl Operation {
    pub const ALL: [Self; 4] = [Self::Create, Self::Update, Self::Delete, Self::Connect];

    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// One write, delete or connection on its way through admission.
pub struct Request<'a> {
    pub api: &'a Api,
    pub call: &'a Call,
    pub operation: Operation,
    pub dry_run: bool,
    /// The stored object; none on a create.
    pub old: Option<&'a Value>,
    beside: Mutex<Beside>,
}

/// What is written in the same commit as the object, and the turns that are held until it is.
#[derive(Default)]
pub struct Beside {
    pub commit: Commit,
    turns: Vec<OwnedMutexGuard<()>>,
}

impl<'a> Request<'a> {
    pub fn new(api: &'a Api, call: &'a Call, operation: Operation, dry_run: bool, old: Option<&'a Value>) -> Self {
        Self { api, call, operation, dry_run, old, beside: Mutex::default() }
    }

    pub fn served(&self) -> &Served {
        &self.call.served
    }

    pub fn info(&self) -> &RequestInfo {
        &self.call.info
    }

    pub fn user(&self) -> &User {
        &self.call.user
    }

    pub fn is(&self, group: &str, plural: &str, subresource: &str) -> bool {
        let row = &self.call.served.row;
        row.group == group && row.plural == plural && self.call.info.subresource == subresource
    }

    pub fn creates(&self, group: &str, plural: &str) -> bool {
        self.operation == Operation::Create && self.is(group, plural, "")
    }

    /// Creates and updates, not deletes and connections.
    pub fn writes(&self) -> bool {
        matches!(self.operation, Operation::Create | Operation::Update)
    }

    /// The namespace that the object is in; empty for a cluster's own objects and for namespaces.
    pub fn namespace(&self) -> &str {
        if self.call.served.row.namespaced { &self.call.info.namespace } else { "" }
    }

    pub fn forbidden(&self, why: &str) -> Status {
        Status::forbidden(self.call.served.row.group_resource(), &self.call.info.name, why)
    }

    /// As [`Request::forbidden`], named after the object where the path names none.
    pub fn forbidden_object(&self, object: &Value, why: &str) -> Status {
        let name = meta::name(object);
        let name = if name.is_empty() { &self.call.info.name } else { name };
        Status::forbidden(self.call.served.row.group_resource(), name, why)
    }

    /// A word for the client that does not refuse, in a `Warning` header.
    pub fn warn(&self, text: impl Into<String>) {
        self.call.warnings.add(text);
    }

    /// A word for the request's audit event.
    pub fn annotate(&self, key: &str, value: impl Into<String>) {
        self.call.trail.annotate(key, value);
    }

    /// Every object of a built-in resource as the cache has it, in the namespace when one is given. For resources of few
    /// and small objects: they are shared, and stay taken apart ([`crate::cache::Item::tree`]).
    pub fn list(&self, group: &str, plural: &str, namespace: &str) -> Result<Vec<Arc<Value>>, Status> {
        let Some(served) = self.api.catalogue.find(group, "v1", plural) else { return Ok(Vec::new()) };
        let snapshot = self.api.cache.list(served.id, &self.api.catalogue.prefix(served, namespace));
        snapshot.iter().map(|item| item.tree().map_err(|error| not_json(&error))).collect()
    }

    /// An object that something refers to: as the cache has it, else as the store has it now. Shared as in
    /// [`Request::list`].
    pub async fn find(&self, group: &str, plural: &str, name: &str) -> Result<Option<Arc<Value>>, Status> {
        let Some(served) = self.api.catalogue.find(group, "v1", plural) else { return Ok(None) };
        match self.api.peek_shared(served, "", name)? {
            Some(found) => Ok(Some(found)),
            None => Ok(self.api.read(served, "", name).await?.map(|found| Arc::new(found.object))),
        }
    }

    /// Adds to the object's own commit. `turn` is held until that commit is over.
    pub fn write_beside(&self, commit: Commit, turn: OwnedMutexGuard<()>) {
        let mut beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
        beside.commit.conditions.extend(commit.conditions);
        beside.commit.writes.extend(commit.writes);
        beside.turns.push(turn);
    }

    /// What admission wants written beside the object. To be dropped when the commit is over, not before.
    pub fn beside(&self) -> Beside {
        std::mem::take(&mut *self.beside.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A refusal of a plug-in of upstream's that does not say that it forbids: an error with no reason.
pub fn bare_error(message: String) -> Status {
    Status { code: 500, reason: "", message, details: None, continue_token: None }
}

impl Beside {
    /// Puts this in the commit.
    pub fn join(&mut self, commit: &mut Commit) {
        commit.conditions.append(&mut self.commit.conditions);
        commit.writes.append(&mut self.commit.writes);
    }
}
