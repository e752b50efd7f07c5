//! Volumes that a pod writes itself: what is in them, with which rights, and what becomes of them as their source changes.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::mounts::{
    claims_are_bound_and_mounted, host_paths_are_checked, images_are_volumes, inline_drivers_are_waited_for,
    many_volumes_fit_in_one_pod,
};
use super::{STAY, allocatable, config_map};
use crate::catalogue::{Area, Group, case};
use crate::cluster::{LATER, Patch, SOON, Scope, container, pod};
use crate::expect::{contains, equal, eventually, refused, same};

pub(super) const GROUP: Group = Group {
    name: "volumes",
    area: Area::Volumes,
    capability: "Volumes: emptyDir, ConfigMaps, Secrets, downward API, projected, hostPath, images, claims",
    cases: &[
        case!(empty_dirs_are_shared, "an emptyDir is shared by containers, on disk and in memory", quick),
        case!(empty_dirs_have_their_mode, "an emptyDir is open to all users, and files keep their mode"),
        case!(config_maps_are_files, "a ConfigMap's keys are files, binary ones too, with their mode", quick),
        case!(secrets_are_files, "a Secret's keys are files in memory, with the group of the pod's", quick),
        case!(
            modes_hold_for_every_source,
            "files of ConfigMaps, Secrets and projections have the modes and the group asked for"
        ),
        case!(items_choose_keys_and_paths, "items choose keys, paths and modes; a missing one stops the pod"),
        case!(volumes_follow_their_source, "a changed ConfigMap and Secret reach running containers"),
        case!(optional_sources_come_and_go, "an optional source may come, change and go"),
        case!(immutable_ones_stay, "an immutable ConfigMap or Secret cannot be changed, only deleted", quick),
        case!(the_downward_api_is_files, "a pod's fields and a container's resources are files, and follow"),
        case!(
            downward_files_have_defaults,
            "files without limits tell of the node's, with the mode asked for, projected too"
        ),
        case!(projections_are_one_volume, "a projected volume has all its sources in one folder"),
        case!(host_paths_are_checked, "a hostPath is checked against its type, and made if asked"),
        case!(images_are_volumes, "an image's files are a read-only volume"),
        case!(
            claims_are_bound_and_mounted,
            "a claim binds a volume that fits, a pod mounts it, and both are protected"
        ),
        case!(
            inline_drivers_are_waited_for,
            "a pod with a volume of a driver that is not there waits, and can be deleted"
        ),
        case!(many_volumes_fit_in_one_pod, "fifty ConfigMaps fit in a pod, in several pods at once"),
    ],
};

/// A pod with one volume `v` at `/v`.
pub(super) fn with_volume(scope: &Scope, name: &str, script: &str, volume: Value) -> Value {
    let mut object = pod(name, &scope.cluster.images.busybox, script);
    let mut volume = volume;
    volume["name"] = "v".into();
    object["spec"]["volumes"] = json!([volume]);
    object["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
    object
}

pub(super) fn secret(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data})
}

