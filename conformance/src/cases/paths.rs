//! Parts of volumes, by `subPath` and `subPathExpr`.

use anyhow::Result;
use serde_json::{Value, json};

use super::volumes::{secret, with_volume};
use super::{STAY, config_map};
use crate::catalogue::{Area, Group, case};
use crate::cluster::{LATER, Patch, Scope};
use crate::expect::{equal, same};

pub(super) const GROUP: Group = Group {
    name: "paths",
    area: Area::Volumes,
    capability: "subPath and subPathExpr: parts of volumes, by names that variables make",
    cases: &[
        case!(sub_paths_mount_a_part, "subPath mounts a file or folder of a volume, over an existing file too"),
        case!(every_source_has_parts, "subPath mounts a file of a Secret, of the downward API, and of a projection"),
        case!(expressions_use_variables, "subPathExpr expands variables"),
        case!(
            expressions_do_not_leave,
            "an expression that would leave the volume, or is absolute, stops the container"
        ),
        case!(expressions_are_mended, "an expression that cannot be expanded is, once its annotation is there"),
    ],
};

async fn sub_paths_mount_a_part(scope: &Scope) -> Result<()> {
    scope.config_maps().create(&config_map("map", "a", "part\n")).await?;
    let script = "cat /file /etc/resolv.conf; ls -d /v";
    let mut object = with_volume(scope, "one", script, json!({"configMap": {"name": "map"}}));
    if let Some(all) = object["spec"]["volumes"].as_array_mut() {
        all.push(json!({"name": "w", "emptyDir": {}}));
    }
    object["spec"]["containers"][0]["volumeMounts"] = json!([
        {"name": "v", "mountPath": "/file", "subPath": "key"},
        {"name": "v", "mountPath": "/etc/resolv.conf", "subPath": "key"},
        {"name": "w", "mountPath": "/v", "subPath": "made/for/it"}]);
    same("log", scope.output(&object).await?.as_str(), "part\npart\n/v\n")
}

async fn every_source_has_parts(scope: &Scope) -> Result<()> {
    scope.config_maps().create(&config_map("map", "a", "mapped\n")).await?;
    scope.secrets().create(&secret("words", json!({"key": "hidden\n"}))).await?;
    let mut object = with_volume(scope, "one", "cat /secret /downward; echo; cat /projected", json!({}));
    let name = json!([{"path": "down/name", "fieldRef": {"fieldPath": "metadata.name"}}]);
    object["spec"]["volumes"] = json!([{"name": "s", "secret": {"secretName": "words"}},
        {"name": "d", "downwardAPI": {"items": name}},
        {"name": "p", "projected": {"sources": [{"configMap": {"name": "map", "items": [{"key": "key", "path": "deep/key"}]}}]}}]);
    object["spec"]["containers"][0]["volumeMounts"] = json!([
        {"name": "s", "mountPath": "/secret", "subPath": "key"},
        {"name": "d", "mountPath": "/downward", "subPath": "down/name"},
        {"name": "p", "mountPath": "/projected", "subPath": "deep/key"}]);
    same("log", scope.output(&object).await?.as_str(), "hidden\none\nmapped\n")
}

/// A pod with an empty volume at `/whole`, and with what an expression makes of it at `/v`.
fn with_expression(scope: &Scope, name: &str, script: &str, variable: Value, expression: &str) -> Value {
    let mut object = with_volume(scope, name, script, json!({"emptyDir": {}}));
    object["spec"]["containers"][0]["env"] = json!([variable]);
    object["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "v", "mountPath": "/v", "subPathExpr": expression}, {"name": "v", "mountPath": "/whole"}]);
    object
}

async fn expressions_use_variables(scope: &Scope) -> Result<()> {
    let name = json!({"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}});
    let script = "echo x >/v/file; cat /whole/one-dir/file";
    let object = with_expression(scope, "one", script, name, "$(NAME)-dir");
    same("log", scope.output(&object).await?.as_str(), "x\n")
}

fn is_refused(pod: &Value) -> bool {
    pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CreateContainerConfigError"
}

async fn expressions_do_not_leave(scope: &Scope) -> Result<()> {
    for (name, value) in [("out", "../out"), ("up", ".."), ("absolute", "/tmp")] {
        let object = with_expression(scope, name, STAY, json!({"name": "OUT", "value": value}), "$(OUT)");
        scope.create_pod(&object).await?;
        scope.pods().until_within(LATER, name, "CreateContainerConfigError", is_refused).await?;
    }
    Ok(())
}

async fn expressions_are_mended(scope: &Scope) -> Result<()> {
    let note = json!({"name": "NOTE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['note']"}}});
    let mut object = with_expression(scope, "one", STAY, note, "$(NOTE)/$(NAME)");
    if let Some(all) = object["spec"]["containers"][0]["env"].as_array_mut() {
        all.push(json!({"name": "NAME", "value": "foo"}));
    }
    scope.create_pod(&object).await?;
    let waiting = scope.pods().until_within(LATER, "one", "CreateContainerConfigError", is_refused).await?;
    equal("phase", &waiting["status"]["phase"], &json!("Pending"))?;
    let annotate = |note: &str| Patch::Merge(json!({"metadata": {"annotations": {"note": note}}}));
    scope.pods().patch("one", annotate("first")).await?;
    scope.ready("one").await?;
    scope.pods().patch("one", annotate("second")).await?;
    let script = "echo x >/v/file; cat /whole/first/foo/file; ls /whole";
    same("where it writes", scope.exec("one", script).await?.as_str(), "x\nfirst\n")?;
    equal("restarts", &scope.pods().get("one").await?["status"]["containerStatuses"][0]["restartCount"], &json!(0))
}
