//! Server-side apply: who manages what after merges and conflicts.

use serde_json::{Value, json};

use super::{ApplyError, FieldSet, Request, apply, empty, update};
use crate::gvk::Gvk;
use crate::schema::{Schema, builtin, normalize};

fn schema() -> &'static Schema {
    builtin(&Gvk::new("apps", "v1", "Deployment")).expect("a built-in kind")
}

/// A server that stores one Deployment.
#[derive(Default)]
struct Server {
    stored: Option<Value>,
}

impl Server {
    fn request<'a>(manager: &'a str, now: &'a str, ignored: &'a FieldSet) -> Request<'a> {
        let (schema, api_version) = (schema(), "apps/v1");
        Request { schema, api_version, other: None, subresource: "", manager, now, ignored, reset: false }
    }

    fn apply(&mut self, manager: &str, spec: Value, force: bool) -> Result<(), ApplyError> {
        let mut config = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}});
        for (name, value) in spec.as_object().into_iter().flatten() {
            config[name] = value.clone();
        }
        let ignored = FieldSet::of(&["status"]);
        let live = self.stored.clone().unwrap_or_else(|| empty(schema(), "apps/v1"));
        let request = Self::request(manager, "2026-01-01T00:00:00Z", &ignored);
        let mut object = apply(&request, &live, &config, force)?;
        self.store(&mut object);
        Ok(())
    }

    fn update(&mut self, manager: &str, change: impl FnOnce(&mut Value)) {
        let live = self.stored.clone();
        let mut new = live.clone().unwrap_or_else(|| empty(schema(), "apps/v1"));
        change(&mut new);
        normalize(schema(), &mut new);
        let ignored = FieldSet::of(&["status"]);
        update(&Self::request(manager, "2026-01-02T00:00:00Z", &ignored), live.as_ref(), &mut new);
        self.store(&mut new);
    }

    fn store(&mut self, object: &mut Value) {
        normalize(schema(), object);
        object["metadata"]["uid"] = "u".into();
        self.stored = Some(object.take());
    }

    fn at(&self, pointer: &str) -> Value {
        self.stored.as_ref().and_then(|object| object.pointer(pointer)).cloned().unwrap_or_default()
    }

    fn fields_of(&self, manager: &str) -> Value {
        let entries = self.at("/metadata/managedFields");
        let entry = entries.as_array().into_iter().flatten().find(|entry| entry["manager"] == manager);
        entry.map_or(Value::Null, |entry| entry["fieldsV1"].clone())
    }
}

fn labels(labels: Value) -> Value {
    json!({"metadata": {"name": "d", "labels": labels}})
}

#[test]
fn a_create_is_owned_by_its_creator_field_by_field() {
    let mut server = Server::default();
    server.update("kubectl-create", |object| {
        object["metadata"] = json!({"name": "d", "namespace": "default", "labels": {"app": "d"}});
        object["spec"] = json!({
            "replicas": 1, "selector": {"matchLabels": {"app": "d"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}},
            "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"securityContext": {}, "containers": [
                {"name": "c", "image": "i", "resources": {}, "ports": [{"containerPort": 80, "protocol": "TCP"}]},
            ]}},
        });
    });
    assert_eq!(
        server.at("/metadata/managedFields"),
        json!([{
            "manager": "kubectl-create", "operation": "Update", "apiVersion": "apps/v1",
            "time": "2026-01-02T00:00:00Z", "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                "f:spec": {
                    "f:replicas": {}, "f:selector": {},
                    "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}}, "f:type": {}},
                    "f:template": {
                        "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                        "f:spec": {
                            "f:securityContext": {},
                            "f:containers": {"k:{\"name\":\"c\"}": {
                                ".": {}, "f:image": {}, "f:name": {}, "f:resources": {},
                                "f:ports": {".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {
                                    ".": {}, "f:containerPort": {}, "f:protocol": {},
                                }},
                            }},
                        },
                    },
                },
            },
        }])
    );
}