async fn empty_dirs_are_shared(scope: &Scope) -> Result<()> {
    for (name, source, kind) in
        [("disk", json!({}), "disk"), ("memory", json!({"medium": "Memory", "sizeLimit": "8Mi"}), "tmpfs")]
    {
        let script = "while ! test -e /v/file; do sleep 0.1; done; cat /v/file; grep ' /v ' /proc/mounts";
        let mut object = with_volume(scope, name, script, json!({"emptyDir": source}));
        let mut writer = container("writer", &scope.cluster.images.busybox, "echo shared >/v/part; mv /v/part /v/file");
        writer["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
        if let Some(all) = object["spec"]["containers"].as_array_mut() {
            all.push(writer);
        }
        let ended = scope.finish(&object).await?;
        equal("phase", &ended["status"]["phase"], &json!("Succeeded"))?;
        // A pod that has ended may still be being logged.
        let log = eventually("both lines of the log", SOON, async || {
            let log = scope.log_with(name, "container=main").await?;
            ensure!(log.lines().count() == 2 && log.ends_with('\n'), "{name}: saw the log {log:?}");
            Ok(log)
        })
        .await?;
        ensure!(log.starts_with("shared\n"), "expected what the other wrote, saw {log:?}");
        same("a mount in memory", log.contains("tmpfs /v tmpfs"), kind == "tmpfs")?;
    }
    Ok(())
}

async fn empty_dirs_have_their_mode(scope: &Scope) -> Result<()> {
    let script = "stat -c %A /v; for mode in 0644 0666 0777; do touch /v/$mode; chmod $mode /v/$mode; stat -c '%A %u' /v/$mode; done";
    for (medium, source) in [("disk", json!({})), ("memory", json!({"medium": "Memory"}))] {
        for user in [0, 1001] {
            let mut object = with_volume(scope, &format!("{medium}-{user}"), script, json!({"emptyDir": source}));
            object["spec"]["containers"][0]["securityContext"] = json!({"runAsUser": user});
            let expected = format!("drwxrwxrwx\n-rw-r--r-- {user}\n-rw-rw-rw- {user}\n-rwxrwxrwx {user}\n");
            same(medium, scope.output(&object).await?, expected)?;
        }
    }
    Ok(())
}

async fn config_maps_are_files(scope: &Scope) -> Result<()> {
    let mut map = config_map("map", "a", "words");
    map["binaryData"] = json!({"raw": "3sr+utD+/w=="});
    scope.config_maps().create(&map).await?;
    let script =
        "cat /v/key; echo; od -An -tx1 /v/raw; stat -Lc %A /v/key; readlink /v/key; readlink /v/..data | cut -c1-2";
    let object = with_volume(scope, "one", script, json!({"configMap": {"name": "map"}}));
    let log = scope.output(&object).await?;
    let lines: Vec<&str> = log.lines().map(str::trim).collect();
    same("log", lines, vec!["words", "de ca fe ba d0 fe ff", "-rw-r--r--", "..data/key", ".."])?;
    let object =
        with_volume(scope, "two", "stat -Lc %A /v/key", json!({"configMap": {"name": "map", "defaultMode": 0o400}}));
    same("mode", scope.output(&object).await?.as_str(), "-r--------\n")
}

async fn secrets_are_files(scope: &Scope) -> Result<()> {
    scope.secrets().create(&secret("words", json!({"key": "hidden"}))).await?;
    let other = scope.unique("other");
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other}});
    scope.create_global(&scope.global("v1", "namespaces"), &namespace).await?;
    scope.at(&other).secrets().create(&secret("words", json!({"key": "another's"}))).await?;
    let script = "cat /v/key; echo; stat -Lc '%A %g' /v/key; grep -c '^tmpfs /v ' /proc/mounts; (echo x >/v/new) 2>&1 | grep -c Read-only";
    let mut object =
        with_volume(scope, "one", script, json!({"secret": {"secretName": "words", "defaultMode": 0o440}}));
    object["spec"]["securityContext"] = json!({"runAsUser": 1000, "fsGroup": 1001});
    same("log", scope.output(&object).await?.as_str(), "hidden\n-r--r----- 1001\n1\n1\n")
}

/// A ConfigMap and a Secret named `both`, plain and projected: a file `f` of each, with a mode of its own or without.
fn sources(default: &Value, own: &Value) -> Vec<Value> {
    let items = json!([{"key": "key", "path": "f", "mode": own}]);
    vec![
        json!({"configMap": {"name": "both", "items": items, "defaultMode": default}}),
        json!({"secret": {"secretName": "both", "items": items, "defaultMode": default}}),
        json!({"projected": {"sources": [{"configMap": {"name": "both", "items": items}}], "defaultMode": default}}),
        json!({"projected": {"sources": [{"secret": {"name": "both", "items": items}}], "defaultMode": default}}),
    ]
}

async fn modes_hold_for_every_source(scope: &Scope) -> Result<()> {
    scope.config_maps().create(&config_map("both", "a", "x")).await?;
    scope.secrets().create(&secret("both", json!({"key": "x"}))).await?;
    let script = "for n in $(seq 0 11); do stat -Lc '%A %g' /v/$n/f; done; cat /v/*/f";
    let none = Value::Null;
    let volumes = [(none.clone(), none.clone()), (json!(0o400), none.clone()), (none, json!(0o400))];
    let volumes: Vec<Value> = volumes.iter().flat_map(|(default, own)| sources(default, own)).collect();
    let object = |name: &str| {
        let mut object = with_volume(scope, name, script, json!({}));
        let named = |(n, volume): (usize, &Value)| {
            let mut volume = volume.clone();
            volume["name"] = format!("v-{n}").into();
            volume
        };
        object["spec"]["volumes"] = volumes.iter().enumerate().map(named).collect();
        object["spec"]["containers"][0]["volumeMounts"] =
            (0..volumes.len()).map(|n| json!({"name": format!("v-{n}"), "mountPath": format!("/v/{n}")})).collect();
        object
    };
    let expected = |open: &str, closed: &str| {
        format!("{}{}xxxxxxxxxxxx", format!("{open}\n").repeat(4), format!("{closed}\n").repeat(8))
    };
    same("as root", scope.output(&object("root")).await?, expected("-rw-r--r-- 0", "-r-------- 0"))?;
    let mut other = object("other");
    other["spec"]["securityContext"] = json!({"runAsUser": 1000, "fsGroup": 1001});
    same("with a group", scope.output(&other).await?, expected("-rw-r--r-- 1001", "-r--r----- 1001"))
}

