//! A store whose watches end when a test says so, with an error that the cache must survive.

use std::sync::Arc;

use apiserver::store::{
    Batch, Commit, CommitError, Entry, Error, Previous, Range, RangeRequest, Revision, Store, WatchError,
};
use futures::StreamExt;
use futures::stream::BoxStream;

/// A store whose watches can be made to fail.
pub struct Breaking {
    pub store: Arc<dyn Store>,
    pub broken: Arc<tokio::sync::Notify>,
}

#[async_trait::async_trait]
impl Store for Breaking {
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<(Option<Entry>, Revision), Error> {
        self.store.get(key, at).await
    }

    async fn range(&self, request: RangeRequest) -> Result<Range, Error> {
        self.store.range(request).await
    }

    async fn commit(&self, commit: Commit) -> Result<Revision, CommitError> {
        self.store.commit(commit).await
    }

    async fn revision(&self) -> Result<Revision, Error> {
        self.store.revision().await
    }

    fn watch(&self, from: Revision, previous: Previous) -> BoxStream<'static, Result<Batch, WatchError>> {
        let broken = self.broken.clone();
        let end = async move { broken.notified().await };
        let error = futures::stream::iter([Err(WatchError::Compacted { oldest: Revision(9) })]);
        self.store.watch(from, previous).take_until(end).chain(error).boxed()
    }

    async fn compact(&self, at: Revision) -> Result<(), Error> {
        self.store.compact(at).await
    }

    async fn size_bytes(&self) -> Result<u64, Error> {
        self.store.size_bytes().await
    }
}
