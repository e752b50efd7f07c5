//! Links of pages that are passed on: those to the page's own server lead through the proxy as well.
//!
//! Enter at [`answer`]. Which link is meant is [`super::rewrite`]'s to say. A page stays as it is but for the links: no
//! scripts and no style sheets are looked into.

use std::io::{Read, Write};

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::read::{DeflateDecoder, GzDecoder};
use flate2::write::{DeflateEncoder, GzEncoder};
use futures::StreamExt;
use html5gum::Tokenizer;
use html5gum::emitters::callback::{CallbackEmitter, CallbackEvent};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt, BodyStream, StreamBody};
use hyper::body::Frame;

use crate::http_body::{Body, BoxError, Response, full};

/// Of a page, in bytes, before and after its compression is undone. A larger one is passed on as it is: no backend
/// decides how much memory this server takes.
const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Attributes that hold a link, by element (HTML 4.01, index of attributes, and HTML 5's).
const LINKS: [(&str, &[&str]); 25] = [
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];

/// The answer with its links changed where it is a page, and as it is otherwise. `change`: the link instead, or `None`.
///
/// # Errors
/// When the backend breaks off in the middle of a page.
pub async fn answer(response: Response, change: impl Fn(&str) -> Option<String>) -> Result<Response, BoxError> {
    let Some(coding) = Coding::of_page(response.headers()) else { return Ok(response) };
    let (mut parts, mut body) = response.into_parts();
    let mut page = BytesMut::new();
    while page.len() <= PAGE_BYTES_MAX {
        let Some(frame) = body.frame().await.transpose()? else {
            let changed = coding.undo(&page).and_then(|plain| coding.apply(&rewritten(&plain, change)));
            let page = changed.map_or_else(|| page.freeze(), Bytes::from);
            parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(page.len()));
            return Ok(Response::from_parts(parts, full(page)));
        };
        page.extend_from_slice(&frame.into_data().unwrap_or_default());
    }
    Ok(Response::from_parts(parts, preceded(page.freeze(), body)))
}

fn preceded(begin: Bytes, rest: Body) -> Body {
    let begin = futures::stream::once(async { Ok(Frame::data(begin)) });
    StreamBody::new(begin.chain(BodyStream::new(rest))).boxed_unsync()
}

/// How a page is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Plain,
    Gzip,
    Deflate,
}

impl Coding {
    /// `None`: it is no page, leads elsewhere, or is packed in a way that is not known here.
    fn of_page(headers: &HeaderMap) -> Option<Self> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = text(CONTENT_TYPE).split(';').next().unwrap_or_default().trim();
        if media_type != "text/html" || headers.contains_key(LOCATION) {
            return None;
        }
        match text(CONTENT_ENCODING) {
            "" => Some(Self::Plain),
            "gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            _ => None,
        }
    }

    /// `None`: it is not what it is said to be, or too large.
    fn undo(self, packed: &[u8]) -> Option<Vec<u8>> {
        let mut plain = Vec::new();
        let limit = PAGE_BYTES_MAX as u64 + 1;
        match self {
            Self::Plain => plain.extend_from_slice(packed),
            Self::Gzip => drop(GzDecoder::new(packed).take(limit).read_to_end(&mut plain).ok()?),
            Self::Deflate => drop(DeflateDecoder::new(packed).take(limit).read_to_end(&mut plain).ok()?),
        }
        (plain.len() <= PAGE_BYTES_MAX).then_some(plain)
    }

    fn apply(self, plain: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Plain => Some(plain.to_vec()),
            Self::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(plain).ok().and_then(|()| encoder.finish().ok())
            }
            Self::Deflate => {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(plain).ok().and_then(|()| encoder.finish().ok())
            }
        }
    }
}

/// A link's place in the page, and what is written there instead.
struct Change {
    start: usize,
    end: usize,
    link: String,
}

