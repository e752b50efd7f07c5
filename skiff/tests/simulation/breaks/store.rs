//! A store that does something else than its trait promises.

use std::sync::Arc;

use apiserver::store::{
    Batch, Commit, CommitError, Entry, Error, Previous, Range, RangeRequest, Revision, Store, WatchError, Write,
};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use serde_json::Value;

#[derive(Clone, Copy)]
pub(crate) enum Spoil {
    /// Objects are written otherwise than asked, by key.
    Writes(fn(&str, &mut Value)),
    /// What is read is not all.
    Ranges(fn(&mut Range)),
    /// What is told is not all; `false`: nothing of the revision.
    Watches(fn(&mut Batch) -> bool),
}

pub(crate) struct Spoilt {
    pub(crate) inner: Arc<dyn Store>,
    pub(crate) spoil: Spoil,
}

#[async_trait]
impl Store for Spoilt {
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<(Option<Entry>, Revision), Error> {
        self.inner.get(key, at).await
    }

    async fn range(&self, request: RangeRequest) -> Result<Range, Error> {
        let mut range = self.inner.range(request).await?;
        if let Spoil::Ranges(change) = self.spoil {
            change(&mut range);
        }
        Ok(range)
    }

    async fn commit(&self, mut commit: Commit) -> Result<Revision, CommitError> {
        if let Spoil::Writes(change) = self.spoil {
            for write in &mut commit.writes {
                let Write::Put { key, value, .. } = write else { continue };
                let mut object = serde_json::from_slice(value).expect("stored as JSON");
                change(key, &mut object);
                *value = object.to_string().into();
            }
        }
        self.inner.commit(commit).await
    }

    async fn revision(&self) -> Result<Revision, Error> {
        self.inner.revision().await
    }

    fn watch(&self, from: Revision, previous: Previous) -> BoxStream<'static, Result<Batch, WatchError>> {
        let batches = self.inner.watch(from, previous);
        let Spoil::Watches(change) = self.spoil else { return batches };
        let told = move |batch| {
            std::future::ready(match batch {
                Ok(mut batch) => change(&mut batch).then_some(Ok(batch)),
                error => Some(error),
            })
        };
        batches.filter_map(told).boxed()
    }

    async fn compact(&self, at: Revision) -> Result<(), Error> {
        self.inner.compact(at).await
    }

    async fn size_bytes(&self) -> Result<u64, Error> {
        self.inner.size_bytes().await
    }
}
