//! Schemas: decoding, unknown and duplicate fields, defaults, pruning.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    DecodeError, Schema, builtin, decode_json, decode_yaml, default_static, kinds, message, normalize, type_meta_json,
};
use crate::gvk::Gvk;

fn schema(group: &str, kind: &str) -> &'static Schema {
    builtin(&Gvk::new(group, "v1", kind)).expect("a built-in kind")
}

#[test]
fn the_whole_table_is_sound() {
    let mut names = BTreeSet::new();
    for schema in super::published() {
        assert!(names.insert(schema.name.clone()), "{} stands twice", schema.name);
        for field in &schema.fields {
            let keys = field.list_keys();
            let element = field.ty.message();
            assert!(
                keys.iter().all(|key| element.is_some_and(|element| element.field(key).is_some())),
                "{}.{}: list keys",
                schema.name,
                field.name
            );
            if let Some(key) = &field.patch.merge_key {
                assert!(element.is_some_and(|element| element.field(key).is_some()), "{}.{}", schema.name, field.name);
            }
        }
        let numbers: BTreeSet<u32> = schema.wire().iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers.len(), schema.wire().len(), "{}: a protobuf number stands twice", schema.name);
    }
    assert!(names.len() > 500);
    assert!(kinds().iter().all(|gvk| builtin(gvk).is_some()));
    assert!(builtin(&Gvk::new("apps", "v1", "DeleteOptions")).is_some(), "options exist in every group");
    assert!(builtin(&Gvk::new("", "v1", "PodSpec")).is_none(), "a part is no kind");
    assert!(message("io.k8s.api.core.v1.PodSpec").is_some());
}

/// What the decoder says of a Pod whose spec is the JSON text.
fn refusal(spec: &str) -> String {
    let body = format!(r#"{{"apiVersion":"v1","kind":"Pod","spec":{spec}}}"#);
    decode_json(schema("", "Pod"), body.as_bytes()).expect_err(spec).to_string()
}

#[test]
fn wrong_types_are_told_in_gos_words() {
    let cases = [
        (r#""a""#, "json: cannot unmarshal string into Go struct field Pod.spec of type v1.PodSpec"),
        (
            r#"{"containers":"a"}"#,
            "json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            r#"{"containers":[7]}"#,
            "json: cannot unmarshal number into Go struct field PodSpec.spec.containers of type v1.Container",
        ),
        (
            r#"{"containers":[{"image":{}}]}"#,
            "json: cannot unmarshal object into Go struct field Container.spec.containers.image of type string",
        ),
        (
            r#"{"containers":[{"imagePullPolicy":true}]}"#,
            "json: cannot unmarshal bool into Go struct field Container.spec.containers.imagePullPolicy of type v1.PullPolicy",
        ),
        (
            r#"{"containers":[{"ports":[{"containerPort":1099511627776}]}]}"#,
            "json: cannot unmarshal number 1099511627776 into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32",
        ),
        (
            r#"{"volumes":[{"name":"v","hostPath":"x"}]}"#,
            "json: cannot unmarshal string into Go struct field Volume.spec.volumes.VolumeSource.hostPath of type v1.HostPathVolumeSource",
        ),
        (
            r#"{"nodeSelector":{"a":1}}"#,
            "json: cannot unmarshal number into Go struct field PodSpec.spec.nodeSelector of type string",
        ),
        (
            r#"{"containers":[{"resources":{"limits":{"cpu":"x"}}}]}"#,
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            r#"{"containers":[{"livenessProbe":{"httpGet":{"port":true}}}]}"#,
            "json: cannot unmarshal bool into Go struct field HTTPGetAction.spec.containers.livenessProbe.ProbeHandler.httpGet.port of type int32",
        ),
    ];
    for (spec, expected) in cases {
        assert_eq!(refusal(spec), expected, "{spec}");
    }
}

#[test]
fn syntax_errors_are_told_in_gos_words() {
    let cases: [(&[u8], &str); 6] = [
        (b"{", "unexpected end of JSON input"),
        (b"", "unexpected end of JSON input"),
        (b"x", "invalid character 'x' looking for beginning of value"),
        (b"{\"a\" 1}", "invalid character '1' after object key"),
        (b"{\"kind\":\"Pod\" \"a\"}", "invalid character '\"' after object key:value pair"),
        (b"{}x", "invalid character 'x' after top-level value"),
    ];
    for (body, expected) in cases {
        let error = decode_json(schema("", "Pod"), body).expect_err(expected);
        assert_eq!(error, DecodeError::Syntax(expected.to_owned()));
        let error = type_meta_json(body).expect_err(expected);
        assert_eq!(error.to_string(), format!("couldn't get version/kind; json parse error: {expected}"));
    }
}

#[test]
fn a_strict_decoder_names_unknown_and_repeated_fields_once() {
    let body = br#"{"kind":"Pod","foo":1,"spec":{"containers":[{"name":"a","name":"b","bar":{"x":1},"bar":2}],
        "nodeSelector":{"k":"1","k":"2"}},"metadata":{"labels":{"a":"1"}},"spec":{}}"#;
    let decoded = decode_json(schema("", "Pod"), body).unwrap();
    assert_eq!(
        decoded.strict,
        [
            r#"unknown field "foo""#,
            r#"duplicate field "spec.containers[0].name""#,
            r#"unknown field "spec.containers[0].bar""#,
            r#"duplicate field "spec.nodeSelector.k""#,
            r#"duplicate field "spec""#,
        ]
    );
    assert_eq!(decoded.object, json!({"kind": "Pod", "spec": {}, "metadata": {"labels": {"a": "1"}}}));
}