#[test]
fn what_is_no_longer_applied_goes() {
    let mut server = Server::default();
    server.apply("a", labels(json!({"x": "1", "y": "2"})), false).unwrap();
    assert_eq!(server.fields_of("a"), json!({"f:metadata": {"f:labels": {"f:x": {}, "f:y": {}}}}));
    server.apply("a", labels(json!({"x": "1"})), false).unwrap();
    assert_eq!(server.at("/metadata/labels"), json!({"x": "1"}));
    server.apply("a", json!({}), false).unwrap();
    assert_eq!(server.at("/metadata/labels"), Value::Null);
    assert_eq!(server.at("/metadata/managedFields"), Value::Null);
}

#[test]
fn what_another_one_owns_stays() {
    let mut server = Server::default();
    server.apply("a", labels(json!({"x": "1", "y": "2"})), false).unwrap();
    server.apply("b", labels(json!({"y": "2", "z": "3"})), false).unwrap();
    server.apply("a", labels(json!({"x": "1"})), false).unwrap();
    assert_eq!(server.at("/metadata/labels"), json!({"x": "1", "y": "2", "z": "3"}));
    assert_eq!(server.fields_of("b"), json!({"f:metadata": {"f:labels": {"f:y": {}, "f:z": {}}}}));
}

#[test]
fn a_different_value_conflicts_unless_forced() {
    let mut server = Server::default();
    server.apply("a", json!({"spec": {"replicas": 1, "paused": true}}), false).unwrap();
    let error = server.apply("b", json!({"spec": {"replicas": 2}}), false).unwrap_err();
    assert_eq!(error.to_string(), "Apply failed with 1 conflict: conflict with \"a\": .spec.replicas");
    let error = server.apply("b", json!({"spec": {"replicas": 2, "paused": false}}), false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 2 conflicts: conflicts with \"a\":\n- .spec.paused\n- .spec.replicas"
    );
    server.apply("b", json!({"spec": {"replicas": 2}}), true).unwrap();
    assert_eq!(server.at("/spec/replicas"), json!(2));
    assert_eq!(server.fields_of("a"), json!({"f:spec": {"f:paused": {}}}));
    assert_eq!(server.fields_of("b"), json!({"f:spec": {"f:replicas": {}}}));
}

#[test]
fn a_plain_update_takes_fields_over() {
    let mut server = Server::default();
    server.apply("a", json!({"spec": {"replicas": 1}}), false).unwrap();
    server.update("scaler", |object| object["spec"]["replicas"] = 3.into());
    assert_eq!(server.fields_of("a"), Value::Null);
    assert_eq!(server.fields_of("scaler"), json!({"f:spec": {"f:replicas": {}}}));
    let error = server.apply("a", json!({"spec": {"replicas": 1}}), false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"scaler\" using apps/v1: .spec.replicas"
    );
}

#[test]
fn elements_of_a_keyed_list_have_owners_of_their_own() {
    let container = |name: &str, image: &str| json!({"name": name, "image": image});
    let pod = |containers: Value| json!({"spec": {"template": {"spec": {"containers": containers}}}});
    let mut server = Server::default();
    server.apply("a", pod(json!([container("web", "web:1")])), false).unwrap();
    server.apply("b", pod(json!([container("proxy", "proxy:1")])), false).unwrap();
    let names = |server: &Server| -> Vec<String> {
        let containers = server.at("/spec/template/spec/containers");
        containers.as_array().into_iter().flatten().map(|c| c["name"].as_str().unwrap_or("").to_owned()).collect()
    };
    assert_eq!(names(&server), ["web", "proxy"]);
    server.apply("b", pod(json!([])), false).unwrap();
    assert_eq!(names(&server), ["web"]);
    let error = server.apply("b", pod(json!([container("web", "web:2")])), false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"a\": .spec.template.spec.containers[name=\"web\"].image"
    );
}

