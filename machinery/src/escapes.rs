//! Percent-encoding of paths and queries, read and written as Go does; a URL's host and port; and what upstream escapes in
//! words for people.

use std::fmt::Display;

/// The pairs of a query as Go's `url.ParseQuery` has them: one with a semicolon, or with a percent sign that begins no
/// escape, is left out.
pub fn read_form(query: &str) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> + '_ {
    let decode = |text: &str| if text.contains('+') { unescape(&text.replace('+', " ")) } else { unescape(text) };
    query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')).filter_map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decode(key)?, decode(value)?))
    })
}

/// Pairs as Go's `url.Values` writes a query: sorted by key, spaces as `+`.
pub fn write_form<T: AsRef<[u8]> + Ord>(pairs: impl Iterator<Item = (T, T)>) -> String {
    let mut pairs: Vec<(T, T)> = pairs.collect();
    pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
    let escape = |text: &T| escape_but(text.as_ref(), b"-_.~ ").replace(' ', "+");
    let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{}={}", escape(key), escape(value))).collect();
    pairs.join("&")
}

/// A host and a port as a URL has them: an IPv6 address stands in brackets.
pub fn authority(host: &str, port: impl Display) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Words of which a browser could take nothing for a page.
pub fn without_markup(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The bytes that a percent-encoded text stands for; `None` where a percent sign begins no escape.
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let hex = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => (hex(bytes.next())? * 16 + hex(bytes.next())?) as u8,
            byte => byte,
        });
    }
    Some(decoded)
}

/// Whether every percent sign begins an escape.
pub fn is_well_escaped(text: &str) -> bool {
    !text.contains('%') || unescape(text).is_some()
}

/// Percent-encodes what is neither a letter, a digit, nor one of `-_.~`.
pub fn escape(text: &str) -> String {
    escape_but(text.as_bytes(), b"-_.~")
}

/// Percent-encodes a decoded path as Go does where it passes one on: a slash that came encoded is one like any other.
pub fn escape_path(path: &[u8]) -> String {
    escape_but(path, b"-_.~$&+,/:;=@")
}

fn escape_but(text: &[u8], plain: &[u8]) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || plain.contains(&byte);
    text.iter()
        .map(|byte| if is_plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_and_bad_escapes_are_seen() {
        assert_eq!(unescape("a%2Fb%ff+%C3%BC").as_deref(), Some(b"a/b\xff+\xc3\xbc".as_slice()));
        for text in ["%", "a%2", "%zz", "2%4", "%2%41", "%%41", "a%+1"] {
            assert_eq!(unescape(text), None, "{text}");
        }
    }

    #[test]
    fn paths_are_escaped() {
        assert_eq!(escape_path("/n/a:80/proxy/x y/ü?%".as_bytes()), "/n/a:80/proxy/x%20y/%C3%BC%3F%25");
        assert_eq!(escape_path(b"/a\xff"), "/a%FF");
    }
}
