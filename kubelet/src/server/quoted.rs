//! A label's value as Prometheus' text format has it.

use std::fmt::{self, Display, Formatter, Write as _};

/// In quotes. Only backslash, quote and the end of a line are escaped; readers take no other escape.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for piece in self.0.split_inclusive(['\\', '"', '\n']) {
            match piece.strip_suffix('\n') {
                Some(line) => write!(f, "{line}\\n")?,
                None => match piece.strip_suffix(['\\', '"']) {
                    Some(start) => write!(f, "{start}\\{}", &piece[start.len()..])?,
                    None => f.write_str(piece)?,
                },
            }
        }
        f.write_char('"')
    }
}

#[test]
fn only_three_characters_are_escaped() {
    let quoted = Quoted("a\\b\"c\nd\te\u{e9}'\u{7f}").to_string();
    assert_eq!(quoted, "\"a\\\\b\\\"c\\nd\te\u{e9}'\u{7f}\"");
    assert_eq!(Quoted("").to_string(), "\"\"");
}
