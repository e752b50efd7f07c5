//! A watch, event by event, each with a deadline.

use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures::{AsyncBufReadExt as _, Stream, StreamExt as _, TryStreamExt as _};
use http_body_util::BodyExt as _;
use serde_json::Value;

use super::{Answer, Call, Cluster};
use crate::expect::short;

pub(crate) struct Watch {
    path: String,
    lines: Pin<Box<dyn Stream<Item = std::io::Result<String>> + Send>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.
    pub(crate) kind: String,
    pub(crate) object: Value,
}

impl Event {
    /// `ADDED name`, for comparing sequences.
    pub(crate) fn brief(&self) -> String {
        format!("{} {}", self.kind, self.object["metadata"]["name"].as_str().unwrap_or("-"))
    }
}

impl Cluster {
    /// Opens a watch by its whole path. It is an error if it is refused.
    pub(crate) async fn watch(&self, path: &str) -> Result<Watch> {
        let call = Call::get(path);
        let operation = call.operation();
        let response = self.open(call).await?;
        let (parts, body) = response.into_parts();
        if !parts.status.is_success() {
            let body =
                body.collect().await.with_context(|| format!("{operation}: read the answer"))?.to_bytes().to_vec();
            let answer = Answer { operation, status: parts.status.as_u16(), headers: parts.headers, body };
            return Err(answer.error().into());
        }
        let bytes = body.into_data_stream().map_err(std::io::Error::other);
        Ok(Watch { path: path.to_owned(), lines: Box::pin(bytes.into_async_read().lines()) })
    }
}

impl Watch {
    /// The next event of any kind; `None` once the server has ended the watch.
    pub(crate) async fn next_or_end(&mut self, limit: Duration) -> Result<Option<Event>> {
        let Ok(line) = tokio::time::timeout(limit, self.lines.next()).await else {
            bail!("watch {}: expected an event within {} s, saw none", self.path, limit.as_secs())
        };
        let Some(line) = line else { return Ok(None) };
        let line = line.with_context(|| format!("watch {}", self.path))?;
        let mut value: Value = serde_json::from_str(&line).with_context(|| format!("no event: {}", short(&line)))?;
        let kind = value["type"].as_str().unwrap_or_default().to_owned();
        Ok(Some(Event { kind, object: value["object"].take() }))
    }

    /// The next event of any kind.
    pub(crate) async fn next_any(&mut self, limit: Duration) -> Result<Event> {
        let event = self.next_or_end(limit).await?;
        event.with_context(|| format!("watch {}: expected an event, the server ended the watch", self.path))
    }

    /// The next event that is no bookmark.
    pub(crate) async fn next(&mut self, limit: Duration) -> Result<Event> {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            let event = self.next_any(deadline.saturating_duration_since(tokio::time::Instant::now())).await?;
            if event.kind != "BOOKMARK" {
                ensure!(event.kind != "ERROR", "watch {}: {}", self.path, event.object);
                return Ok(event);
            }
        }
    }

    /// The next event's kind and object's name must be these.
    pub(crate) async fn expect(&mut self, brief: &str, limit: Duration) -> Result<Value> {
        let event = self.next(limit).await.with_context(|| format!("expected {brief}"))?;
        let seen = event.brief();
        ensure!(seen == brief, "watch {}: expected {brief}, saw {seen}", self.path);
        Ok(event.object)
    }

    /// Nothing but bookmarks comes for this long.
    pub(crate) async fn quiet(&mut self, length: Duration) -> Result<()> {
        let deadline = tokio::time::Instant::now() + length;
        loop {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let Ok(line) = tokio::time::timeout(left, self.lines.next()).await else { return Ok(()) };
            let line = line.with_context(|| format!("watch {}: the server ended it", self.path))??;
            ensure!(
                line.contains(r#""type":"BOOKMARK""#),
                "watch {}: expected silence, saw {}",
                self.path,
                short(&line)
            );
        }
    }
}
