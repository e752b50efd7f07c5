//! The path of an HTTP probe or hook as it goes onto the wire: escaped where users wrote it plainly, as Go's `net/url`
//! does. Pure.

use machinery::escapes::{escape_path, unescape};

/// What follows the host: with a leading slash, without a fragment.
pub(super) fn escaped(text: &str) -> String {
    let whole = |text: &str| with_slash(escape_path(text.as_bytes()));
    let (front, fragment) = text.split_once('#').unwrap_or((text, ""));
    let is_url = !text.bytes().any(|byte| byte < b' ' || byte == 0x7f);
    let (path, query) = front.split_once('?').map_or((front, None), |(path, query)| (path, Some(query)));
    // Upstream takes a text that is no URL for a path, with its marks.
    let (true, Some(plain), Some(_)) = (is_url, unescape(path), unescape(fragment)) else { return whole(text) };
    let path =
        if path.bytes().all(|byte| byte == b'%' || is_fine(byte)) { path.to_owned() } else { escape_path(&plain) };
    match query {
        Some(query) => format!("{}?{}", with_slash(path), query.replace(' ', "%20")),
        None => with_slash(path),
    }
}

fn with_slash(path: String) -> String {
    if path.starts_with('/') { path } else { format!("/{path}") }
}

/// Needs no escape, and none is made when all of a path are such.
fn is_fine(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@!'()*[]".contains(&byte)
}

#[test]
fn paths_are_escaped_as_gos() {
    for (given, wanted) in [
        ("/healthz", "/healthz"),
        ("healthz", "/healthz"),
        ("", "/"),
        ("/a b", "/a%20b"),
        ("/grüße", "/gr%C3%BC%C3%9Fe"),
        ("/a%20b", "/a%20b"),
        ("/a%20b c", "/a%20b%20c"),
        ("/a%2Fb", "/a%2Fb"),
        ("/100%", "/100%25"),
        ("/100%?x=1", "/100%25%3Fx=1"),
        ("/(a)?x=1&y=%zz", "/(a)?x=1&y=%zz"),
        ("/(a) b", "/%28a%29%20b"),
        ("/a?b c", "/a?b%20c"),
        ("/a#b", "/a"),
        ("/a\n", "/a%0A"),
    ] {
        assert_eq!(escaped(given), wanted, "{given:?}");
    }
}
