//! Writes that the store made and whose answer was lost: nobody may be told that somebody else was faster.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use apiserver::store::embedded::Embedded;
use apiserver::store::{
    Batch, Commit, CommitError, Entry, Error, Previous, Range, RangeRequest, Revision, Store, WatchError,
};
use async_trait::async_trait;
use component::shutdown::Shutdown;
use futures::stream::BoxStream;
use serde_json::{Value, json};

use crate::client::{CONFIG_MAPS, Reply, config_map, delete, get, post, put};
use crate::in_process;

/// A store that can keep the end of a commit to itself, as an etcd does that is killed.
struct Forgetful {
    store: Embedded,
    forgets: AtomicBool,
}

#[async_trait]
impl Store for Forgetful {
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<(Option<Entry>, Revision), Error> {
        self.store.get(key, at).await
    }

    async fn range(&self, request: RangeRequest) -> Result<Range, Error> {
        self.store.range(request).await
    }

    async fn commit(&self, commit: Commit) -> Result<Revision, CommitError> {
        // Of ConfigMaps only: the server's own tasks write too.
        let is_ours = commit.conditions.iter().any(|condition| condition.key().contains("/configmaps/default/a"));
        let made = self.store.commit(commit).await?;
        if is_ours && self.forgets.swap(false, Ordering::SeqCst) {
            return Err(Error::Timeout { operation: "commit" }.into());
        }
        Ok(made)
    }

    async fn revision(&self) -> Result<Revision, Error> {
        self.store.revision().await
    }

    fn watch(&self, from: Revision, previous: Previous) -> BoxStream<'static, Result<Batch, WatchError>> {
        self.store.watch(from, previous)
    }

    async fn compact(&self, at: Revision) -> Result<(), Error> {
        self.store.compact(at).await
    }

    async fn size_bytes(&self) -> Result<u64, Error> {
        self.store.size_bytes().await
    }
}

/// What is said of a write whose end is not known, and nothing that makes a client send it again by itself.
#[track_caller]
fn is_unknown(reply: &Reply) {
    reply.refused(504, "Timeout");
    assert_eq!((reply.headers.get("retry-after"), &reply.body["details"]["retryAfterSeconds"]), (None, &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_is_lost_is_not_tried_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Forgetful { store: in_process::store(&folder).await, forgets: AtomicBool::new(false) };
    let store = Arc::new(store);
    let server = in_process::start(&folder, store.clone(), Shutdown::new());
    let client = kube::Client::new(server.service(), "default");
    let path = format!("{CONFIG_MAPS}/a");
    let forget = || store.forgets.store(true, Ordering::SeqCst);

    // The server makes it, too, and one of the two is first.
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}});
    post(&client, "/api/v1/namespaces", &namespace).await;
    forget();
    is_unknown(&post(&client, CONFIG_MAPS, &config_map("a", &json!({"n": "1"}))).await);
    let mut made = get(&client, &path).await.expect(200);
    made["data"]["n"] = "2".into();
    forget();
    is_unknown(&put(&client, &path, &made).await);
    let made = get(&client, &path).await.expect(200);
    assert_eq!(made["data"]["n"], "2");
    forget();
    is_unknown(&delete(&client, &path, &json!({})).await);
    get(&client, &path).await.expect(404);
}
