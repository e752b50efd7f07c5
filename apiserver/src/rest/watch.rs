//! Watch: the changes of a collection as they happen (Kubernetes API concept: "Efficient detection of changes").
//!
//! [`socket`] sends the same over a WebSocket. A watcher without selectors hands on the frames that the cache encoded once
//! for all. With a selector an object that begins to match is ADDED, one that ceases to is DELETED.

mod socket;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use component::shutdown::Shutdown;
use futures::future::{BoxFuture, Either};
use futures::{FutureExt as _, Stream};
use machinery::status::Status;
use serde_json::{Value, json};
use tokio::task::coop;
use tokio::time::{Instant, Sleep, sleep_until};

use super::negotiate::{Accept, Format, Shape};
use super::params::{ListOptions, watched_version};
use super::table::{self, Include};
use super::{Call, list, respond};
use crate::api::Api;
use crate::cache::event::frame;
use crate::cache::{Event, EventKind, Item, WatchEnd, WatchFrom, Watcher};
use crate::catalogue::Served;
use crate::connect::websocket::is_asked_for;
use crate::errors;
use crate::go_json;
use crate::http_body::{Response, append, stream};
use crate::metrics::{WatchSeries, watches};
use crate::protobuf;
use crate::request::RequestInfo;
use crate::store::Revision;

/// How often a quiet watch is told how far it is.
const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);
/// How long before the end of a watch it is told so once more.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);
/// Frames sent at once when a burst is at hand.
const BURST_BYTES: usize = 64 * 1024;

pub async fn watch(api: &Arc<Api>, mut call: Call) -> Result<Response, Status> {
    let accept = call.accept()?;
    let options = list::options(&call)?;
    let frames = open(api.clone(), &call, accept, options).await?;
    let media_type = match accept.format {
        Format::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        Format::Json => "application/json",
        Format::Yaml => {
            return Err(Status::not_acceptable(
                "only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch",
            ));
        }
    };
    if let Some(client) = call.upgrade.take().filter(|_| is_asked_for(&call.headers)) {
        return socket::start(&call.headers, client, accept.format, frames, media_type);
    }
    Ok(respond::body_response(200, media_type, stream(frames)))
}

/// Opens the watch that a request asks for as a stream of encoded frames.
pub async fn open(
    api: Arc<Api>,
    call: &Call,
    accept: Accept,
    options: ListOptions,
) -> Result<impl Stream<Item = Bytes> + Send + use<>, Status> {
    let begun = Instant::now();
    let version = watched_version(&call.query)?;
    let include = match accept.shape {
        Shape::Table => Include::of(&call.query)?,
        _ => Include::Metadata,
    };
    let timeout = match options.timeout_seconds {
        Some(seconds) if seconds != 0 => Duration::from_secs(seconds.try_into().unwrap_or(0)),
        // Spread, so that clients do not return together.
        _ => api.random.jitter(api.limits.watch_min(), 1.0),
    };
    let prefix = api.catalogue.prefix(&call.served, &call.info.namespace);
    let mut encoder = Encoder {
        served: call.served.clone(),
        accept,
        include,
        columns_sent: false,
        series: WatchSeries::of(&call.served.row),
        api: api.clone(),
    };
    let (initial, bookmark_initial, after) = match begin(&api, call, &prefix, &options, version).await {
        Ok(beginning) => beginning,
        // What was asked for is no mistake: who watches is told on the way that it does not begin.
        Err(status) => return Ok(Either::Left(futures::stream::iter(encoder.error(&status)))),
    };
    // An event is no list, and ends such a stream.
    if accept.shape == Shape::PartialList {
        return Ok(Either::Left(futures::stream::iter(None)));
    }
    watches::began(&call.served.row, initial.len());
    let is_list = bookmark_initial && options.send_initial_events == Some(true);
    let deadline = Instant::now() + timeout;
    let due = match options.allow_bookmarks {
        true => next_bookmark(Instant::now(), api.random.jitter(BOOKMARK_PERIOD, 0.25), deadline),
        false => deadline,
    };
    let (shutdown, ends) = (api.shutdown.clone(), api.shutdown.clone());
    let watcher = api.cache.watch(call.served.id, &prefix, WatchFrom::After(after));
    Ok(Either::Right(Watch {
        encoder,
        list: is_list.then(|| (call.info.clone(), begun)),
        after,
        options,
        watcher,
        initial: initial.into_iter(),
        initial_end: bookmark_initial.then_some(after),
        deadline,
        due: Box::pin(sleep_until(due)),
        server_ends: Box::pin(async move { ends.cancelled().await }),
        shutdown,
        armed: None,
        ended: false,
    }))
}

