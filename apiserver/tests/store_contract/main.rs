//! What every store must do, run on each of them. The etcd half needs an etcd binary on PATH and says so when there is
//! none.

use std::sync::Arc;
use std::time::Duration;

use apiserver::store::embedded::disk::Folder;
use apiserver::store::embedded::{self, Embedded};
use apiserver::store::{Batch, ChangeKind, Commit, Entry, Error, RangeRequest, Revision, Store, WatchError, Write};
use bytes::Bytes;
use component::clock::Clock;
use futures::StreamExt;
use futures::stream::BoxStream;

#[path = "../store_common/etcd.rs"]
mod etcd;

mod alone;
mod commits;
mod reads;
mod watches;

/// The contract.
mod checks {
    pub(crate) use super::{commits::*, reads::*, watches::*};
}

use etcd::Server;

type Shared = Arc<dyn Store>;
type Batches = BoxStream<'static, Result<Batch, WatchError>>;

async fn open(folder: &tempfile::TempDir) -> Embedded {
    let disk = Arc::new(Folder::open(folder.path()).unwrap());
    Embedded::start(disk, Clock::system(), embedded::Options::default()).await.unwrap()
}

macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod on_embedded {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let folder = tempfile::tempdir().unwrap();
                    super::checks::$name(std::sync::Arc::new(super::open(&folder).await)).await;
                }
            )*
        }
        mod on_etcd {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let Some(server) = super::Server::start() else { return };
                    super::checks::$name(server.store().await).await;
                }
            )*
        }
    };
}

contract!(
    a_new_store_is_empty,
    compares_and_swaps,
    counts_revisions_and_versions,
    a_commit_is_whole,
    refuses_what_makes_no_sense,
    reads_ranges,
    reads_the_past,
    watches_and_resumes,
    tells_what_was_before,
    compacts,
    expires,
    serves_many_writers,
    takes_large_values,
);

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.unwrap_or_else(|_| panic!("{what} took too long"))
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn put(key: &str, value: &str) -> Write {
    Write::Put { key: key.to_owned(), value: bytes(value), ttl: None }
}

fn delete(key: &str) -> Write {
    Write::Delete { key: key.to_owned() }
}

async fn write(store: &Shared, writes: impl Into<Vec<Write>>) -> Revision {
    store.commit(Commit { conditions: Vec::new(), writes: writes.into() }).await.unwrap()
}

fn entry(key: &str, value: &str, created: u64, modified: u64, version: u64) -> Entry {
    let (created, modified) = (Revision(created), Revision(modified));
    Entry { key: key.to_owned(), value: bytes(value), created, modified, version }
}

async fn next(batches: &mut Batches) -> Result<Batch, WatchError> {
    within("a batch", batches.next()).await.expect("the watch goes on")
}

/// A batch in short: `revision: +key=value -key`.
fn short(batch: &Batch) -> String {
    let changes = batch.changes.iter().map(|change| match &change.kind {
        ChangeKind::Put { value, .. } => format!("+{}={}", change.key, String::from_utf8_lossy(value)),
        ChangeKind::Delete => format!("-{}", change.key),
    });
    format!("{}: {}", batch.revision, changes.collect::<Vec<_>>().join(" "))
}

async fn values(store: &Shared, at: u64) -> Result<Vec<String>, Error> {
    let range = store.range(RangeRequest::prefix("/").at(Revision(at))).await?;
    let values = range.entries.iter().map(|entry| format!("{}={}", entry.key, String::from_utf8_lossy(&entry.value)));
    Ok(values.collect())
}
