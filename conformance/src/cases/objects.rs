//! The life of an object: names, identity, conflicts, preconditions, encodings, rehearsals.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{config_map, version_of};
use crate::catalogue::{Area, Group, case};
use crate::cluster::{Call, Patch, Resource, SOON, Scope};
use crate::expect::{contains, equal, matches, refused, same};

pub(super) const GROUP: Group = Group {
    name: "objects",
    area: Area::Api,
    capability: "Objects: identity, optimistic concurrency, dry run, preconditions, JSON, YAML and protobuf",
    cases: &[
        case!(a_life, "an object is created, read, replaced and deleted, and keeps its identity", quick),
        case!(a_taken_name_is_refused, "a name that is taken is a 409 AlreadyExists", quick),
        case!(
            a_stale_write_is_refused,
            "a write with an old version is a 409 Conflict, one without a version is not",
            quick
        ),
        case!(names_are_made, "generateName makes a new name each time", quick),
        case!(bad_names_are_refused, "a name that is no name is a 422 with the field it is about", quick),
        case!(a_rehearsal_stores_nothing, "dryRun=All answers as the real thing would, and stores nothing", quick),
        case!(preconditions_hold, "a deletion for another uid is a 409 Conflict, and deletes nothing", quick),
        case!(collections_are_deleted_by_selector, "a collection is deleted as far as a selector goes", quick),
        case!(finalizers_hold, "an object with a finalizer stays, marked as deleted, until it is taken off", quick),
        case!(yaml_is_read, "an object may be sent as YAML", quick),
        case!(protobuf_goes_both_ways, "an object read as protobuf can be changed and written back as protobuf"),
        case!(generation_counts_specs, "generation counts changes of the spec, and not of labels", quick),
        case!(what_the_server_sets_cannot_be_set, "uid, creationTimestamp and generation are the server's", quick),
        case!(the_wrong_namespace_is_refused, "an object for another namespace than the path's is a 400"),
    ],
};

async fn a_life(scope: &Scope) -> Result<()> {
    let maps = scope.config_maps();
    let made = maps.create(&config_map("one", "a", "first")).await?;
    let metadata = &made["metadata"];
    matches("uid", metadata["uid"].as_str().unwrap_or_default(), r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")?;
    let time = metadata["creationTimestamp"].as_str().unwrap_or_default();
    matches("creationTimestamp", time, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")?;
    equal("what is read", &maps.get("one").await?, &made)?;
    let mut next = made.clone();
    next["data"]["key"] = "second".into();
    let changed = maps.replace(&next).await?;
    equal("uid", &changed["metadata"]["uid"], &metadata["uid"])?;
    equal("creationTimestamp", &changed["metadata"]["creationTimestamp"], &metadata["creationTimestamp"])?;
    ensure!(version_of(&changed) > version_of(&made), "expected a newer version than {}", version_of(&made));
    equal("data", &changed["data"], &json!({"key": "second"}))?;
    let status = maps.delete("one").await?;
    equal("answer", &status["status"], &json!("Success"))?;
    equal("uid in the answer", &status["details"]["uid"], &metadata["uid"])?;
    refused(maps.get("one").await, 404, "NotFound")?;
    refused(maps.delete("one").await, 404, "NotFound")?;
    refused(maps.replace(&config_map("one", "a", "")).await, 404, "NotFound").map(drop)
}

async fn a_taken_name_is_refused(scope: &Scope) -> Result<()> {
    scope.config_maps().create(&config_map("one", "a", "first")).await?;
    let error = refused(scope.config_maps().create(&config_map("one", "a", "second")).await, 409, "AlreadyExists")?;
    same("message", error.message.as_str(), r#"configmaps "one" already exists"#)?;
    equal("data", &scope.config_maps().get("one").await?["data"]["key"], &json!("first"))
}

async fn a_stale_write_is_refused(scope: &Scope) -> Result<()> {
    let maps = scope.config_maps();
    let mut old = maps.create(&config_map("one", "a", "first")).await?;
    maps.patch("one", Patch::Merge(json!({"data": {"key": "second"}}))).await?;
    old["data"]["key"] = "third".into();
    let error = refused(maps.replace(&old).await, 409, "Conflict")?;
    contains(
        "message",
        &error.message,
        "the object has been modified; please apply your changes to the latest version",
    )?;
    let stale = json!({"metadata": {"resourceVersion": old["metadata"]["resourceVersion"]}, "data": {"key": "x"}});
    refused(maps.patch("one", Patch::Merge(stale)).await, 409, "Conflict")?;
    equal("data", &maps.get("one").await?["data"]["key"], &json!("second"))?;
    let unconditional = maps.replace(&config_map("one", "a", "fourth")).await?;
    equal("data without a version", &unconditional["data"]["key"], &json!("fourth"))
}

async fn names_are_made(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "made-"}});
    let mut names = Vec::new();
    for _ in 0..3 {
        let made = scope.config_maps().create(&object).await?;
        names.push(made["metadata"]["name"].as_str().unwrap_or_default().to_owned());
        equal("generateName", &made["metadata"]["generateName"], &json!("made-"))?;
    }
    for name in &names {
        matches("name", name, "^made-[a-z0-9]{5}$")?;
    }
    names.sort();
    names.dedup();
    same("different names", names.len(), 3)
}