#[test]
fn what_was_there_before_belongs_to_the_past() {
    let mut server = Server::default();
    server.update("old", |object| object["metadata"]["labels"] = json!({"x": "1"}));
    server.stored.as_mut().unwrap()["metadata"].as_object_mut().unwrap().remove("managedFields");
    server.apply("a", labels(json!({"y": "2"})), false).unwrap();
    assert_eq!(server.at("/metadata/labels"), json!({"x": "1", "y": "2"}));
    assert_eq!(server.fields_of("before-first-apply"), json!({"f:metadata": {"f:labels": {".": {}, "f:x": {}}}}));
}

#[test]
fn a_configuration_that_does_not_fit_is_refused() {
    let refused = |spec: Value| Server::default().apply("a", spec, false).unwrap_err().to_string();
    let prefix = "failed to create typed patch object (/d; apps/v1, Kind=Deployment): ";
    assert_eq!(refused(json!({"spec": {"foo": 1}})), format!("{prefix}.spec.foo: field not declared in schema"));
    assert_eq!(
        refused(json!({"spec": {"strategy": {"a": 1, "b": 1}, "template": {"c": 1, "d": 1}}})),
        format!(
            "{prefix}errors:\n  .spec.strategy.a: field not declared in schema\n  .spec.template.c: field not declared in schema"
        )
    );
    let selector = json!({"spec": {"selector": {"matchLabels": {"a": 5}, "zip": 1}}});
    let inside = ".spec.selector.matchLabels.a: expected string, got &value.valueUnstructured{Value:5}";
    let zip = ".spec.selector.zip: field not declared in schema";
    assert_eq!(refused(selector), format!("{prefix}errors:\n  {inside}\n  {zip}"), "also in what is owned whole");
    let scalars = refused(json!({"spec": {"template": {"spec": {"containers": [1, 2]}}}}));
    assert_eq!(scalars.matches("element ").count(), 1, "{scalars}");
    let twice = json!({"spec": {"template": {"spec": {"containers": [{"name": "c"}, {"name": "c"}]}}}});
    assert_eq!(
        refused(twice),
        format!("{prefix}.spec.template.spec.containers: duplicate entries for key [name=\"c\"]")
    );
    assert_eq!(refused(json!({"metadata": {"name": "d", "managedFields": []}})), "metadata.managedFields must be nil");
}

#[test]
fn what_does_not_fit_is_shown_as_go_shows_it() {
    let refused = |field: &str, value: Value| {
        let container = json!({"name": "c", field: value});
        let spec = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
        let why = Server::default().apply("a", spec, false).unwrap_err().to_string();
        why.rsplit_once(&format!(".{field}: ")).map(|(_, why)| why.to_owned()).unwrap_or(why)
    };
    let map = || json!({"a": [1, "x", null], "b": true});
    for (field, value, why) in [
        ("stdin", json!("x"), "expected boolean, got &{x}"),
        ("stdin", map(), "expected boolean, got &{map[a:[1 x <nil>] b:true]}"),
        ("image", json!(5), "expected string, got &value.valueUnstructured{Value:5}"),
        (
            "image",
            map(),
            "expected string, got &value.valueUnstructured{Value:map[string]interface {}{\"a\":[]interface {}{1, \"x\", interface {}(nil)}, \"b\":true}}",
        ),
        ("ports", json!("x"), "expected list, got &{x}"),
        ("securityContext", json!([1]), "expected map, got &{[1]}"),
    ] {
        assert_eq!(refused(field, value), why, "{field}");
    }
    let replicas = json!({"spec": {"replicas": "x"}});
    let why = Server::default().apply("a", replicas, false).unwrap_err().to_string();
    assert!(why.ends_with(".spec.replicas: expected numeric (int or float), got string"), "{why}");
}

