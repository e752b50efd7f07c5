//! JSON, merge and strategic merge patches as tables.

use serde_json::{Value, json};

use super::{PatchError, json as json_patch, merge, strategic};
use crate::gvk::Gvk;
use crate::schema::{Schema, builtin};

fn schema(group: &str, kind: &str) -> &'static Schema {
    builtin(&Gvk::new(group, "v1", kind)).expect("a built-in kind")
}

fn containers(patch: Value) -> Result<Value, PatchError> {
    let mut pod = json!({"spec": {"containers": [
        {"name": "a", "image": "a:1", "args": ["x"], "env": [{"name": "E", "value": "1"}]},
        {"name": "b", "image": "b:1"},
        {"name": "c", "image": "c:1"},
    ]}});
    strategic(schema("", "Pod"), &mut pod, json!({ "spec": patch }))?;
    Ok(pod["spec"]["containers"].take())
}

#[test]
fn elements_merge_by_key_and_new_ones_follow_the_patch() {
    let patched =
        containers(json!({"containers": [{"name": "b", "image": "b:2"}, {"name": "d", "image": "d:1"}]})).unwrap();
    let names: Vec<&str> = patched.as_array().unwrap().iter().map(|c| c["image"].as_str().unwrap()).collect();
    assert_eq!(names, ["a:1", "b:2", "d:1", "c:1"].map(str::to_owned));
    let env = containers(json!({"containers": [{"name": "a", "env": [{"name": "F", "value": "2"}], "args": ["y"]}]}))
        .unwrap();
    assert_eq!(env[0]["env"], json!([{"name": "F", "value": "2"}, {"name": "E", "value": "1"}]));
    assert_eq!(env[0]["args"], json!(["y"]), "args has no merge strategy");
}

#[test]
fn directives_delete_replace_and_order() {
    let deleted = containers(json!({"containers": [{"name": "b", "$patch": "delete"}]})).unwrap();
    assert_eq!(deleted.as_array().unwrap().len(), 2);
    let replaced = containers(json!({"containers": [{"$patch": "replace"}, {"name": "z"}]})).unwrap();
    assert_eq!(replaced, json!([{"name": "z"}]));
    let ordered = containers(json!({
        "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
        "containers": [{"name": "a", "image": "a:2"}],
    }))
    .unwrap();
    let names: Vec<&str> = ordered.as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["b", "c", "a"]);
    let disordered = containers(json!({
        "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
        "containers": [{"name": "a"}, {"name": "c"}],
    }));
    assert!(disordered.unwrap_err().to_string().starts_with("The order in patch list:"));
}

#[test]
fn primitive_lists_lose_what_the_directive_names() {
    let mut pod = json!({"metadata": {"finalizers": ["a", "b", "c"]}});
    let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b"], "finalizers": ["d"]}});
    strategic(schema("", "Pod"), &mut pod, patch).unwrap();
    assert_eq!(pod["metadata"]["finalizers"], json!(["d", "a", "c"]));
}

#[test]
fn retain_keys_clears_the_other_members_of_a_union() {
    let mut deployment = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    strategic(schema("apps", "Deployment"), &mut deployment, patch).unwrap();
    assert_eq!(deployment["spec"]["strategy"], json!({"type": "Recreate"}));
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "rollingUpdate": {}}}});
    let refused = strategic(schema("apps", "Deployment"), &mut deployment, patch);
    assert_eq!(refused, Err(PatchError::Malformed("invalid patch format of retainKeys".to_owned())));
}

#[test]
fn nulls_delete_and_are_not_added() {
    let mut pod = json!({"metadata": {"labels": {"a": "1", "b": "2"}}});
    let patch = json!({"metadata": {"labels": {"a": null, "c": null}, "annotations": {"x": null, "y": "1"}}});
    strategic(schema("", "Pod"), &mut pod, patch).unwrap();
    assert_eq!(pod, json!({"metadata": {"labels": {"b": "2"}, "annotations": {"y": "1"}}}));
}

#[test]
fn an_element_without_its_merge_key_is_refused() {
    let refused = containers(json!({"containers": [{"image": "x"}]})).unwrap_err();
    assert_eq!(refused.to_string(), "map: map[image:x] does not contain declared merge key: name");
}