async fn items_choose_keys_and_paths(scope: &Scope) -> Result<()> {
    let map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"}, "data": {"a": "1", "b": "2"}});
    scope.config_maps().create(&map).await?;
    let source = json!({"configMap": {"name": "map", "items": [{"key": "b", "path": "deep/down", "mode": 0o400}]}});
    let script = "cat /v/deep/down; echo; stat -Lc %A /v/deep/down; ls /v";
    let object = with_volume(scope, "one", script, source);
    same("log", scope.output(&object).await?.as_str(), "2\n-r--------\ndeep\n")?;
    let missing = json!({"configMap": {"name": "map", "items": [{"key": "none", "path": "x"}]}});
    scope.create_pod(&with_volume(scope, "two", "true", missing)).await?;
    let events = scope.resource("v1", "events");
    let query = "fieldSelector=involvedObject.name%3Dtwo,reason%3DFailedMount";
    let told = events.until_all_within(LATER, query, "an event FailedMount", |events| !events.is_empty()).await?;
    contains("message", told[0]["message"].as_str().unwrap_or_default(), "references non-existent config key")
}

/// Kubelets look again each minute or so, where they do not watch.
const FOLLOWS: Duration = Duration::from_secs(150);

async fn volumes_follow_their_source(scope: &Scope) -> Result<()> {
    let mut map = config_map("map", "a", "first");
    map["binaryData"] = json!({"raw": "AAEC"});
    scope.config_maps().create(&map).await?;
    scope.secrets().create(&secret("words", json!({"key": "first"}))).await?;
    let sources = json!({"projected": {"sources": [
        {"configMap": {"name": "map", "items": [{"key": "key", "path": "map"}]}},
        {"secret": {"name": "words", "items": [{"key": "key", "path": "secret"}]}}]}});
    let mut object = with_volume(scope, "one", STAY, sources);
    if let Some(all) = object["spec"]["volumes"].as_array_mut() {
        all.push(json!({"name": "w", "configMap": {"name": "map"}}));
    }
    object["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "v", "mountPath": "/v"}, {"name": "w", "mountPath": "/w"}]);
    scope.start(&object).await?;
    let read = async || scope.exec("one", "echo $(cat /v/map /v/secret /w/key) $(od -An -tx1 /w/raw)").await;
    same("before", read().await?.trim(), "firstfirstfirst 00 01 02")?;
    let second = json!({"data": {"key": "second"}, "binaryData": {"raw": "3sr+utD+/w=="}});
    scope.config_maps().patch("map", Patch::Merge(second)).await?;
    scope.secrets().patch("words", Patch::Merge(json!({"stringData": {"key": "second"}}))).await?;
    let after = "secondsecondsecond de ca fe ba d0 fe ff";
    eventually("the files follow", FOLLOWS, async || same("after", read().await?.trim(), after)).await
}

async fn optional_sources_come_and_go(scope: &Scope) -> Result<()> {
    let source = json!({"configMap": {"name": "late", "optional": true}});
    let mut object = with_volume(scope, "one", STAY, source);
    if let Some(all) = object["spec"]["volumes"].as_array_mut() {
        all.push(json!({"name": "w", "secret": {"secretName": "late", "optional": true}}));
        all.push(json!({"name": "x", "projected": {"sources": [{"secret": {"name": "late", "optional": true}}]}}));
    }
    object["spec"]["containers"][0]["volumeMounts"] =
        ["v", "w", "x"].map(|name| json!({"name": name, "mountPath": format!("/{name}")})).to_vec().into();
    scope.start(&object).await?;
    let read = async || scope.exec("one", "for v in v w x; do cat /$v/key 2>/dev/null || echo none; done").await;
    let none = "none\nnone\nnone\n";
    same("before", read().await?.as_str(), none)?;
    scope.config_maps().create(&config_map("late", "a", "there\n")).await?;
    scope.secrets().create(&secret("late", json!({"key": "hidden\n"}))).await?;
    let there = "there\nhidden\nhidden\n";
    eventually("the files come", FOLLOWS, async || same("then", read().await?.as_str(), there)).await?;
    scope.config_maps().delete("late").await?;
    scope.secrets().delete("late").await?;
    eventually("the files go", FOLLOWS, async || same("after", read().await?.as_str(), none)).await
}

async fn immutable_ones_stay(scope: &Scope) -> Result<()> {
    let mut map = config_map("fixed", "a", "first");
    map["immutable"] = true.into();
    scope.config_maps().create(&map).await?;
    let mut words = secret("fixed", json!({"key": "first"}));
    words["immutable"] = true.into();
    scope.secrets().create(&words).await?;
    for resource in [scope.config_maps(), scope.secrets()] {
        for patch in [json!({"data": {"key": "eA=="}}), json!({"immutable": false}), json!({"data": {"more": "eA=="}})]
        {
            refused(resource.patch("fixed", Patch::Merge(patch)).await, 422, "Invalid")?;
        }
        let labelled = resource.patch("fixed", Patch::Merge(json!({"metadata": {"labels": {"x": "y"}}}))).await?;
        equal("label", &labelled["metadata"]["labels"]["x"], &json!("y"))?;
        resource.delete("fixed").await?;
    }
    Ok(())
}

async fn the_downward_api_is_files(scope: &Scope) -> Result<()> {
    let field = |path: &str, field: &str| json!({"path": path, "fieldRef": {"fieldPath": field}});
    let resource = |path: &str, resource: &str| json!({"path": path, "resourceFieldRef": {"containerName": "main", "resource": resource}});
    let mut named = field("name", "metadata.name");
    named["mode"] = 0o400.into();
    let items = json!([
        named,
        field("labels", "metadata.labels"),
        field("annotations", "metadata.annotations"),
        resource("cpu-limit", "limits.cpu"),
        resource("cpu-request", "requests.cpu"),
        resource("memory-limit", "limits.memory")
    ]);
    let mut object = with_volume(scope, "one", STAY, json!({"downwardAPI": {"items": items}}));
    object["metadata"]["annotations"] = json!({"note": "first"});
    object["spec"]["containers"][0]["resources"] =
        json!({"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"cpu": "1250m", "memory": "128Mi"}});
    scope.start(&object).await?;
    let script = "for file in name labels annotations cpu-limit cpu-request memory-limit; do cat /v/$file; echo; done; stat -Lc %A /v/name";
    let expected = "one\napp=\"one\"\nnote=\"first\"\n2\n1\n134217728\n-r--------\n";
    let seen = scope.exec("one", script).await?;
    let seen: String = seen
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("kubernetes.io/"))
        .fold(String::new(), |text, line| text + line + "\n");
    same("files", seen.as_str(), expected)?;
    let patch = json!({"metadata": {"annotations": {"note": "second"}, "labels": {"more": "yes"}}});
    scope.pods().patch("one", Patch::Merge(patch)).await?;
    eventually("the files follow", FOLLOWS, async || {
        let files = scope.exec("one", "cat /v/labels /v/annotations").await?;
        contains("labels", &files, "more=\"yes\"")?;
        contains("annotations", &files, "note=\"second\"")
    })
    .await
}

async fn downward_files_have_defaults(scope: &Scope) -> Result<()> {
    let resource = |path: &str| json!({"path": path, "resourceFieldRef": {"containerName": "main", "resource": path}});
    let items = json!([resource("limits.cpu"), resource("limits.memory"), resource("requests.memory")]);
    let script = "cd /v; for file in *; do echo $file $(cat $file) $(stat -Lc %A $file); done";
    for (name, source) in [
        ("plain", json!({"downwardAPI": {"items": items, "defaultMode": 0o400}})),
        ("projected", json!({"projected": {"sources": [{"downwardAPI": {"items": items}}], "defaultMode": 0o400}})),
    ] {
        let mut object = with_volume(scope, name, script, source);
        object["spec"]["containers"][0]["resources"] = json!({"requests": {"memory": "32Mi"}});
        let log = scope.output(&object).await?;
        let [cpu, memory] = allocatable(scope, name).await?;
        let mode = "-r--------";
        let expected =
            format!("limits.cpu {cpu} {mode}\nlimits.memory {memory} {mode}\nrequests.memory 33554432 {mode}\n");
        same(name, log, expected)?;
    }
    Ok(())
}

async fn projections_are_one_volume(scope: &Scope) -> Result<()> {
    scope.config_maps().create(&config_map("map", "a", "m")).await?;
    scope.secrets().create(&secret("words", json!({"hidden": "s"}))).await?;
    let sources = json!({"projected": {"defaultMode": 0o440, "sources": [
        {"configMap": {"name": "map"}}, {"secret": {"name": "words"}},
        {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}}]}});
    let script = "cd /v; ls; echo $(cat key hidden name); stat -Lc %A key hidden; test -s token";
    let log = scope.output(&with_volume(scope, "one", script, sources)).await?;
    same("log", log.as_str(), "hidden\nkey\nname\ntoken\nmsone\n-r--r-----\n-r--r-----\n")
}