#[test]
fn a_patch_is_watched_for_repeated_keys() {
    let decoded = super::decode_tree(br#"{"spec":{"l":[{"a":1,"a":2}],"x":null},"spec":{}}"#).unwrap();
    assert_eq!(decoded.strict, [r#"duplicate field "spec.l[0].a""#, r#"duplicate field "spec""#]);
    assert_eq!(decoded.object, json!({"spec": {}}));
    assert!(super::decode_tree(b"{").is_err());
}

#[test]
fn yaml_is_decoded_alike() {
    let body = b"apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  labels: {on: 'yes'}\nspec:\n  containers:\n  - name: c\n    ports: [{containerPort: 80}]\n    nope: 1\n";
    let decoded = decode_yaml(schema("", "Pod"), body).unwrap();
    assert_eq!(decoded.strict, [r#"unknown field "spec.containers[0].nope""#]);
    assert_eq!(decoded.object["spec"]["containers"][0]["ports"][0]["containerPort"], 80);
}

#[test]
fn scalars_take_their_canonical_form() {
    let body = br#"{"metadata":{"creationTimestamp":"2026-01-02T05:04:05.9+02:00"},
        "spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":0.5,"memory":"1024Mi"}}}]}}"#;
    let decoded = decode_json(schema("", "Pod"), body).unwrap().object;
    assert_eq!(decoded["metadata"]["creationTimestamp"], "2026-01-02T03:04:05Z");
    assert_eq!(decoded["spec"]["containers"][0]["resources"]["limits"], json!({"cpu": "500m", "memory": "1Gi"}));
    let bad = decode_json(schema("", "Pod"), br#"{"metadata":{"creationTimestamp":"today"}}"#).unwrap_err();
    assert_eq!(
        bad.to_string(),
        r#"parsing time "today" as "2006-01-02T15:04:05Z07:00": cannot parse "today" as "2006""#
    );
    let bad = decode_json(schema("", "Secret"), br#"{"data":{"k":"a?"}}"#).unwrap_err();
    assert_eq!(bad.to_string(), "illegal base64 data at input byte 1");
}

#[test]
fn bytes_are_read_as_go_reads_them() {
    let secret = |value: &str| decode_json(schema("", "Secret"), format!("{{\"data\":{{\"k\":{value}}}}}").as_bytes());
    for (value, bytes) in [("[]", ""), ("[97,null]", "YQA="), ("\"YQ==\"", "YQ=="), ("null", "")] {
        let read = normalized(schema("", "Secret"), secret(value).unwrap().object);
        assert_eq!(read["data"]["k"], bytes, "{value}");
    }
    for (value, at) in [("\"YWJjYQ\"", 4), ("\"YWJjYQ=\"", 7), ("\"YQ\"", 0)] {
        let why = format!("illegal base64 data at input byte {at}");
        assert_eq!(secret(value).unwrap_err().to_string(), why, "{value}");
    }
    for wrong in ["[256]", "[\"a\"]", "[-1]"] {
        assert!(secret(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_time_is_judged_from_its_beginning() {
    let event = |time: &str| {
        let body = format!("{{\"eventTime\":\"{time}\"}}");
        decode_json(schema("events.k8s.io", "Event"), body.as_bytes()).unwrap_err().to_string()
    };
    assert_eq!(event("2020-13-01T00:00:00Z"), "parsing time \"2020-13-01T00:00:00Z\": month out of range");
    for (offset, what) in [("+25:00", "hour"), ("-00:61", "minute"), ("+25:61", "minute")] {
        let time = format!("2020-12-01T00:00:00.000000{offset}");
        assert_eq!(event(&time), format!("parsing time \"{time}\": time zone offset {what} out of range"));
    }
    assert!(event("2020-12-01T00:00:00Z").ends_with("cannot parse \"Z\" as \".000000\""));
}

fn normalized(schema: &Schema, mut object: Value) -> Value {
    normalize(schema, &mut object);
    object
}

#[test]
fn normalizing_is_a_round_trip_through_gos_structs() {
    let service = normalized(
        schema("", "Service"),
        json!({"metadata": {"labels": {}, "creationTimestamp": null}, "spec": {"ports": [{"port": 80}], "type": ""}}),
    );
    assert_eq!(
        service,
        json!({"metadata": {}, "spec": {"ports": [{"port": 80, "targetPort": 0}]}, "status": {"loadBalancer": {}}})
    );
    let revision = normalized(schema("apps", "ControllerRevision"), json!({"data": false}));
    assert_eq!(revision["data"], false);
    let role = normalized(schema("rbac.authorization.k8s.io", "Role"), json!({"unknown": 1}));
    assert_eq!(role, json!({"metadata": {}, "rules": null}));
    let pod =
        normalized(schema("", "Pod"), json!({"spec": {"securityContext": {}, "hostNetwork": false, "containers": []}}));
    assert_eq!(pod, json!({"metadata": {}, "spec": {"securityContext": {}, "containers": null}, "status": {}}));
}

#[test]
fn stated_defaults_are_set_where_their_struct_is() {
    let mut pod = json!({"spec": {"containers": [{"ports": [{"containerPort": 80}]}], "volumes": [{"rbd": {}}]}});
    default_static(schema("", "Pod"), &mut pod);
    assert_eq!(pod["spec"]["containers"][0]["ports"][0]["protocol"], "TCP");
    assert_eq!(pod["spec"]["volumes"][0]["rbd"]["pool"], "rbd");
    assert_eq!(pod["spec"].get("ephemeralContainers"), None);
}
