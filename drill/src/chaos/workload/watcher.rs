//! Those who look: watches that are taken up again where they broke, and lists beside them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, VersionMatch, WatchEvent, WatchParams};
use kube::core::ObjectList;
use tokio::sync::watch;

use super::{LABEL, PAUSE, Shared, patiently, version};
use crate::chaos::record::{Event, EventKind, Records, Snapshot, Watched};

/// Between two lists.
const LIST_PACE: Duration = Duration::from_millis(700);
/// Lists of the past at the end of a run.
const PAST_LISTS: usize = 12;
/// A connection whose other end says nothing is given up after so long; bookmarks come less often, so most are not used.
const WATCH_SECONDS: u32 = 20;

/// Watches until an event of the revision in `until`, or a later one, has come.
pub(super) async fn run(shared: Shared, until: watch::Receiver<Option<u64>>) -> Records {
    let mut records = Records::default();
    loop {
        let mut watched = Watched { start: list_now(&shared).await, events: Vec::new() };
        let ended = follow(&shared, &mut watched, &until).await;
        records.watches.push(watched);
        if ended {
            return records;
        }
        records.relists += 1;
    }
}

/// False when the server has forgotten where this watch was.
async fn follow(shared: &Shared, watched: &mut Watched, until: &watch::Receiver<Option<u64>>) -> bool {
    let mut revision = watched.start.revision;
    loop {
        // Also looked at between connections: the last event may be the last thing that was told.
        if until.borrow().is_some_and(|until| revision >= until) {
            return true;
        }
        match connection(shared, watched, &mut revision, until).await {
            Ok(()) => {}
            Err(kube::Error::Api(status)) if status.code == 410 => return false,
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn connection(
    shared: &Shared,
    watched: &mut Watched,
    revision: &mut u64,
    until: &watch::Receiver<Option<u64>>,
) -> kube::Result<()> {
    let parameters = WatchParams::default().labels(&selector()).timeout(WATCH_SECONDS);
    let objects = shared.objects();
    let answer = patiently(objects.watch(&parameters, &revision.to_string())).await;
    let Ok(events) = answer else { return Ok(()) };
    let mut events = std::pin::pin!(events?);
    let silence = Duration::from_secs(u64::from(WATCH_SECONDS) + 5);
    let mut ending = until.clone();
    loop {
        let event = tokio::select! {
            event = tokio::time::timeout(silence, events.try_next()) => event,
            _ = ending.wait_for(|until| until.is_some_and(|until| *revision >= until)) => return Ok(()),
        };
        let Ok(event) = event else { return Ok(()) };
        let (kind, object) = match event? {
            None => return Ok(()),
            Some(WatchEvent::Added(object)) => (EventKind::Added, object),
            Some(WatchEvent::Modified(object)) => (EventKind::Modified, object),
            Some(WatchEvent::Deleted(object)) => (EventKind::Deleted, object),
            Some(WatchEvent::Bookmark(bookmark)) => {
                *revision = bookmark.metadata.resource_version.parse().unwrap_or(*revision);
                continue;
            }
            Some(WatchEvent::Error(status)) => return Err(kube::Error::Api(status)),
        };
        let Some(version) = version(&object) else { continue };
        *revision = version.revision;
        watched.events.push(Event { kind, name: object.metadata.name.unwrap_or_default(), version });
    }
}

/// Lists now and then, to be compared with what watches tell.
pub(super) async fn list(shared: Shared) -> Records {
    let mut records = Records::default();
    while !shared.is_ending() {
        records.lists.extend(list_at(&shared, &ListParams::default()).await);
        shared.pause(LIST_PACE).await;
    }
    records
}

/// Until it succeeds.
pub(super) async fn list_now(shared: &Shared) -> Snapshot {
    loop {
        if let Some(snapshot) = list_at(shared, &ListParams::default()).await {
            return snapshot;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// As the store remembers it: lists at revisions that the first watch told. Those compacted meanwhile are left out.
pub(super) async fn lists_of_the_past(shared: &Shared, records: &Records) -> Vec<Snapshot> {
    let revisions = records.watches.iter().flat_map(|watched| &watched.events).map(|event| event.version.revision);
    let revisions: Vec<u64> = revisions.collect();
    let mut lists = Vec::new();
    for revision in revisions.iter().step_by(revisions.len() / PAST_LISTS + 1) {
        let parameters = ListParams::default().at(&revision.to_string()).matching(VersionMatch::Exact);
        lists.extend(list_at(shared, &parameters).await.map(|list| Snapshot { acknowledged: 0, ..list }));
    }
    lists
}

async fn list_at(shared: &Shared, parameters: &ListParams) -> Option<Snapshot> {
    let acknowledged = shared.acknowledged.load(Ordering::SeqCst);
    let parameters = parameters.clone().labels(&selector());
    let list: ObjectList<ConfigMap> = patiently(shared.objects().list(&parameters)).await.ok()?.ok()?;
    let revision = list.metadata.resource_version.as_ref()?.parse().ok()?;
    let objects = list.items.iter().filter_map(|object| Some((object.metadata.name.clone()?, version(object)?)));
    Some(Snapshot { revision, objects: objects.collect(), acknowledged })
}

fn selector() -> String {
    format!("{}={}", LABEL.0, LABEL.1)
}
