//! Reads the log at start: which files count, where each ends, and what the index is.
//!
//! Files that a merged one covers, and unfinished ones, are left from a crash and removed. Every file but the last was
//! cut to its records before the next one was made: if one of them is longer than its valid records it is damaged, and the
//! store refuses to start rather than to lose what was acknowledged. The last may end in a torn record, which no one was
//! told of; it is cut off before anything is appended, or a later record could give the rest of it a meaning again.

use std::io;
use std::sync::Arc;

use super::disk::Disk;
use super::index::{Place, Version};
use super::record::{self, Kind};
use super::segment::{Reader, Segment, is_blank};
use super::state::State;

/// The state of the log, and the segment to append to with the size of its file.
pub(super) fn recover(disk: &dyn Disk) -> io::Result<(State, Segment, u64)> {
    let numbers = clean(disk)?;
    let mut state = State::default();
    let mut active = None;
    for (at, (first, last)) in numbers.iter().enumerate() {
        let name = Segment::new(*first, *last, disk_file(disk, *first, *last)?);
        let size = name.file.size()?;
        let segment = scan(&mut state, name, size)?;
        let is_last = at + 1 == numbers.len();
        if segment.end != size && !is_last {
            return Err(damaged(&segment, "holds more than its records"));
        }
        if is_last {
            active = Some((segment.clone(), cut(&segment, size)?));
        }
        state.segments.insert(segment.last, segment);
    }
    let (active, size) = match active {
        Some(active) => active,
        None => {
            let segment = create(disk, 1)?;
            state.segments.insert(1, segment.clone());
            (segment, 0)
        }
    };
    let compacted = state.compacted;
    state.compact(compacted);
    Ok((state, active, size))
}

/// A new, empty segment, there to stay.
pub(super) fn create(disk: &dyn Disk, number: u32) -> io::Result<Segment> {
    let name = format!("{number:08x}-{number:08x}.log");
    let file = disk.create(&name)?;
    file.sync()?;
    disk.sync()?;
    Ok(Segment::new(number, number, file))
}

fn disk_file(disk: &dyn Disk, first: u32, last: u32) -> io::Result<Arc<dyn super::disk::File>> {
    disk.open(&format!("{first:08x}-{last:08x}.log"))
}

/// Removes what a crash left, and tells the numbers of the files that count, in order.
fn clean(disk: &dyn Disk) -> io::Result<Vec<(u32, u32)>> {
    let names = disk.names()?;
    for name in names.iter().filter(|name| name.ends_with(".tmp")) {
        disk.remove(name)?;
    }
    let mut numbers: Vec<(u32, u32)> = names.iter().filter_map(|name| Segment::parse_name(name)).collect();
    // The widest first: whatever begins inside what was kept before is covered by it.
    numbers.sort_by_key(|(first, last)| (*first, std::cmp::Reverse(*last)));
    let mut kept: Vec<(u32, u32)> = Vec::with_capacity(numbers.len());
    for (first, last) in numbers {
        match kept.last() {
            Some((_, covered)) if last <= *covered => disk.remove(&format!("{first:08x}-{last:08x}.log"))?,
            Some((_, before)) if first != before + 1 => {
                let reason = format!("log files are missing between {before:08x} and {first:08x}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
            _ => kept.push((first, last)),
        }
    }
    Ok(kept)
}

fn scan(state: &mut State, mut segment: Segment, size: u64) -> io::Result<Segment> {
    let mut reader = Reader::new(segment.file.clone(), 0, size);
    loop {
        let offset = reader.offset();
        let Some((record, payload)) = reader.next()? else { break };
        if record.revision < state.revision {
            return Err(damaged(&segment, "revisions go backwards"));
        }
        segment.note(record.revision, offset);
        state.revision = record.revision;
        state.compacted = state.compacted.max(record.compacted);
        for (change, at) in record.changes() {
            load(state, &segment, record.revision, change, payload + at as u64);
        }
    }
    segment.end = reader.offset();
    Ok(segment)
}

fn load(state: &mut State, segment: &Segment, modified: u64, change: record::Change<'_>, offset: u64) {
    let (segment, offset) = (segment.last, offset as u32);
    let version = match change.kind {
        Kind::Put { created, version, deadline_ms, value } => {
            if deadline_ms > 0 {
                state.expiries.insert((deadline_ms, modified, change.key.into()));
            }
            let place = Place { segment, offset, length: value.len() as u32 };
            Version { modified, created, version: u32::try_from(version).unwrap_or(u32::MAX), place }
        }
        Kind::Delete => Version { modified, created: 0, version: 0, place: Place { segment, offset, length: 0 } },
    };
    state.index.push(change.key, version);
}

/// Cuts off a torn tail; tells the size of the file then.
fn cut(segment: &Segment, size: u64) -> io::Result<u64> {
    if is_blank(&*segment.file, segment.end, size)? {
        return Ok(size);
    }
    tracing::warn!(file = segment.name(), end = segment.end, "the log ends in a torn record, which is cut off");
    segment.file.set_size(segment.end)?;
    segment.file.sync()?;
    Ok(segment.end)
}

fn damaged(segment: &Segment, what: &str) -> io::Error {
    let reason = format!("log file {} is damaged at byte {}: it {what}", segment.name(), segment.end);
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
