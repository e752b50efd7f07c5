//! Gives back the disk space of what compaction has forgotten: writes the live records of neighbouring segments into one
//! that takes their place.
//!
//! A merged file covers the numbers of all it replaces. It gets its name in one step, when it is whole and durable; the
//! replaced files are removed after that, and a start after a crash in between removes them.
//!
//! A forgotten deletion may only be dropped when no older file still holds what it deleted, or that would be back after a
//! restart. So merging goes from the oldest file to the newest and takes every file with anything dead in it: all files
//! before the one at hand are clean.

use std::io;

use super::record::{self, Kind};
use super::segment::{Reader, Segment};
use super::state::Shared;

use super::index::Place;

const WRITE_BYTES: usize = 1 << 20;

/// Merges if it is worth it. Must not run twice at a time. Blocks.
pub(super) fn run(shared: &Shared) -> io::Result<()> {
    let closed: Vec<Segment> = {
        let state = shared.read();
        let mut segments: Vec<_> = state.segments.values().cloned().collect();
        segments.pop();
        segments
    };
    let dead: u64 = closed.iter().map(|segment| segment.dead).sum();
    let live = closed.iter().map(live).sum::<u64>();
    if dead < (shared.options.segment_bytes_max / 4).max(live / 2) {
        return Ok(());
    }
    for run in plan(&closed, shared.options.segment_bytes_max) {
        merge(shared, run)?;
    }
    Ok(())
}

fn live(segment: &Segment) -> u64 {
    segment.end.saturating_sub(segment.dead)
}

/// Runs of neighbours to be merged into one file each, the oldest first: all with anything dead in them, and small ones.
fn plan(closed: &[Segment], merged_bytes_max: u64) -> Vec<&[Segment]> {
    let mut runs = Vec::new();
    let (mut start, mut size) = (0, 0);
    for (at, segment) in closed.iter().enumerate() {
        let take = segment.dead > 0 || segment.end < merged_bytes_max / 8;
        if at > start && (!take || size + live(segment) > merged_bytes_max) {
            runs.push(&closed[start..at]);
            (start, size) = (at, 0);
        }
        if take {
            size += live(segment);
        } else {
            start = at + 1;
        }
    }
    if start < closed.len() {
        runs.push(&closed[start..]);
    }
    // One small file without anything dead has nothing to gain.
    runs.retain(|run| run.len() > 1 || run.iter().any(|segment| segment.dead > 0));
    runs
}

/// A version's new place.
struct Moved {
    key: Box<str>,
    modified: u64,
    place: Place,
}

fn merge(shared: &Shared, run: &[Segment]) -> io::Result<()> {
    let [oldest, .., newest] = run else {
        return match run {
            [only] => merge_into(shared, run, only.first, only.last),
            _ => Ok(()),
        };
    };
    merge_into(shared, run, oldest.first, newest.last)
}

fn merge_into(shared: &Shared, run: &[Segment], first: u32, last: u32) -> io::Result<()> {
    let temporary = format!("{first:08x}-{last:08x}.tmp");
    let mut merged = Segment::new(first, last, shared.disk.create(&temporary)?);
    let mut moved = Vec::new();
    let mut buffer = Vec::new();
    let mut revision = 0;
    for segment in run {
        let mut reader = Reader::new(segment.file.clone(), 0, segment.end);
        while let Some((record, _)) = reader.next()? {
            revision = record.revision;
            copy(shared, &mut merged, &mut buffer, &record, &mut moved);
            if buffer.len() >= WRITE_BYTES {
                flush(&mut merged, &mut buffer)?;
            }
        }
        if reader.offset() != segment.end {
            let reason = format!("log file {} is damaged at byte {}", segment.name(), reader.offset());
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
    }
    // Keeps the newest revision known even if its record was dropped, and how far history was compacted.
    let compacted = shared.read().compacted;
    let offset = merged.end + buffer.len() as u64;
    record::Writer::begin(&mut buffer, revision, compacted.min(revision)).end();
    merged.note(revision, offset);
    flush(&mut merged, &mut buffer)?;
    merged.file.sync()?;
    shared.disk.rename(&temporary, &merged.name())?;
    shared.disk.sync()?;
    replace(shared, run, merged, moved);
    for segment in run.iter().filter(|segment| (segment.first, segment.last) != (first, last)) {
        shared.disk.remove(&segment.name())?;
    }
    shared.disk.sync()
}

fn copy(
    shared: &Shared,
    merged: &mut Segment,
    buffer: &mut Vec<u8>,
    record: &record::Record<'_>,
    moved: &mut Vec<Moved>,
) {
    let state = shared.read();
    let live = |change: &record::Change<'_>| state.index.holds(change.key, record.revision);
    if !record.changes().any(|(change, _)| live(&change)) {
        return;
    }
    let offset = merged.end + buffer.len() as u64;
    merged.note(record.revision, offset);
    let base = merged.end;
    let mut writer = record::Writer::begin(buffer, record.revision, record.compacted);
    for (change, _) in record.changes().filter(|(change, _)| live(change)) {
        let length = match change.kind {
            Kind::Put { value, .. } => value.len() as u32,
            Kind::Delete => 0,
        };
        let place = Place { segment: merged.last, offset: (base + writer.change(change) as u64) as u32, length };
        moved.push(Moved { key: change.key.into(), modified: record.revision, place });
    }
    writer.end();
}

fn flush(merged: &mut Segment, buffer: &mut Vec<u8>) -> io::Result<()> {
    merged.file.write_all_at(buffer, merged.end)?;
    merged.end += buffer.len() as u64;
    buffer.clear();
    Ok(())
}

/// Lets readers find the values in the merged file. Those who read the old files at this moment hold them open.
fn replace(shared: &Shared, run: &[Segment], merged: Segment, moved: Vec<Moved>) {
    let mut state = shared.write();
    for segment in run {
        state.segments.remove(&segment.last);
    }
    state.segments.insert(merged.last, merged);
    for Moved { key, modified, place } in moved {
        state.index.relocate(&key, modified, place);
    }
}
