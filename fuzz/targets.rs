//! What is fuzzed, and what must hold of any input: no panic, and what was read is written and read again the same.
//!
//! Each target takes raw bytes. `fuzz_targets/` hands them to libFuzzer (`cargo +nightly fuzz run NAME`), and the tests of
//! the API server drive them on any toolchain, from the same corpus.

use apiserver::request::{Query, RequestInfo};
use http::Method;
use machinery::apply::{self, FieldSet};
use machinery::channel::Protocol;
use machinery::gvk::Gvk;
use machinery::quantity::Quantity;
use machinery::schema::{self, Schema};
use machinery::selector::{FieldSelector, Selector};
use machinery::{patch, spdy, wire};
use serde_json::Value;

/// A target: its name, which is its corpus's folder, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

pub const ALL: [Target; 13] = [
    ("apply", server_side_apply),
    ("channel", channel),
    ("field_selector", field_selector),
    ("field_set", field_set),
    ("json_object", json_object),
    ("json_patch", json_patch),
    ("label_selector", label_selector),
    ("merge_patch", merge_patch),
    ("path", path),
    ("protobuf", protobuf),
    ("quantity", quantity),
    ("spdy", spdy_frames),
    ("strategic_patch", strategic_patch),
];

fn pod() -> &'static Schema {
    schema::builtin(&Gvk::new("", "v1", "Pod")).expect("a built-in kind")
}

/// A document a line.
fn documents<const N: usize>(data: &[u8]) -> Option<[&[u8]; N]> {
    let mut lines = data.splitn(N, |byte| *byte == b'\n');
    let documents: Vec<&[u8]> = lines.by_ref().collect();
    documents.try_into().ok()
}

fn value(data: &[u8]) -> Option<Value> {
    serde_json::from_slice(data).ok()
}

pub fn path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let query = Query::parse(query);
    for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS] {
        let info = RequestInfo::parse(&method, path, &query);
        for part in [&info.group, &info.version, &info.namespace, &info.resource, &info.subresource] {
            assert!(!part.contains('/'), "{info:?}");
        }
        // More slashes at the ends do not change who is asked.
        let padded = RequestInfo::parse(&method, &format!("//{path}//"), &query);
        let (path, path_bytes) = (info.path.clone(), info.path_bytes.clone());
        assert_eq!(RequestInfo { path, path_bytes, ..padded }, info);
        assert_eq!(String::from_utf8_lossy(info.raw_path()), info.path);
    }
}

pub fn label_selector(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(selector) = Selector::parse(text) else { return };
    let written = selector.to_string();
    let again = Selector::parse(&written).unwrap_or_else(|error| panic!("{text:?} as {written:?}: {error}"));
    assert_eq!(again.to_string(), written, "{text:?}");
    for labels in [serde_json::json!({}), serde_json::json!({"a": "b", "n": "5", "": ""})] {
        assert_eq!(selector.matches_value(Some(&labels)), again.matches_value(Some(&labels)), "{text:?} {labels}");
    }
}

pub fn field_selector(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(selector) = FieldSelector::parse(text) else { return };
    let written = selector.to_string();
    let again = FieldSelector::parse(&written).unwrap_or_else(|error| panic!("{text:?} as {written:?}: {error}"));
    let mut terms = [selector.terms().to_vec(), again.terms().to_vec()];
    terms
        .iter_mut()
        .for_each(|terms| terms.sort_by(|a, b| (&a.field, &a.value, a.equal).cmp(&(&b.field, &b.value, b.equal))));
    assert_eq!(terms[0], terms[1], "{text:?}");
}

pub fn quantity(data: &[u8]) {
    let Some([first, second]) = documents(data) else { return };
    let parse = |bytes| Quantity::parse(std::str::from_utf8(bytes).ok()?).ok();
    let (Some(first), Some(second)) = (parse(first), parse(second)) else { return };
    for quantity in [&first, &second] {
        let written = quantity.to_string();
        let again = Quantity::parse(&written).unwrap_or_else(|error| panic!("{quantity:?} as {written:?}: {error}"));
        assert_eq!(&again, quantity, "{written}");
        assert_eq!(again.to_string(), written);
        let _ = (quantity.value(), quantity.milli_value(), quantity.scaled_value(-9), quantity.scaled_value(3));
    }
    let mut sum = first.clone();
    sum.add(&second);
    assert!(sum >= first || second.sign() < 0, "{first} + {second} = {sum}");
    sum.sub(&second);
    sum.multiply(i64::MAX);
    sum.round_up(0);
    let _ = (sum.to_string(), sum.negated().to_string());
}

pub fn json_patch(data: &[u8]) {
    let Some([object, patch]) = documents(data) else { return };
    let Some(mut object) = value(object) else { return };
    let _ = patch::json(&mut object, patch);
}