async fn bad_names_are_refused(scope: &Scope) -> Result<()> {
    for name in ["UPPER", "under_score", "-dash", "a..b", &"x".repeat(254)] {
        let error = refused(scope.config_maps().create(&config_map(name, "a", "")).await, 422, "Invalid")?;
        contains("message", &error.message, "metadata.name: Invalid value:")?;
        equal("field", &error.status["details"]["causes"][0]["field"], &json!("metadata.name"))?;
    }
    let nameless = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}});
    let error = refused(scope.config_maps().create(&nameless).await, 422, "Invalid")?;
    contains("message", &error.message, "name or generateName is required")?;
    let label = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one", "labels": {"a b": "c"}}});
    let error = refused(scope.config_maps().create(&label).await, 422, "Invalid")?;
    equal("field", &error.status["details"]["causes"][0]["field"], &json!("metadata.labels"))
}

async fn a_rehearsal_stores_nothing(scope: &Scope) -> Result<()> {
    let maps = scope.config_maps();
    let answer = maps.create_with("dryRun=All", &config_map("dry", "a", "first")).await?;
    ensure!(answer["metadata"]["uid"].is_string(), "expected a uid in the rehearsal, saw {answer}");
    ensure!(maps.is_absent("dry").await?, "expected nothing to be stored");
    let made = maps.create(&config_map("one", "a", "first")).await?;
    let path = format!("{}?dryRun=All", maps.of("one"));
    let put = scope.cluster.object(Call::put(&path, &config_map("one", "a", "second"))).await?;
    equal("data in the rehearsal", &put["data"]["key"], &json!("second"))?;
    scope.cluster.call(Call::delete(&path)).await?.ok()?;
    equal("what is stored", &maps.get("one").await?, &made)?;
    refused(maps.create_with("dryRun=Some", &config_map("two", "a", "")).await, 422, "Invalid").map(drop)
}

