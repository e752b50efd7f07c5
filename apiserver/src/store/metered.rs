//! A store whose requests are timed, for `/metrics`.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::{
    Batch, Commit, CommitError, Condition, Entry, Error, Previous, Range, RangeRequest, Revision, Store, WatchError,
    Write,
};
use crate::metrics::store::asked;

/// Says whose objects lie at a key: group and resource, for the labels.
pub type Owner = Box<dyn Fn(&str) -> (String, String) + Send + Sync>;

/// Is told the key of each change that a watch brings.
pub type Received = Arc<dyn Fn(&str) + Send + Sync>;

pub struct Metered {
    inner: Arc<dyn Store>,
    owner: Owner,
    received: Received,
}

impl Metered {
    pub fn new(inner: Arc<dyn Store>, owner: Owner, received: Received) -> Self {
        Self { inner, owner, received }
    }

    fn tell(&self, operation: &'static str, key: &str, begun: Instant, failed: bool) {
        let (group, resource) = (self.owner)(key);
        asked([operation, &group, &resource], begun.elapsed(), failed);
    }
}

#[async_trait]
impl Store for Metered {
    fn hands_on_bytes(&self) -> bool {
        self.inner.hands_on_bytes()
    }

    async fn get(&self, key: &str, at: Option<Revision>) -> Result<(Option<Entry>, Revision), Error> {
        let begun = Instant::now();
        let found = self.inner.get(key, at).await;
        self.tell("get", key, begun, found.is_err());
        found
    }

    async fn range(&self, request: RangeRequest) -> Result<Range, Error> {
        let (begun, start) = (Instant::now(), request.start.clone());
        let found = self.inner.range(request).await;
        self.tell("list", &start, begun, found.is_err());
        found
    }

    async fn commit(&self, commit: Commit) -> Result<Revision, CommitError> {
        let operation = match (commit.writes.first(), commit.conditions.first()) {
            (Some(Write::Delete { .. }), _) => "delete",
            (_, Some(Condition::Absent { .. })) => "create",
            _ => "update",
        };
        let key = commit.writes.first().map(|write| write.key().to_owned()).unwrap_or_default();
        let begun = Instant::now();
        let done = self.inner.commit(commit).await;
        // A conflict is an answer like any other.
        self.tell(operation, &key, begun, matches!(done, Err(CommitError::Store(_))));
        done
    }

    async fn revision(&self) -> Result<Revision, Error> {
        self.inner.revision().await
    }

    fn watch(&self, from: Revision, previous: Previous) -> BoxStream<'static, Result<Batch, WatchError>> {
        let received = self.received.clone();
        let count = move |batch: &Result<Batch, WatchError>| {
            for change in batch.iter().flat_map(|batch| &batch.changes) {
                received(&change.key);
            }
        };
        self.inner.watch(from, previous).inspect(count).boxed()
    }

    async fn compact(&self, at: Revision) -> Result<(), Error> {
        let begun = Instant::now();
        let done = self.inner.compact(at).await;
        self.tell("compact", "", begun, done.is_err());
        done
    }

    async fn size_bytes(&self) -> Result<u64, Error> {
        self.inner.size_bytes().await
    }
}
