//! The log's records as bytes: one a revision, in ascending order. Pure.
//!
//! ```text
//! record:  length u32 | CRC-32 of the payload u32 | payload
//! payload: revision u64 | compacted u64 | change*
//! change:  1 put, 2 delete u8 | created u64 | version u64 | deadline u64 | key length u32 | value length u32 | key | value
//! ```
//!
//! All numbers are little-endian. `compacted` is how far history was compacted when the record was written; a record
//! without changes only tells that, and the revision. `deadline` is when the key expires, in milliseconds since 1970, 0 for
//! never. A length of 0 is where the log ends: room is made ready as zeros before it is used.

/// Bytes before the payload.
pub(super) const HEADER: usize = 8;
const CHANGE_HEADER: usize = 1 + 3 * 8 + 2 * 4;
const PUT: u8 = 1;
const DELETE: u8 = 2;
/// A longer length is no length but damage.
const PAYLOAD_MAX: usize = 64 << 20;

/// A change inside a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change<'a> {
    pub(super) key: &'a str,
    pub(super) kind: Kind<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    Put { created: u64, version: u64, deadline_ms: u64, value: &'a [u8] },
    Delete,
}

/// How many bytes a change takes.
pub(super) fn change_size(key: usize, value: usize) -> usize {
    CHANGE_HEADER + key + value
}

/// Appends records to a buffer.
pub(super) struct Writer<'a> {
    buffer: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn begin(buffer: &'a mut Vec<u8>, revision: u64, compacted: u64) -> Self {
        let start = buffer.len();
        buffer.extend_from_slice(&[0; HEADER]);
        buffer.extend_from_slice(&revision.to_le_bytes());
        buffer.extend_from_slice(&compacted.to_le_bytes());
        Self { buffer, start }
    }

    /// Where in the buffer the change's value lies.
    pub(super) fn change(&mut self, change: Change<'_>) -> usize {
        let (kind, numbers, value) = match change.kind {
            Kind::Put { created, version, deadline_ms, value } => (PUT, [created, version, deadline_ms], value),
            Kind::Delete => (DELETE, [0; 3], &[][..]),
        };
        self.buffer.push(kind);
        for number in numbers {
            self.buffer.extend_from_slice(&number.to_le_bytes());
        }
        // Commits are limited far below 4 GiB.
        self.buffer.extend_from_slice(&(change.key.len() as u32).to_le_bytes());
        self.buffer.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.buffer.extend_from_slice(change.key.as_bytes());
        let place = self.buffer.len();
        self.buffer.extend_from_slice(value);
        place
    }

    pub(super) fn end(self) {
        let payload = self.start + HEADER;
        let length = (self.buffer.len() - payload) as u32;
        let sum = crc32fast::hash(&self.buffer[payload..]);
        self.buffer[self.start..self.start + 4].copy_from_slice(&length.to_le_bytes());
        self.buffer[self.start + 4..payload].copy_from_slice(&sum.to_le_bytes());
    }
}

/// What the first bytes of a record promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) payload: usize,
    sum: u32,
}

/// `None` where the log ends, or is damaged.
pub(super) fn header(bytes: [u8; HEADER]) -> Option<Header> {
    let [a, b, c, d, e, f, g, h] = bytes;
    let payload = u32::from_le_bytes([a, b, c, d]) as usize;
    let sum = u32::from_le_bytes([e, f, g, h]);
    (16..=PAYLOAD_MAX).contains(&payload).then_some(Header { payload, sum })
}

/// A whole record, checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) revision: u64,
    pub(super) compacted: u64,
    changes: &'a [u8],
}

impl<'a> Record<'a> {
    /// `None` when it is not what was written.
    pub(super) fn parse(header: Header, payload: &'a [u8]) -> Option<Self> {
        if payload.len() != header.payload || crc32fast::hash(payload) != header.sum {
            return None;
        }
        let (revision, rest) = number(payload)?;
        let (compacted, changes) = number(rest)?;
        Some(Self { revision, compacted, changes })
    }

    /// The changes, each with where its value begins, counted from the payload's first byte.
    pub(super) fn changes(&self) -> impl Iterator<Item = (Change<'a>, usize)> {
        let mut rest = self.changes;
        let total = self.changes.len() + 16;
        std::iter::from_fn(move || {
            let (found, after) = change(rest)?;
            let value = match found.kind {
                Kind::Put { value, .. } => value.len(),
                Kind::Delete => 0,
            };
            rest = after;
            Some((found, total - after.len() - value))
        })
    }
}

fn change(bytes: &[u8]) -> Option<(Change<'_>, &[u8])> {
    let (&kind, rest) = bytes.split_first()?;
    let (created, rest) = number(rest)?;
    let (version, rest) = number(rest)?;
    let (deadline_ms, rest) = number(rest)?;
    let (key_length, rest) = rest.split_first_chunk::<4>()?;
    let (value_length, rest) = rest.split_first_chunk::<4>()?;
    let (key, rest) = rest.split_at_checked(u32::from_le_bytes(*key_length) as usize)?;
    let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*value_length) as usize)?;
    let key = std::str::from_utf8(key).ok()?;
    let kind = if kind == DELETE { Kind::Delete } else { Kind::Put { created, version, deadline_ms, value } };
    Some((Change { key, kind }, rest))
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut buffer = vec![9; 3];
        let mut writer = Writer::begin(&mut buffer, 7, 5);
        writer.change(Change { key: "/a", kind: Kind::Put { created: 7, version: 1, deadline_ms: 9, value: b"one" } });
        writer.change(Change { key: "/b", kind: Kind::Delete });
        writer.end();
        buffer.split_off(3)
    }

    fn parse(bytes: &[u8]) -> Option<Record<'_>> {
        let header = header(*bytes.first_chunk()?)?;
        Record::parse(header, bytes.get(HEADER..HEADER + header.payload)?)
    }

    #[test]
    fn records_come_back() {
        let bytes = sample();
        let record = parse(&bytes).unwrap();
        assert_eq!((record.revision, record.compacted), (7, 5));
        let changes: Vec<_> = record.changes().collect();
        let put = Kind::Put { created: 7, version: 1, deadline_ms: 9, value: b"one" };
        assert_eq!(changes[0].0, Change { key: "/a", kind: put });
        assert_eq!(&bytes[HEADER + changes[0].1..][..3], b"one");
        assert_eq!(changes[1].0, Change { key: "/b", kind: Kind::Delete });
        assert_eq!(changes.len(), 2);
    }

    #[test]
    fn damage_is_found() {
        let bytes = sample();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(parse(&damaged).is_none(), "byte {at}");
            assert!(parse(&bytes[..at]).is_none(), "cut at {at}");
        }
        assert!(header([0; HEADER]).is_none());
    }
}
