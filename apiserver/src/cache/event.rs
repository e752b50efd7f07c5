//! What a watcher is told.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::item::Item;
use crate::store::Revision;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Added,
    Modified,
    Deleted,
}

impl EventKind {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// One object's change. One value is shared by all who watch.
#[derive(Debug)]
pub struct Event {
    pub kind: EventKind,
    /// The object after the change; for a deletion the object as it was last, at the revision of the deletion.
    pub item: Arc<Item>,
    /// The object before the change, where it existed. A watcher with a selector needs it to tell an object that left
    /// the selection.
    pub previous: Option<Arc<Item>>,
    pub revision: Revision,
    frame: OnceLock<Bytes>,
}

impl Event {
    pub(super) fn new(kind: EventKind, item: Arc<Item>, previous: Option<Arc<Item>>) -> Self {
        Self { kind, revision: item.revision, item, previous, frame: OnceLock::new() }
    }

    /// The change as a JSON watch frame with its newline, made once for all watchers.
    pub fn frame(&self) -> Bytes {
        self.frame.get_or_init(|| frame(self.kind, self.item.text())).clone()
    }

    /// What it keeps in memory beyond the cache's own items, in bytes: its frame, and what the object was before. The
    /// object itself is the cache's, or the next event's `previous`.
    pub(super) fn weight(&self) -> usize {
        size_of::<Self>() + self.item.body.len() + self.previous.as_ref().map_or(0, |item| item.weight())
    }
}

/// A JSON watch frame of one object, with its newline.
pub fn frame(kind: EventKind, body: &[u8]) -> Bytes {
    let word = kind.as_str().as_bytes();
    let parts: [&[u8]; 5] = [br#"{"type":""#, word, br#"","object":"#, body, b"}\n"];
    let mut frame = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        frame.extend_from_slice(part);
    }
    frame.into()
}
