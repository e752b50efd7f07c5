//! A stored object as the cache holds it, and how it gets its index.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::Value;

use super::compact::{Fields, Labels};
use super::splice;
use crate::store::Revision;

/// A kind of object, by a number that the [`Indexer`] chose. All keys of a resource share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource(pub u32);

/// Says what stored bytes are. Called once for each write, in order, so keep it cheap: it bounds how fast the server
/// starts with much data.
pub trait Indexer: Send + Sync + 'static {
    /// The resource whose objects live at `key`; `None` for a key that is not ours, which is skipped.
    /// The same key must always give the same answer.
    fn resource(&self, key: &str) -> Option<Resource>;

    /// What to serve and to select by. An error means that the bytes cannot be read: it is logged with the key, and the
    /// object is treated as absent.
    fn index(&self, resource: Resource, key: &str, value: &Bytes) -> Result<Indexed, String>;

    /// The same of an object that is at hand, and about to be stored as `value`. `None` where only reading tells.
    fn index_object(&self, _: Resource, _: &Value, _: &Bytes) -> Option<Indexed> {
        None
    }
}

/// An object made ready by the [`Indexer`].
#[derive(Clone, Debug)]
pub struct Indexed {
    /// The object as JSON. `metadata.resourceVersion` need not be there; the cache puts the right one in.
    pub body: Bytes,
    pub labels: Labels,
    pub fields: Fields,
}

/// An object in the cache. Immutable; shared between lists, watches and the cache itself.
#[derive(Debug)]
pub struct Item {
    pub key: Box<str>,
    /// The revision that last wrote it: its `resourceVersion`. In a deleted event, that of the deletion.
    pub revision: Revision,
    pub created: Revision,
    /// The whole object as JSON, `metadata.resourceVersion` included, and a newline: as a client gets it.
    pub body: Bytes,
    pub labels: Labels,
    pub fields: Fields,
    tree: OnceLock<Arc<Value>>,
}

impl Item {
    /// Puts the revision into the object's metadata. Fails when the body is not an object with metadata.
    pub fn new(key: &str, created: Revision, revision: Revision, indexed: Indexed) -> Result<Self, splice::Malformed> {
        let body = splice::resource_version(&indexed.body, revision)?;
        let Indexed { labels, fields, .. } = indexed;
        Ok(Self { key: key.into(), revision, created, body, labels, fields, tree: OnceLock::new() })
    }

    /// The body without its newline, as a part of something larger.
    pub fn text(&self) -> &[u8] {
        self.body.trim_ascii_end()
    }

    /// The object taken apart: once, and then kept as long as the item. For the few small objects that many requests
    /// look at; many large ones would hold several times their bytes.
    pub fn tree(&self) -> serde_json::Result<Arc<Value>> {
        if let Some(tree) = self.tree.get() {
            return Ok(tree.clone());
        }
        let tree = Arc::new(serde_json::from_slice(&self.body)?);
        Ok(self.tree.get_or_init(|| tree).clone())
    }

    /// The object as a deleted event shows it: as it was last, at the revision of its deletion.
    pub fn deleted(&self, revision: Revision) -> Self {
        let body = splice::resource_version(&self.body, revision).unwrap_or_else(|_| self.body.clone());
        Self {
            key: self.key.clone(),
            revision,
            created: self.created,
            body,
            labels: self.labels.clone(),
            fields: self.fields.clone(),
            tree: OnceLock::new(),
        }
    }

    /// What it holds in memory, roughly, in bytes.
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.key.len() + self.body.len() + self.labels.weight() + self.fields.weight()
    }
}

/// An item, ordered and found by its key.
#[derive(Clone, Debug)]
pub(super) struct ByKey(pub(super) Arc<Item>);

impl Borrow<str> for ByKey {
    fn borrow(&self) -> &str {
        &self.0.key
    }
}

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for ByKey {}

impl PartialOrd for ByKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key.cmp(&other.0.key)
    }
}
