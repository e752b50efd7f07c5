//! What waits, what is worked on, and what waits for its time. Pure: the time is an argument.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use super::Item;

pub(super) struct State<T> {
    /// Ready, in order; each is in `dirty` too.
    ready: VecDeque<T>,
    /// Needs work, and since when: ready, or waiting for the work on the same key to end.
    dirty: HashMap<T, Instant>,
    /// Being worked on, and since when.
    processing: HashMap<T, Instant>,
    /// When a delayed item is due, by item and by order.
    due: HashMap<T, (Instant, u64)>,
    order: BTreeSet<(Instant, u64)>,
    delayed: HashMap<u64, T>,
    sequence: u64,
    shut_down: bool,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self {
            ready: VecDeque::new(),
            dirty: HashMap::new(),
            processing: HashMap::new(),
            due: HashMap::new(),
            order: BTreeSet::new(),
            delayed: HashMap::new(),
            sequence: 0,
            shut_down: false,
        }
    }
}

impl<T: Item> State<T> {
    /// Whether the item is new to the queue.
    pub(super) fn add(&mut self, item: T, now: Instant) -> bool {
        if self.shut_down || self.dirty.contains_key(&item) {
            return false;
        }
        self.dirty.insert(item.clone(), now);
        if !self.processing.contains_key(&item) {
            self.ready.push_back(item);
        }
        true
    }

    pub(super) fn add_at(&mut self, item: T, at: Instant) {
        if self.shut_down {
            return;
        }
        if let Some(earlier) = self.due.get(&item).copied() {
            if earlier.0 <= at {
                return;
            }
            self.order.remove(&earlier);
            self.delayed.remove(&earlier.1);
        }
        self.sequence += 1;
        let slot = (at, self.sequence);
        self.due.insert(item.clone(), slot);
        self.order.insert(slot);
        self.delayed.insert(self.sequence, item);
    }

    /// Makes the delayed items that are due ready; returns how many were new to the queue.
    pub(super) fn promote(&mut self, now: Instant) -> usize {
        let mut added = 0;
        while let Some(&slot) = self.order.first().filter(|(at, _)| *at <= now) {
            self.order.remove(&slot);
            if let Some(item) = self.delayed.remove(&slot.1) {
                self.due.remove(&item);
                added += usize::from(self.add(item, now));
            }
        }
        added
    }

    /// The first ready item and since when it waited.
    pub(super) fn take(&mut self) -> Option<(T, Duration)> {
        let item = self.ready.pop_front()?;
        let now = Instant::now();
        let since = self.dirty.remove(&item).unwrap_or(now);
        self.processing.insert(item.clone(), now);
        Some((item, now.saturating_duration_since(since)))
    }

    /// How long the work took; `None` if the item was not worked on.
    pub(super) fn done(&mut self, item: &T, now: Instant) -> Option<Duration> {
        let started = self.processing.remove(item)?;
        if self.dirty.contains_key(item) {
            self.ready.push_back(item.clone());
        }
        Some(now.saturating_duration_since(started))
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.ready.len()
    }

    /// Since when each item in work is worked on.
    pub(super) fn in_work(&self) -> impl Iterator<Item = Instant> {
        self.processing.values().copied()
    }

    pub(super) fn shut_down(&mut self) {
        self.shut_down = true;
        self.order.clear();
        self.due.clear();
        self.delayed.clear();
    }

    pub(super) fn is_shut_down(&self) -> bool {
        self.shut_down
    }
}