fn rewritten(page: &[u8], change: impl Fn(&str) -> Option<String>) -> Vec<u8> {
    let mut text = Vec::with_capacity(page.len() + 1024);
    let mut done = 0;
    for Change { start, end, link } in changes(page, change) {
        let is_quoted = matches!(page.get(start.wrapping_sub(1)), Some(b'"' | b'\''));
        let quote: &[u8] = if is_quoted { b"" } else { b"\"" };
        text.extend([&page[done..start], quote, escaped(&link).as_bytes(), quote].concat());
        done = end;
    }
    text.extend_from_slice(&page[done..]);
    text
}

fn changes(page: &[u8], change: impl Fn(&str) -> Option<String>) -> Vec<Change> {
    let mut fields: &[&str] = &[];
    let mut is_link = false;
    let callback = |event: CallbackEvent<'_>, span: html5gum::Span<usize>| match event {
        CallbackEvent::OpenStartTag { name } => {
            fields = LINKS.iter().find(|(tag, _)| tag.as_bytes() == name).map_or(&[], |(_, fields)| fields);
            None
        }
        CallbackEvent::AttributeName { name } => {
            is_link = fields.iter().any(|field| field.as_bytes() == name);
            None
        }
        CallbackEvent::AttributeValue { value } if is_link => {
            let link = change(std::str::from_utf8(value).ok()?)?;
            Some(Change { start: span.start, end: span.end, link })
        }
        _ => None,
    };
    let mut emitter = CallbackEmitter::new(callback);
    emitter.naively_switch_states(true);
    Tokenizer::new_with_emitter(page, emitter)
        .map(|found| {
            let Ok(change) = found;
            change
        })
        .collect()
}

fn escaped(link: &str) -> String {
    let escape = |character: char| match character {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&#34;".to_owned(),
        '\'' => "&#39;".to_owned(),
        other => other.to_string(),
    };
    link.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below(link: &str) -> Option<String> {
        link.strip_prefix('/').map(|rest| format!("/proxy/{rest}"))
    }

    #[test]
    fn links_are_changed_and_nothing_else() {
        let table = [
            (r#"<a href="k.log">k</a><a href="/g.log">g</a>"#, r#"<a href="k.log">k</a><a href="/proxy/g.log">g</a>"#),
            ("<IMG alt='/x' SRC=/x.png >", "<IMG alt='/x' SRC=\"/proxy/x.png\" >"),
            (
                "<script src='/a.js'>if (a < b) '<a href=\"/x\">'</script>",
                "<script src='/proxy/a.js'>if (a < b) '<a href=\"/x\">'</script>",
            ),
            ("<!-- <a href=\"/x\"> --><p href=\"/x\">", "<!-- <a href=\"/x\"> --><p href=\"/x\">"),
            ("<a href=\"/?a=1&amp;b='\">ü</a>", "<a href=\"/proxy/?a=1&amp;b=&#39;\">ü</a>"),
            ("<a href=\"/open", "<a href=\"/open"),
        ];
        for (page, expected) in table {
            assert_eq!(String::from_utf8_lossy(&rewritten(page.as_bytes(), below)), expected, "{page}");
        }
    }

    fn page(coding: &'static str, body: Vec<u8>) -> Response {
        let mut response = Response::new(full(body));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        if !coding.is_empty() {
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
        }
        response
    }

    async fn passed(response: Response) -> Vec<u8> {
        let response = answer(response, below).await.unwrap();
        response.into_body().collect().await.unwrap().to_bytes().to_vec()
    }

    #[tokio::test]
    async fn packed_pages_stay_packed_and_large_ones_whole() {
        let (plain, changed) = (b"<a href='/x'>".to_vec(), b"<a href='/proxy/x'>".to_vec());
        for (name, coding) in [("", Coding::Plain), ("gzip", Coding::Gzip), ("deflate", Coding::Deflate)] {
            let packed = passed(page(name, coding.apply(&plain).unwrap())).await;
            assert_eq!(coding.undo(&packed).as_ref(), Some(&changed), "{name}");
        }
        assert_eq!(passed(page("br", plain.clone())).await, plain);
        assert_eq!(passed(page("gzip", plain.clone())).await, plain);
        let large = [plain, vec![b' '; PAGE_BYTES_MAX]].concat();
        assert_eq!(passed(page("", large.clone())).await, large);
    }
}