/// kubectl compares the text with what it would write itself, in Go.
#[test]
fn kubectls_record_is_written_as_go_writes_it() {
    const RECORD: &str = "kubectl.kubernetes.io/last-applied-configuration";
    let mut server = Server::default();
    server.update("kubectl-client-side-apply", |object| object["metadata"]["annotations"] = json!({RECORD: "{}"}));
    let config = json!({"metadata": {"name": "d", "annotations": {"a": "<b> & c"}}});
    server.apply("kubectl", config, true).unwrap();
    let record = server.at("/metadata/annotations")[RECORD].clone();
    let expected = "{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"metadata\":{\"annotations\":{\"a\":\"\\u003cb\\u003e \\u0026 c\"},\"name\":\"d\"}}\n";
    assert_eq!(record, expected);
}

#[test]
fn owners_at_other_versions_are_forgotten() {
    let owned_at = |version: &str| {
        let mut server = Server::default();
        server.update("old", |object| object["spec"]["replicas"] = 1.into());
        server.stored.as_mut().unwrap()["metadata"]["managedFields"][0]["apiVersion"] = version.into();
        server
    };
    for version in ["apps/v1beta1", "extensions/v1beta1", "v1", "v9"] {
        let mut server = owned_at(version);
        server.update("new", |object| object["spec"]["paused"] = true.into());
        assert_eq!(server.fields_of("old"), Value::Null, "{version}");
        assert_eq!(server.fields_of("new"), json!({"f:spec": {"f:paused": {}}}));
        owned_at(version).apply("new", json!({"spec": {"replicas": 2}}), false).unwrap();
    }
    // One that is not even a version by its form ends all ownership, and nothing can be applied over it.
    let mut server = owned_at("a/b/c");
    server.update("new", |object| object["spec"]["paused"] = true.into());
    assert_eq!(server.at("/metadata/managedFields"), Value::Null);
    let error = owned_at("a/b/c").apply("new", json!({"spec": {"replicas": 2}}), false).unwrap_err();
    assert_eq!(error.to_string(), "unexpected GroupVersion string: a/b/c");
}

#[test]
fn updaters_beyond_ten_are_folded() {
    let mut server = Server::default();
    for at in 0..12 {
        server.update(&format!("m{at}"), |object| object["metadata"]["labels"][format!("l{at}")] = "v".into());
    }
    let entries = server.at("/metadata/managedFields");
    assert_eq!(entries.as_array().map(Vec::len), Some(10));
    assert!(server.fields_of("ancient-changes").pointer("/f:metadata/f:labels/f:l0").is_some());
}

#[test]
fn field_sets_keep_their_json_form() {
    let fields = json!({"f:a": {".": {}, "f:b": {}}, "f:l": {"k:{\"n\":\"x\"}": {".": {}, "f:n": {}}, "v:\"q\"": {}}});
    assert_eq!(FieldSet::from_fields_v1(&fields).unwrap().into_fields_v1(), fields);
    assert_eq!(FieldSet::from_fields_v1(&json!({"x": {}})), None);
}

#[test]
fn json_objects_are_sorted_as_comparison_needs_them() {
    let object = json!({"b": 1, "a": 2});
    let names: Vec<&String> = object.as_object().unwrap().keys().collect();
    assert_eq!(names, ["a", "b"], "serde_json's preserve_order must stay off");
}

/// An element has one owner however its text is spelt.
#[test]
fn elements_are_the_same_in_every_spelling() {
    for (raw, escaped) in [
        ("v:\"a<b>&c\"", "v:\"a\\u003cb\\u003e\\u0026c\""),
        ("v:\"a\u{2028}b\u{2029}\"", "v:\"a\\u2028b\\u2029\""),
        ("k:{\"name\":\"x/y\"}", "k:{ \"name\":\"x\\/y\" }"),
        ("k:{\"n\":1}", "k:{\t\"n\":\n1}"),
    ] {
        let [raw, escaped] =
            [raw, escaped].map(|element| FieldSet::from_fields_v1(&json!({"f:l": {element: {}}})).unwrap());
        assert_eq!(raw, escaped);
    }
}
