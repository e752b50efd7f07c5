//! A watch of etcd's whole key space, taken up again where it was when its connection breaks.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use etcd_client::{Client, EventType, WatchOptions, WatchResponse, WatchStream};
use futures::stream::{self, BoxStream, StreamExt};

use super::{MESSAGE_BYTES_MAX, Members, entry, unsigned};
use crate::store::{Batch, Change, ChangeKind, Previous, Revision, WatchError};

const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);

struct Watch {
    members: Members,
    /// With the client that keeps its connection.
    stream: Option<(Client, WatchStream)>,
    previous: Previous,
    /// Everything up to here was told, or waits in `batches`.
    read: u64,
    batches: VecDeque<Batch>,
    retry: Duration,
}

pub(super) fn watch(
    members: Members,
    from: Revision,
    previous: Previous,
) -> BoxStream<'static, Result<Batch, WatchError>> {
    let watch = Watch { members, stream: None, previous, read: from.0, batches: VecDeque::new(), retry: RETRY_MIN };
    let batches = stream::unfold(Some(watch), |watch| async move {
        let mut watch = watch?;
        match watch.next().await {
            Ok(batch) => Some((Ok(batch), Some(watch))),
            Err(error) => Some((Err(error), None)),
        }
    });
    batches.boxed()
}

impl Watch {
    async fn next(&mut self) -> Result<Batch, WatchError> {
        loop {
            if let Some(batch) = self.batches.pop_front() {
                return Ok(batch);
            }
            match self.receive().await {
                Ok(response) => self.take(&response)?,
                Err(error) => {
                    tracing::debug!(error, revision = self.read, "watch of etcd broke, taking it up again");
                    self.stream = None;
                    tokio::time::sleep(self.retry).await;
                    self.retry = (self.retry * 2).min(RETRY_MAX);
                }
            }
        }
    }

    async fn receive(&mut self) -> Result<WatchResponse, String> {
        if self.stream.is_none() {
            self.stream = Some(self.open().await.map_err(|error| error.to_string())?);
        }
        let Some((_, stream)) = &mut self.stream else { return Err("not open".to_owned()) };
        match stream.message().await {
            Ok(Some(response)) if response.canceled() && response.compact_revision() == 0 => {
                Err(format!("etcd cancelled the watch: {}", response.cancel_reason()))
            }
            Ok(Some(response)) => Ok(response),
            Ok(None) => Err("etcd ended the stream".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn open(&self) -> Result<(Client, WatchStream), etcd_client::Error> {
        // Not in fragments: etcd then puts all events of a revision into one response.
        let mut options = WatchOptions::new().with_all_keys().with_start_revision(start(self.read));
        if self.previous == Previous::Include {
            options = options.with_prev_key();
        }
        let client = self.members.client().await?;
        let mut watch = client.watch_client().max_decoding_message_size(MESSAGE_BYTES_MAX);
        let stream = watch.watch("\0", Some(options)).await?;
        Ok((client, stream))
    }

    fn take(&mut self, response: &WatchResponse) -> Result<(), WatchError> {
        if response.compact_revision() > 0 {
            return Err(WatchError::Compacted { oldest: Revision(unsigned(response.compact_revision())) });
        }
        self.retry = RETRY_MIN;
        for event in response.events() {
            let Some(found) = event.kv() else { continue };
            let revision = Revision(unsigned(found.mod_revision()));
            // The revision that was read last comes again, see `start`.
            if revision.0 <= self.read && self.batches.back().is_none_or(|batch| batch.revision != revision) {
                continue;
            }
            let change = change(event, found);
            match self.batches.back_mut().filter(|batch| batch.revision == revision) {
                Some(batch) => batch.changes.push(change),
                None => self.batches.push_back(Batch { revision, changes: vec![change] }),
            }
            self.read = revision.0;
        }
        Ok(())
    }
}

fn change(event: &etcd_client::Event, found: &etcd_client::KeyValue) -> Change {
    let kind = match event.event_type() {
        EventType::Put => ChangeKind::Put {
            value: Bytes::copy_from_slice(found.value()),
            created: Revision(unsigned(found.create_revision())),
            version: unsigned(found.version()),
        },
        EventType::Delete => ChangeKind::Delete,
    };
    let key = String::from_utf8_lossy(found.key()).into_owned();
    Change { key, kind, previous: event.prev_kv().cloned().map(entry) }
}

/// Where to begin after `read`: at `read` itself. Asked for the revision behind it, an older etcd (3.4.23 does) passes
/// over a deletion that history was compacted at, without a word; asked one earlier it says that this is gone.
fn start(read: u64) -> i64 {
    i64::try_from(read.max(1)).unwrap_or(i64::MAX)
}

/// The revision that history begins at, as well as etcd can tell it: 0 when it does not.
pub(super) async fn oldest(members: &Members) -> Revision {
    let ask = async {
        let options = WatchOptions::new().with_start_revision(1);
        let client = members.client().await.ok()?;
        let mut stream = client.watch_client().watch("\0", Some(options)).await.ok()?;
        while let Some(response) = stream.message().await.ok()? {
            if response.canceled() {
                return Some(Revision(unsigned(response.compact_revision())));
            }
        }
        None
    };
    tokio::time::timeout(Duration::from_secs(2), ask).await.ok().flatten().unwrap_or_default()
}