pub fn merge_patch(data: &[u8]) {
    let Some([object, patch]) = documents(data) else { return };
    let (Some(mut object), Some(patch)) = (value(object), value(patch)) else { return };
    if patch::merge(&mut object, &patch).is_ok() {
        let once = object.clone();
        patch::merge(&mut object, &patch).expect("it was a patch before");
        assert_eq!(object, once, "a merge patch says what shall be, not what to do");
    }
}

pub fn strategic_patch(data: &[u8]) {
    let Some([object, patch]) = documents(data) else { return };
    let (Some(mut object), Some(patch)) = (value(object), value(patch)) else { return };
    let _ = patch::strategic(pod(), &mut object, patch);
}

/// A decoded object is in normal form, and stays as it is in JSON and in protobuf.
fn survives(decoded: &Value) {
    let bytes = wire::encode(pod(), decoded);
    let again = wire::decode(pod(), &bytes).unwrap_or_else(|error| panic!("{decoded}: {error}"));
    assert_eq!(wire::encode(pod(), &again), bytes, "{decoded} and {again}");
}

pub fn json_object(data: &[u8]) {
    let _ = schema::type_meta_json(data);
    let _ = schema::type_meta_yaml(data);
    let _ = schema::decode_yaml(pod(), data);
    if let Ok(decoded) = schema::decode_json(pod(), data) {
        survives(&decoded.object);
    }
}

pub fn protobuf(data: &[u8]) {
    let _ = wire::open(data);
    let _ = wire::decode_message(pod(), data);
    if let Ok(decoded) = wire::decode(pod(), data) {
        survives(&decoded);
    }
}

pub fn field_set(data: &[u8]) {
    let Some(fields) = value(data).and_then(|fields| FieldSet::from_fields_v1(&fields)) else { return };
    let written = fields.clone().into_fields_v1();
    let again = FieldSet::from_fields_v1(&written).unwrap_or_else(|| panic!("{written} is read again"));
    assert_eq!(again.into_fields_v1(), written);
    let mut nothing = fields.clone();
    nothing.subtract(&fields);
    assert!(nothing.is_empty(), "{written} without itself");
    assert_eq!(fields.intersection(&fields).into_fields_v1(), written);
}

/// Whether something in it is null: that names a place without what is in it, and owns it the next time; upstream does the same.
fn has_null(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(fields) => fields.values().any(has_null),
        value => value.is_null(),
    }
}

/// What is applied twice is as it was applied once.
pub fn server_side_apply(data: &[u8]) {
    let Some([live, config]) = documents(data) else { return };
    let (Some(mut live), Some(config)) = (value(live), value(config)) else { return };
    if !live.is_object() || !config.is_object() {
        return;
    }
    schema::normalize(pod(), &mut live);
    let request = apply::Request {
        schema: pod(),
        api_version: "v1",
        other: None,
        subresource: "",
        manager: "fuzz",
        now: "2020-01-01T00:00:00Z",
        ignored: &FieldSet::default(),
        reset: false,
    };
    let Ok(mut once) = apply::apply(&request, &live, &config, true) else { return };
    schema::normalize(pod(), &mut once);
    let mut twice = apply::apply(&request, &once, &config, false).unwrap_or_else(|error| panic!("{live}: {error}"));
    schema::normalize(pod(), &mut twice);
    assert!(twice == once || has_null(&config), "{twice} is not {once}, from {live}");
}

pub fn spdy_frames(data: &[u8]) {
    let mut whole = spdy::Decoder::default();
    whole.push(data);
    let mut frames = Vec::new();
    while let Ok(Some(frame)) = whole.next_frame() {
        frames.push(frame);
    }
    // The same bytes, as they may come.
    let (mut pieces, mut seen) = (spdy::Decoder::default(), Vec::new());
    'all: for piece in data.chunks(7) {
        pieces.push(piece);
        loop {
            match pieces.next_frame() {
                Ok(Some(frame)) => seen.push(frame),
                Ok(None) => break,
                Err(_) => break 'all,
            }
        }
    }
    assert_eq!(seen, frames);
    let mut encoder = spdy::Encoder::default();
    let mut bytes = Vec::new();
    if frames.iter().all(|frame| encoder.encode(frame, &mut bytes).is_ok()) {
        let mut decoder = spdy::Decoder::default();
        decoder.push(&bytes);
        for frame in frames {
            assert_eq!(decoder.next_frame(), Ok(Some(frame)));
        }
    }
}

pub fn channel(data: &[u8]) {
    let Some([name, message]) = documents(data) else { return };
    let protocol = std::str::from_utf8(name).ok().and_then(Protocol::of);
    let Some(protocol) = protocol else { return };
    let _ = protocol.decode(message);
}