async fn preconditions_hold(scope: &Scope) -> Result<()> {
    let maps = scope.config_maps();
    let made = maps.create(&config_map("one", "a", "")).await?;
    let other = json!({"preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}});
    refused(maps.delete_with("one", other).await, 409, "Conflict")?;
    let version = json!({"preconditions": {"resourceVersion": "1"}});
    refused(maps.delete_with("one", version).await, 409, "Conflict")?;
    equal("what is there", &maps.get("one").await?, &made)?;
    let right = json!({"preconditions": {"uid": made["metadata"]["uid"]}});
    maps.delete_with("one", right).await?;
    ensure!(maps.is_absent("one").await?, "expected a deletion for the right uid");
    Ok(())
}

async fn collections_are_deleted_by_selector(scope: &Scope) -> Result<()> {
    let maps = scope.config_maps();
    for (name, set) in [("one", "a"), ("two", "b"), ("three", "a")] {
        maps.create(&config_map(name, set, "")).await?;
    }
    maps.delete_collection("labelSelector=set%3Da").await?;
    same("what is left", maps.names("labelSelector=set").await?, vec!["two".to_owned()])?;
    maps.delete_collection("fieldSelector=metadata.name%3Dtwo").await?;
    same("what is left", maps.names("labelSelector=set").await?, Vec::<String>::new())
}

async fn finalizers_hold(scope: &Scope) -> Result<()> {
    let maps = scope.config_maps();
    let mut object = config_map("one", "a", "");
    object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    maps.create(&object).await?;
    let mut watch = maps.watch_one("one").await?;
    watch.expect("ADDED one", SOON).await?;
    maps.delete("one").await?;
    let marked = watch.expect("MODIFIED one", SOON).await?;
    ensure!(marked["metadata"]["deletionTimestamp"].is_string(), "expected a deletionTimestamp, saw {marked}");
    let added = json!({"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}});
    refused(maps.patch("one", Patch::Merge(added)).await, 422, "Invalid")?;
    maps.patch("one", Patch::Merge(json!({"metadata": {"finalizers": null}}))).await?;
    watch.expect("DELETED one", SOON).await?;
    ensure!(maps.is_absent("one").await?, "expected it to be gone");
    Ok(())
}

async fn yaml_is_read(scope: &Scope) -> Result<()> {
    let text = "\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: one\ndata:\n  key: |\n    two\n    lines\n  yes: \"on\"\n";
    let call = Call::post(scope.config_maps().path, &Value::Null).body("application/yaml", text);
    let made = scope.cluster.object(call).await?;
    equal("data", &made["data"], &json!({"key": "two\nlines\n", "yes": "on"}))?;
    let answer = scope.cluster.call(Call::get(scope.config_maps().of("one")).accept("application/yaml")).await?.ok()?;
    contains("content-type", answer.header("content-type"), "application/yaml")?;
    contains("answer", &answer.text(), "\nkind: ConfigMap\n")
}

pub(super) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// Reads an object as protobuf, changes `first-words` in it to `other-words`, and writes it back: the client knows no
/// protobuf, so that the words have to be as long as each other.
pub(super) async fn reword(resource: &Resource, name: &str) -> Result<()> {
    let answer = resource.cluster.call(Call::get(resource.of(name)).accept(PROTOBUF)).await?.ok()?;
    contains("content-type", answer.header("content-type"), PROTOBUF)?;
    ensure!(answer.body.starts_with(b"k8s\0"), "expected the four bytes of Kubernetes, saw {:?}", answer.body.get(..8));
    let at = answer.body.windows(11).position(|bytes| bytes == b"first-words");
    let at = at.ok_or_else(|| anyhow::anyhow!("the words are not in {} bytes", answer.body.len()))?;
    let mut body = answer.body.clone();
    body[at..at + 11].copy_from_slice(b"other-words");
    let put = Call::put(resource.of(name), &Value::Null).body(PROTOBUF, body).accept(PROTOBUF);
    let put = resource.cluster.call(put).await?.ok()?;
    ensure!(put.body.starts_with(b"k8s\0"), "expected protobuf in the answer");
    Ok(())
}

async fn protobuf_goes_both_ways(scope: &Scope) -> Result<()> {
    let maps = scope.config_maps();
    maps.create(&config_map("one", "a", "first-words")).await?;
    reword(&maps, "one").await?;
    equal("data", &maps.get("one").await?["data"]["key"], &json!("other-words"))?;
    let list = scope.cluster.call(Call::get(&maps.path).accept(PROTOBUF)).await?.ok()?;
    let word = b"ConfigMapList";
    ensure!(list.body.windows(word.len()).any(|bytes| bytes == word), "expected a list in protobuf");
    Ok(())
}

async fn generation_counts_specs(scope: &Scope) -> Result<()> {
    let deployments = scope.deployments();
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "generation": 100},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "none"}]}}}});
    equal("when created", &deployments.create(&object).await?["metadata"]["generation"], &json!(1))?;
    let labelled = deployments.patch("web", Patch::Merge(json!({"metadata": {"labels": {"x": "y"}}}))).await?;
    equal("after a label", &labelled["metadata"]["generation"], &json!(1))?;
    let changed = deployments.patch("web", Patch::Merge(json!({"spec": {"minReadySeconds": 1}}))).await?;
    equal("after the spec", &changed["metadata"]["generation"], &json!(2))?;
    deployments
        .until("web", "the controller has seen it", |web| web["status"]["observedGeneration"] == 2)
        .await
        .map(drop)
}

async fn what_the_server_sets_cannot_be_set(scope: &Scope) -> Result<()> {
    let maps = scope.config_maps();
    let mut object = config_map("one", "a", "");
    object["metadata"]["uid"] = "11111111-1111-1111-1111-111111111111".into();
    object["metadata"]["creationTimestamp"] = "2001-01-01T00:00:00Z".into();
    object["metadata"]["namespace"] = scope.namespace.as_str().into();
    let made = maps.create(&object).await?;
    ensure!(made["metadata"]["uid"] != object["metadata"]["uid"], "expected a uid of the server's");
    ensure!(
        made["metadata"]["creationTimestamp"] != object["metadata"]["creationTimestamp"],
        "expected the server's time"
    );
    let other = json!({"metadata": {"uid": "22222222-2222-2222-2222-222222222222"}});
    refused(maps.patch("one", Patch::Merge(other)).await, 422, "Invalid")?;
    let time = json!({"metadata": {"creationTimestamp": "2001-01-01T00:00:00Z"}});
    let kept = maps.patch("one", Patch::Merge(time)).await?;
    equal("creationTimestamp", &kept["metadata"]["creationTimestamp"], &made["metadata"]["creationTimestamp"])
}

async fn the_wrong_namespace_is_refused(scope: &Scope) -> Result<()> {
    let mut object = config_map("one", "a", "");
    object["metadata"]["namespace"] = "elsewhere".into();
    let error = refused(scope.config_maps().create(&object).await, 400, "BadRequest")?;
    contains("message", &error.message, "does not match the namespace")?;
    let mut renamed = scope.config_maps().create(&config_map("one", "a", "")).await?;
    renamed["metadata"]["name"] = "two".into();
    let error = refused(scope.config_maps().put("one", &renamed).await, 400, "BadRequest")?;
    contains("message", &error.message, "the name of the object (two) does not match the name on the URL (one)")
}
