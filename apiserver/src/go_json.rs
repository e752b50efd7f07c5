//! JSON as Go writes it: `<`, `>`, `&` and Unicode's two line ends stand as escapes in strings, as upstream's answers have
//! them. In JSON they can stand in strings only, so a text can be changed after it was written.

use memchr::{memchr_iter, memchr3};

/// The text with its escapes.
pub fn text(text: Vec<u8>) -> Vec<u8> {
    escaped(&text).unwrap_or(text)
}

/// The text with its escapes; `None` if it needs none, which is seen at a glance.
pub fn escaped(text: &[u8]) -> Option<Vec<u8>> {
    let (plain, mut rest) = text.split_at(first(text)?);
    let mut done = Vec::with_capacity(text.len() + 64);
    done.extend_from_slice(plain);
    // One look at each byte: a text may be of nothing else.
    while let Some((byte, after)) = rest.split_first() {
        match escape(rest) {
            Some((escape, length)) => {
                done.extend_from_slice(escape.as_bytes());
                rest = &rest[length..];
            }
            None => {
                done.push(*byte);
                rest = after;
            }
        }
    }
    Some(done)
}

/// Where the first one to escape stands.
fn first(text: &[u8]) -> Option<usize> {
    let mark = memchr3(b'<', b'>', b'&', text);
    let before = &text[..mark.unwrap_or(text.len())];
    let line_end = memchr_iter(0xe2, before).find(|at| escape(&text[*at..]).is_some());
    line_end.or(mark)
}

/// What stands for the character that the text begins with, and its length in bytes.
fn escape(text: &[u8]) -> Option<(&'static str, usize)> {
    match text {
        [b'<', ..] => Some(("\\u003c", 1)),
        [b'>', ..] => Some(("\\u003e", 1)),
        [b'&', ..] => Some(("\\u0026", 1)),
        [0xe2, 0x80, 0xa8, ..] => Some(("\\u2028", 3)),
        [0xe2, 0x80, 0xa9, ..] => Some(("\\u2029", 3)),
        _ => None,
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
