//! JSON as Go writes it: `<`, `>`, `&` and Unicode's two line ends stand as escapes in strings, as upstream's answers have
//! them. In JSON they can stand in strings only, so a text can be changed after it was written.

use memchr::{memchr, memchr3};

/// The text with its escapes.
pub fn text(text: Vec<u8>) -> Vec<u8> {
    escaped(&text).unwrap_or(text)
}

/// The text with its escapes; `None` if it needs none, which is seen at a glance.
pub fn escaped(text: &[u8]) -> Option<Vec<u8>> {
    let mut at = next(text)?;
    let (mut rest, mut done) = (text, Vec::with_capacity(text.len() + 64));
    loop {
        let (escape, length) = escape_at(&rest[at..]);
        done.extend_from_slice(&rest[..at]);
        done.extend_from_slice(escape);
        rest = &rest[at + length..];
        let Some(place) = next(rest) else { break };
        at = place;
    }
    done.extend_from_slice(rest);
    Some(done)
}

/// Where the next one to escape stands.
fn next(text: &[u8]) -> Option<usize> {
    let mark = memchr3(b'<', b'>', b'&', text);
    let text = &text[..mark.unwrap_or(text.len())];
    let mut from = 0;
    while let Some(at) = memchr(LINE_END[0], &text[from..]).map(|at| from + at) {
        if text[at..].starts_with(LINE_END) && matches!(text.get(at + 2), Some(0xa8 | 0xa9)) {
            return Some(at);
        }
        from = at + 1;
    }
    mark
}

/// How U+2028 and U+2029 begin in UTF-8.
const LINE_END: &[u8] = b"\xe2\x80";

/// What stands for the character that the text begins with, and its length.
fn escape_at(text: &[u8]) -> (&'static [u8], usize) {
    match text {
        [b'<', ..] => (b"\\u003c", 1),
        [b'>', ..] => (b"\\u003e", 1),
        [b'&', ..] => (b"\\u0026", 1),
        [_, _, 0xa8, ..] => (b"\\u2028", 3),
        _ => (b"\\u2029", 3),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_go_escapes_is_escaped_and_means_the_same() {
        for (plain, want) in [
            ("a<b>&&c", Some(r#""a\u003cb\u003e\u0026\u0026c""#)),
            ("<", Some(r#""\u003c""#)),
            ("\u{2027}\u{2028}\u{2029}\u{202a}", Some("\"\u{2027}\\u2028\\u2029\u{202a}\"")),
            ("\u{2028}<", Some(r#""\u2028\u003c""#)),
            ("<\u{2028}", Some(r#""\u003c\u2028""#)),
            ("\\u003c \"é\" \u{2027} \u{20ac} \u{7f}", None),
            ("", None),
        ] {
            let value = json!(plain);
            let written = serde_json::to_vec(&value).unwrap();
            let escaped = escaped(&written);
            assert_eq!(escaped.as_deref(), want.map(str::as_bytes), "{plain:?}");
            assert_eq!(serde_json::from_slice::<Value>(&text(written)).unwrap(), value);
        }
    }

    #[test]
    fn texts_that_end_early_are_no_hazard() {
        let text = "a\u{2028}<".as_bytes();
        for end in 0..text.len() {
            let _ = escaped(&text[..end]);
        }
    }
}
