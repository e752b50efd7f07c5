//! One file of the log: a name that says which part of the log it is, and records up to where it ends.

use std::io;
use std::sync::Arc;

use super::disk::File;
use super::record::{self, HEADER, Header, Record};

/// Read from the file at a time.
const READ_BYTES: usize = 256 << 10;
/// Bytes between two entries of a segment's table of revisions.
const MARK_BYTES: u64 = 64 << 10;

/// What is known of a segment.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    /// The first and last of the files that it stands for; both its own number unless it was merged.
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) file: Arc<dyn File>,
    /// Where its records end.
    pub(super) end: u64,
    /// Bytes of changes that no one can read any more.
    pub(super) dead: u64,
    /// The newest revision in it, and before it.
    pub(super) newest: u64,
    /// Some revisions and where their records begin, ascending.
    marks: Vec<(u64, u64)>,
}

impl Segment {
    pub(super) fn new(first: u32, last: u32, file: Arc<dyn File>) -> Self {
        Self { first, last, file, end: 0, dead: 0, newest: 0, marks: Vec::new() }
    }

    /// Notes that a record of `revision` lies at `offset`.
    pub(super) fn note(&mut self, revision: u64, offset: u64) {
        self.newest = revision;
        if self.marks.last().is_none_or(|(_, last)| offset >= last + MARK_BYTES) {
            self.marks.push((revision, offset));
        }
    }

    /// Where to begin reading to find all records after `revision`.
    pub(super) fn seek(&self, revision: u64) -> u64 {
        let after = self.marks.partition_point(|(mark, _)| *mark <= revision);
        after.checked_sub(1).map_or(0, |at| self.marks[at].1)
    }

    pub(super) fn name(&self) -> String {
        format!("{:08x}-{:08x}.log", self.first, self.last)
    }

    /// The numbers in a name.
    pub(super) fn parse_name(name: &str) -> Option<(u32, u32)> {
        let (first, last) = name.strip_suffix(".log")?.split_once('-')?;
        Some((u32::from_str_radix(first, 16).ok()?, u32::from_str_radix(last, 16).ok()?))
    }
}

/// Reads records in order.
pub(super) struct Reader {
    file: Arc<dyn File>,
    /// Where the next record begins.
    offset: u64,
    /// Nothing is read from here on.
    end: u64,
    buffer: Vec<u8>,
    /// Where the buffer lies in the file.
    buffered_at: u64,
}

impl Reader {
    pub(super) fn new(file: Arc<dyn File>, offset: u64, end: u64) -> Self {
        Self { file, offset, end, buffer: Vec::new(), buffered_at: offset }
    }

    /// Where the records read so far end.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next record and where its payload begins; `None` where the log ends or is damaged.
    pub(super) fn next(&mut self) -> io::Result<Option<(Record<'_>, u64)>> {
        let Some(header) = self.header()? else { return Ok(None) };
        let start = self.offset + HEADER as u64;
        if !self.fill(HEADER + header.payload)? {
            return Ok(None);
        }
        let at = (start - self.buffered_at) as usize;
        let Some(record) = Record::parse(header, &self.buffer[at..at + header.payload]) else { return Ok(None) };
        self.offset = start + header.payload as u64;
        Ok(Some((record, start)))
    }

    fn header(&mut self) -> io::Result<Option<Header>> {
        if !self.fill(HEADER)? {
            return Ok(None);
        }
        let at = (self.offset - self.buffered_at) as usize;
        Ok(self.buffer[at..].first_chunk().and_then(|bytes| record::header(*bytes)))
    }

    /// Makes `length` bytes from `offset` on be in the buffer; false when the file ends before.
    fn fill(&mut self, length: usize) -> io::Result<bool> {
        let at = (self.offset - self.buffered_at) as usize;
        if at + length <= self.buffer.len() {
            return Ok(true);
        }
        let left = self.end - self.offset;
        if left < length as u64 {
            return Ok(false);
        }
        let size = left.min(length.max(READ_BYTES) as u64) as usize;
        self.buffer.resize(size, 0);
        self.buffered_at = self.offset;
        self.file.read_exact_at(&mut self.buffer, self.offset)?;
        Ok(true)
    }
}

/// Whether only zeros follow, as in room made ready and not used.
pub(super) fn is_blank(file: &dyn File, mut offset: u64, end: u64) -> io::Result<bool> {
    let mut buffer = vec![0; READ_BYTES];
    while offset < end {
        let size = (end - offset).min(READ_BYTES as u64) as usize;
        file.read_exact_at(&mut buffer[..size], offset)?;
        if buffer[..size].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        offset += size as u64;
    }
    Ok(true)
}