#[test]
fn json_patch_as_upstream_reads_the_rfc() {
    let check = |patch: Value, expected: Result<Value, &str>| {
        let mut object = json!({"a": {"b": [1, 2]}, "s": "t"});
        let result = json_patch(&mut object, patch.to_string().as_bytes());
        match expected {
            Ok(value) => assert_eq!((result, object), (Ok(()), value), "{patch}"),
            Err(text) => assert_eq!(result.unwrap_err().to_string(), text, "{patch}"),
        }
    };
    check(json!([{"op": "add", "path": "/a/b/-", "value": 3}]), Ok(json!({"a": {"b": [1, 2, 3]}, "s": "t"})));
    check(json!([{"op": "add", "path": "/a/b/0", "value": 0}]), Ok(json!({"a": {"b": [0, 1, 2]}, "s": "t"})));
    check(json!([{"op": "remove", "path": "/a/b/-1"}]), Ok(json!({"a": {"b": [1]}, "s": "t"})));
    check(json!([{"op": "replace", "path": "/new", "value": 1}]), Ok(json!({"a": {"b": [1, 2]}, "s": "t", "new": 1})));
    check(json!([{"op": "move", "from": "/s", "path": "/u"}]), Ok(json!({"a": {"b": [1, 2]}, "u": "t"})));
    check(json!([{"op": "copy", "from": "/a/b/0", "path": "/u"}]), Ok(json!({"a": {"b": [1, 2]}, "s": "t", "u": 1})));
    check(json!([{"op": "test", "path": "/none", "value": null}]), Ok(json!({"a": {"b": [1, 2]}, "s": "t"})));
    check(json!([{"op": "test", "path": "/s", "value": "x"}]), Err("testing value /s failed: test failed"));
    check(
        json!([{"op": "add", "path": "/x/y", "value": 1}]),
        Err(r#"add operation does not apply: doc is missing path: "/x/y": missing value"#),
    );
    check(
        json!([{"op": "remove", "path": "/x"}]),
        Err("error in remove for path: '/x': Unable to remove nonexistent key: x: missing value"),
    );
    check(
        json!({}),
        Err("error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"),
    );
}

#[test]
fn copies_that_double_the_object_end() {
    let copies: Vec<Value> =
        (0..64).map(|at| json!({"op": "copy", "from": "/a", "path": format!("/a/c{at}")})).collect();
    let mut object = json!({"a": {"b": "0123456789"}});
    let refused = json_patch(&mut object, Value::Array(copies).to_string().as_bytes()).unwrap_err().to_string();
    assert!(refused.starts_with("Unable to complete the copy, the accumulated size increase"), "{refused}");
}

#[test]
fn merge_patch_deletes_with_null() {
    let mut object = json!({"a": {"b": 1, "c": 2}, "l": [1, 2]});
    merge(&mut object, &json!({"a": {"b": null, "d": 3}, "l": [3]})).unwrap();
    assert_eq!(object, json!({"a": {"c": 2, "d": 3}, "l": [3]}));
    assert_eq!(merge(&mut object, &json!("x")).unwrap_err().to_string(), "Invalid JSON Patch");
}

#[test]
fn fields_of_bytes_are_not_merged() {
    let patched = |change: Value| {
        let mut revision = json!({"data": {"spec": {"x": 1}, "list": [1]}});
        strategic(schema("apps", "ControllerRevision"), &mut revision, json!({ "data": change })).map(|()| revision)
    };
    let why = "unable to find api field in struct RawExtension for the json field \"spec\"";
    assert_eq!(patched(json!({"spec": {}})), Err(PatchError::Broken(why.to_owned())));
    assert_eq!(patched(json!({"list": [2]})), Err(PatchError::Broken(why.replace("spec", "list"))));
    let set = json!({"spec": 2, "list": [1], "new": {"a": 1}});
    assert_eq!(patched(json!({"spec": 2, "new": {"a": 1}})).unwrap()["data"], set);
}

#[test]
fn what_has_no_fields_is_not_merged() {
    let mut request = json!({"spec": {"extra": {"a": ["b"]}}});
    let change = json!({"spec": {"extra": {"a": ["c"]}}});
    let error =
        strategic(schema("certificates.k8s.io", "CertificateSigningRequest"), &mut request, change).unwrap_err();
    let why = "merging an object in json but data type is not struct, instead is: map";
    assert_eq!(error, PatchError::Broken(why.to_owned()));
}

#[test]
fn elements_are_of_one_type() {
    let told = |elements: Value| containers(json!({"containers": elements})).unwrap_err().to_string();
    assert_eq!(
        told(json!([{"name": "a"}, [1]])).lines().next().unwrap()[..40],
        *"list element types are not identical: [["
    );
    let mut node = json!({"spec": {"podCIDRs": ["10.1.0.0/24"]}});
    let error = strategic(schema("", "Node"), &mut node, json!({"spec": {"podCIDRs": [true]}})).unwrap_err();
    assert_eq!(error.to_string(), "list element types are not identical: [[10.1.0.0/24] [true]]");
}
