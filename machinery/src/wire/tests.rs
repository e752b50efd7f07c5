//! Objects in protobuf and back.

use serde_json::json;

use super::{WireError, decode, encode, encode_list, encode_message, frame, open, watch_event};
use crate::gvk::Gvk;
use crate::schema::{builtin, normalize};

#[test]
fn a_pod_survives_the_way_there_and_back() {
    let schema = builtin(&Gvk::new("", "v1", "Pod")).unwrap();
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "creationTimestamp": "2026-01-02T03:04:05Z", "labels": {"a": ""}},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "100m"}},
            "livenessProbe": {"httpGet": {"port": "web"}}, "ports": [{"containerPort": 80}]}],
            "volumes": [{"name": "v", "emptyDir": {}}], "terminationGracePeriodSeconds": 0},
    });
    normalize(schema, &mut pod);
    assert_eq!(decode(schema, &encode(schema, &pod)).unwrap(), pod);
}

#[test]
fn damage_is_told_not_panicked_at() {
    let schema = builtin(&Gvk::new("", "v1", "ConfigMap")).unwrap();
    let body = encode(
        schema,
        &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"k": "v"}}),
    );
    for length in 0..body.len() {
        let _ = decode(schema, &body[..length]);
    }
    for at in 0..body.len() {
        let mut broken = body.clone();
        broken[at] ^= 0xff;
        let _ = decode(schema, &broken);
    }
    assert_eq!(decode(schema, b"{}"), Err(WireError::Magic));
    assert_eq!(decode(schema, &body[..body.len() - 6]), Err(WireError::Truncated));
}

#[test]
fn a_list_of_encoded_items_is_the_list_encoded_whole() {
    let list = builtin(&Gvk::new("", "v1", "ConfigMapList")).unwrap();
    let item = builtin(&Gvk::new("", "v1", "ConfigMap")).unwrap();
    let items = [json!({"metadata": {"name": "a"}}), json!({"metadata": {"name": "b"}, "data": {"k": "v"}})];
    let meta = json!({"resourceVersion": "7"});
    let whole = json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": meta, "items": items});
    let parts: Vec<Vec<u8>> = items
        .iter()
        .map(|object| {
            let mut raw = Vec::new();
            encode_message(item, object, &mut raw);
            raw
        })
        .collect();
    assert_eq!(encode(list, &whole), encode_list("v1", "ConfigMapList", &meta, parts.iter().map(Vec::as_slice)));
    assert_eq!(open(&encode(list, &whole)).unwrap().type_meta.kind, "ConfigMapList");
}

#[test]
fn a_watch_event_is_framed_by_its_length() {
    let event = watch_event("ADDED", b"k8s\0");
    assert_eq!(event, b"\x0a\x05ADDED\x12\x06\x0a\x04k8s\0");
    assert_eq!(frame(&event)[..4], [0, 0, 0, 15]);
}

#[test]
fn what_is_raw_is_written_as_go_writes_it() {
    let schema = builtin(&Gvk::new("apps", "v1", "ControllerRevision")).unwrap();
    let revision = json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": "x"},
        "data": {"b": "<a> & \u{2028}", "a": 1}, "revision": 1});
    let body = encode(schema, &revision);
    let expected = br#"{"a":1,"b":"\u003ca\u003e \u0026 \u2028"}"#;
    assert!(body.windows(expected.len()).any(|bytes| bytes == expected), "{}", String::from_utf8_lossy(&body));
    assert_eq!(decode(schema, &body).unwrap()["data"], revision["data"]);
}