/// The objects to begin with, whether to mark their end, and the revision after which changes follow.
async fn begin(
    api: &Api,
    call: &Call,
    prefix: &str,
    options: &ListOptions,
    version: Option<u64>,
) -> Result<(Vec<Arc<Item>>, bool, Revision), Status> {
    let streamed = options.send_initial_events == Some(true);
    match version.map(Revision) {
        None => api.consistent().await.map(|_| ())?,
        Some(Revision(0)) => {}
        Some(after) if !streamed => return Ok((Vec::new(), false, after)),
        Some(after) => list::wait_for(api, after).await?,
    }
    let snapshot = api.cache.list(call.served.id, prefix);
    if options.send_initial_events == Some(false) {
        return Ok((Vec::new(), false, snapshot.revision()));
    }
    let items = snapshot.iter().filter(|item| list::is_selected(item, options, &call.served)).cloned().collect();
    Ok((items, streamed && options.allow_bookmarks, snapshot.revision()))
}

/// The next bookmark: after a period, and once more shortly before the end, so that the client knows where to go on.
fn next_bookmark(now: Instant, period: Duration, deadline: Instant) -> Instant {
    let last = deadline.checked_sub(LAST_BOOKMARK).unwrap_or(now);
    if now < last { last.min(now + period) } else { deadline }
}

struct Watch {
    encoder: Encoder,
    options: ListOptions,
    watcher: Watcher,
    initial: std::vec::IntoIter<Arc<Item>>,
    /// Set until the bookmark that ends the initial events was sent.
    initial_end: Option<Revision>,
    /// Of a streamed list, until it is sent: what was asked for, and when.
    list: Option<(RequestInfo, Instant)>,
    /// Where the watch began.
    after: Revision,
    deadline: Instant,
    /// The next bookmark, or the deadline. It and the end of the server are waited for as long as the watch lasts: to
    /// begin that anew for each event would cost more than the event.
    due: Pin<Box<Sleep>>,
    server_ends: BoxFuture<'static, ()>,
    shutdown: Shutdown,
    /// Whom both wake already: they are asked again only once they have something to say.
    armed: Option<Waker>,
    ended: bool,
}

impl Watch {
    /// The next frames; `None` when the watch is over.
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(bytes) = self.initial_chunk() {
            return Poll::Ready(Some(bytes));
        }
        loop {
            // Events come most often, so they are looked for first; but a watch that is always busy must not outlive its
            // time.
            // Its own word would be no for ever: a timer that was never waited for has not begun.
            let is_due = Instant::now() >= self.due.deadline();
            if !is_due {
                match self.watcher.poll_next(context) {
                    Poll::Ready(Ok(event)) => match self.burst(event) {
                        Some(bytes) => return Poll::Ready(Some(bytes)),
                        None => continue,
                    },
                    Poll::Ready(Err(end)) => return Poll::Ready(self.finish(&end)),
                    Poll::Pending => {}
                }
                let is_armed = self.armed.as_ref().is_some_and(|waker| waker.will_wake(context.waker()));
                if is_armed && !self.shutdown.is_triggered() {
                    return Poll::Pending;
                }
            }
            if self.server_ends.poll_unpin(context).is_ready() {
                return Poll::Ready(None);
            }
            // A task that has used up its turn is told nothing by a timer, and the timer does not begin.
            let begins = coop::has_budget_remaining();
            if self.due.as_mut().poll(context).is_pending() {
                self.armed = begins.then(|| context.waker().clone());
                return Poll::Pending;
            }
            self.armed = None;
            let now = Instant::now();
            if now >= self.deadline {
                return Poll::Ready(None);
            }
            self.due.as_mut().reset(next_bookmark(now, BOOKMARK_PERIOD, self.deadline));
            let revision = self.watcher.progress();
            return Poll::Ready(self.encoder.bookmark(revision, false));
        }
    }

    fn initial_chunk(&mut self) -> Option<Bytes> {
        let mut chunk = BytesMut::new();
        for item in self.initial.by_ref() {
            append(&mut chunk, &self.encoder.item(EventKind::Added, &item)?);
            if chunk.len() >= BURST_BYTES {
                return Some(chunk.freeze());
            }
        }
        if let Some(revision) = self.initial_end.take() {
            chunk.extend_from_slice(&self.encoder.bookmark(revision, true)?);
            if let Some((info, begun)) = self.list.take() {
                watches::listed(&info, begun.elapsed());
            }
        }
        (!chunk.is_empty()).then(|| chunk.freeze())
    }

    /// This event and those that are at hand behind it, in one write.
    fn burst(&mut self, first: Arc<Event>) -> Option<Bytes> {
        let first = self.encode(&first);
        let Ok(Some(second)) = self.watcher.at_hand() else { return first };
        let mut frames: Vec<Bytes> = first.into_iter().collect();
        let mut bytes = frames.iter().map(Bytes::len).sum();
        let mut next = Some(second);
        while let Some(event) = next {
            let frame = self.encode(&event);
            bytes += frame.as_ref().map_or(0, Bytes::len);
            frames.extend(frame);
            // An end shows itself again at the next wait.
            next = if bytes < BURST_BYTES { self.watcher.at_hand().ok().flatten() } else { None };
        }
        let mut chunk = BytesMut::with_capacity(bytes);
        frames.iter().for_each(|frame| append(&mut chunk, frame));
        (!chunk.is_empty()).then(|| chunk.freeze())
    }

    fn encode(&mut self, event: &Event) -> Option<Bytes> {
        let kind = self.seen_as(event)?;
        if kind == event.kind && self.encoder.shares_frames() {
            let frame = event.frame();
            self.encoder.series.sent(frame.len());
            return Some(frame);
        }
        let leaves = kind == EventKind::Deleted && kind != event.kind;
        match event.previous.as_deref().filter(|_| leaves) {
            // It is gone for this watcher alone, who is shown what it was when it was selected.
            Some(previous) => self.encoder.item(kind, &previous.deleted(event.revision)),
            None => self.encoder.item(kind, &event.item),
        }
    }

    /// What the event is to this watcher: a change can bring an object into the selection or take it out.
    fn seen_as(&self, event: &Event) -> Option<EventKind> {
        let served = &self.encoder.served;
        let selects = |item: &Item| list::is_selected(item, &self.options, served);
        let before = event.previous.as_deref().is_some_and(selects);
        let now = event.kind != EventKind::Deleted && selects(&event.item);
        match (before, now) {
            (false, false) => None,
            (false, true) => Some(EventKind::Added),
            (true, true) => Some(EventKind::Modified),
            (true, false) => Some(EventKind::Deleted),
        }
    }

    fn finish(&mut self, end: &WatchEnd) -> Option<Bytes> {
        self.ended = true;
        match end {
            WatchEnd::Expired { after, .. } => {
                // Whoever asked for what is gone has not been too slow.
                if *after > self.after {
                    watches::left_behind(&self.encoder.served.row);
                }
                self.encoder.error(&errors::watch(end))
            }
            WatchEnd::Closed { reason } => {
                tracing::debug!(reason, "watch closed");
                None
            }
        }
    }
}

