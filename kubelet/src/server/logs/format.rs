//! Lines of CRI container logs: `<RFC 3339 time> <stream> <P|F> <text>`. Pure.

use jiff::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// One line of a log file; `text` has no line end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    pub stamp: &'a str,
    pub stream: Stream,
    /// The container's own line goes on in the next entry.
    pub is_partial: bool,
    pub text: &'a [u8],
}

impl Entry<'_> {
    pub fn time(&self) -> Option<Timestamp> {
        self.stamp.parse().ok()
    }

    /// The text as the container wrote it: with its line end, unless it goes on.
    pub fn with_newline(&self) -> Vec<u8> {
        let mut text = self.text.to_vec();
        if !self.is_partial {
            text.push(b'\n');
        }
        text
    }
}

/// Reads one line, with or without its line end; None for what is no log line.
pub fn parse(line: &[u8]) -> Option<Entry<'_>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let stamp = std::str::from_utf8(parts.next()?).ok().filter(|stamp| !stamp.is_empty())?;
    let stream = match parts.next()? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    let is_partial = parts.next()?.split(|byte| *byte == b':').next() == Some(b"P");
    Some(Entry { stamp, stream, is_partial, text: parts.next().unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_others_refused() {
        let entry = parse(b"2026-01-02T03:04:05.123456789Z stdout F hello world\n").expect("is a line");
        assert_eq!((entry.stream, entry.is_partial, entry.text), (Stream::Stdout, false, &b"hello world"[..]));
        assert_eq!(entry.with_newline(), b"hello world\n");
        assert_eq!(entry.time().map(|time| time.as_second()), Some(1_767_323_045));
        let partial = parse(b"2026-01-02T03:04:05Z stderr P part").expect("is a line");
        assert_eq!(partial.with_newline(), b"part");
        let empty = parse(b"2026-01-02T03:04:05Z stderr F \n").expect("is a line");
        assert_eq!(empty.with_newline(), b"\n");
        assert_eq!(parse(b"nonsense\n"), None);
        assert_eq!(parse(b"2026-01-02T03:04:05Z stdlog F x\n"), None);
    }
}
