//! Puts `metadata.resourceVersion` into an object's JSON text without decoding it.
//!
//! Stored objects do not carry their resourceVersion: it is the revision of the write that stores them, which is not
//! known before. The text is trusted to be valid JSON (the indexer has read it); on text that is not, this fails or gives
//! text that is as broken as before, and never panics.

use bytes::Bytes;
use memchr::{memchr2, memmem};

use crate::store::Revision;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an object with metadata")]
pub struct Malformed;

/// The same object with its resourceVersion set to `revision`, replacing one that is there, and a newline at its end.
pub fn resource_version(body: &[u8], revision: Revision) -> Result<Bytes, Malformed> {
    let metadata = member(body, 0, b"\"metadata\"").ok_or(Malformed)?;
    if body.get(metadata) != Some(&b'{') {
        return Err(Malformed);
    }
    const NAME: &[u8] = b"\"resourceVersion\"";
    // Mostly it stands nowhere, which is seen at a glance.
    let stands = memmem::find(&body[metadata..], NAME).and_then(|_| member(body, metadata, NAME));
    if let Some(start) = stands {
        let end = skip_value(body, start).ok_or(Malformed)?;
        return Ok(join([&body[..start], format!("\"{revision}\"").as_bytes(), &body[end..]]));
    }
    let first = skip_space(body, metadata + 1);
    let comma = if body.get(first) == Some(&b'}') { "" } else { "," };
    let text = format!("\"resourceVersion\":\"{revision}\"{comma}");
    Ok(join([&body[..metadata + 1], text.as_bytes(), &body[metadata + 1..]]))
}

fn join([before, version, after]: [&[u8]; 3]) -> Bytes {
    let parts = [before, version, after.trim_ascii_end(), b"\n"];
    let mut joined = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        joined.extend_from_slice(part);
    }
    joined.into()
}

/// Where the value of member `name` (with its quotes) of the object at `at` begins.
fn member(text: &[u8], at: usize, name: &[u8]) -> Option<usize> {
    let mut at = skip_space(text, at);
    if text.get(at) != Some(&b'{') {
        return None;
    }
    loop {
        let key = skip_space(text, at + 1);
        if text.get(key) != Some(&b'"') {
            return None;
        }
        let key_end = skip_string(text, key)?;
        let colon = skip_space(text, key_end);
        if text.get(colon) != Some(&b':') {
            return None;
        }
        let value = skip_space(text, colon + 1);
        if &text[key..key_end] == name {
            return Some(value);
        }
        at = skip_space(text, skip_value(text, value)?);
        if text.get(at) != Some(&b',') {
            return None;
        }
    }
}

fn skip_space(text: &[u8], mut at: usize) -> usize {
    while matches!(text.get(at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
        at += 1;
    }
    at
}

/// The place after the string that begins at `at`.
fn skip_string(text: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// The place after the value that begins at `at`.
fn skip_value(text: &[u8], at: usize) -> Option<usize> {
    match text.get(at)? {
        b'"' => skip_string(text, at),
        b'{' | b'[' => skip_nested(text, at),
        _ => Some(at + text[at..].iter().take_while(|byte| !b",}] \t\r\n".contains(byte)).count()),
    }
}

fn skip_nested(text: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0usize;
    loop {
        match text.get(at)? {
            b'"' => {
                at = skip_string(text, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_the_resource_version() {
        for (body, want) in [
            (r#"{"metadata":{}}"#, r#"{"metadata":{"resourceVersion":"7"}}"#),
            (r#"{"metadata":{"name":"a"}}"#, r#"{"metadata":{"resourceVersion":"7","name":"a"}}"#),
            (r#"{ "metadata" : { } }"#, r#"{ "metadata" : {"resourceVersion":"7" } }"#),
            (
                r#"{"a":{"metadata":{}},"b":[1,"}"],"c":"\"","d":-1e5,"metadata":{"x":1}}"#,
                r#"{"a":{"metadata":{}},"b":[1,"}"],"c":"\"","d":-1e5,"metadata":{"resourceVersion":"7","x":1}}"#,
            ),
            (
                r#"{"metadata":{"labels":{"resourceVersion":"1"},"resourceVersion":"","uid":"u"}}"#,
                r#"{"metadata":{"labels":{"resourceVersion":"1"},"resourceVersion":"7","uid":"u"}}"#,
            ),
            (r#"{"metadata":{"resourceVersion":null}}"#, r#"{"metadata":{"resourceVersion":"7"}}"#),
        ] {
            let got = resource_version(body.as_bytes(), Revision(7)).map(|body| body.to_vec());
            assert_eq!(got.as_deref(), Ok(format!("{want}\n").as_bytes()), "{body}");
            // Once, however often it is set.
            assert_eq!(resource_version(&got.unwrap(), Revision(7)).unwrap(), format!("{want}\n"));
        }
    }

    #[test]
    fn refuses_what_has_no_metadata() {
        for body in
            ["", "{}", "[]", "null", r#"{"metadata":null}"#, r#"{"metadata""#, r#"{"a":"metadata"}"#, r#"{"a":{"#]
        {
            assert_eq!(resource_version(body.as_bytes(), Revision(7)), Err(Malformed), "{body}");
        }
    }

    #[test]
    fn survives_every_cut() {
        let body = br#"{"kind":"Pod","metadata":{"name":"a\"b","labels":{"x":"y"}},"spec":[{}]}"#;
        for end in 0..body.len() {
            let _ = resource_version(&body[..end], Revision(1));
        }
    }
}