impl Stream for Watch {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let chunk = ready!(self.poll_chunk(context));
        self.ended |= chunk.is_none();
        Poll::Ready(chunk)
    }
}

/// Makes frames in the encoding and shape of one watcher.
struct Encoder {
    served: Arc<Served>,
    accept: Accept,
    include: Include,
    columns_sent: bool,
    series: WatchSeries,
    api: Arc<Api>,
}

impl Encoder {
    fn shares_frames(&self) -> bool {
        self.accept.shape == Shape::Object && self.accept.format != Format::Protobuf && !self.served.is_view()
    }

    fn item(&mut self, kind: EventKind, item: &Item) -> Option<Bytes> {
        if self.shares_frames() {
            let frame = frame(kind, item.text());
            self.series.sent(frame.len());
            return Some(frame);
        }
        let object: Value = serde_json::from_slice(&item.body).ok()?;
        let view = match self.accept.shape {
            Shape::Object if self.served.is_view() => self.served.shown(&object),
            Shape::Object => object,
            Shape::Table => self.table(&object, item.revision, self.include),
            Shape::Partial | Shape::PartialList => respond::metadata_alone(&self.served, &object),
        };
        self.event(kind.as_str(), &view)
    }

    fn bookmark(&mut self, revision: Revision, ends_initial: bool) -> Option<Bytes> {
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if ends_initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let row = &self.served.row;
        let mut object = json!({"kind": row.kind, "apiVersion": row.api_version(), "metadata": metadata});
        machinery::schema::normalize(self.served.schema, &mut object);
        let object = match self.accept.shape {
            Shape::Table => {
                // The annotation is told in any case.
                let bare = ends_initial && self.include == Include::None;
                self.table(&object, revision, if bare { Include::Metadata } else { self.include })
            }
            Shape::Partial | Shape::PartialList => respond::partial(&object),
            Shape::Object => object,
        };
        self.event("BOOKMARK", &object)
    }

    /// A table of one row; the first of a watch has the columns.
    fn table(&mut self, object: &Value, revision: Revision, include: Include) -> Value {
        let row = table::row(&self.served, object, self.api.clock.now().as_second(), include);
        let metadata = json!({"resourceVersion": revision.to_string()});
        let with_columns = !std::mem::replace(&mut self.columns_sent, true);
        table::of_rows(&self.served, metadata, vec![row], with_columns)
    }

    fn error(&mut self, status: &Status) -> Option<Bytes> {
        self.event("ERROR", &status.to_value())
    }

    fn event(&self, word: &str, object: &Value) -> Option<Bytes> {
        let object = respond::in_version(self.accept, object);
        let frame = match self.accept.format {
            Format::Protobuf => protobuf::watch_frame(word, &object).ok()?,
            Format::Json | Format::Yaml => {
                let mut line = go_json::text(serde_json::to_vec(&json!({"type": word, "object": object})).ok()?);
                line.push(b'\n');
                line
            }
        };
        self.series.sent(frame.len());
        Some(frame.into())
    }
}
