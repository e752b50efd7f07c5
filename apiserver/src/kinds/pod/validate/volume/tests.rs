//! Volumes as pods name them, good and bad.

use serde_json::json;

use super::*;
use crate::kinds::pod::validate::told;

fn wrong(volumes: Value) -> Vec<String> {
    let pod = json!({"metadata": {"name": "p"}, "spec": {"volumes": volumes}});
    let context = Context::of_pod(&pod);
    let (_, errors) = all(&pod["spec"], &context, &Path::root());
    told(errors)
}

fn one(source: Value) -> Vec<String> {
    let mut volume = json!({"name": "v"});
    volume.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
    wrong(json!([volume])).into_iter().map(|error| error.replace("volumes[0]", "v")).collect()
}

#[test]
fn each_source_has_its_rules() {
    let nothing: Vec<&str> = Vec::new();
    let subdomain = names::dns_subdomain("A").remove(0);
    let by_name = format!("v.csi.name: Invalid value: \"A\": {subdomain}");
    for (source, want) in [
        (json!({"emptyDir": {"sizeLimit": "1Gi"}}), nothing.clone()),
        (json!({"gitRepo": {"repository": "r", "directory": "a"}}), nothing.clone()),
        (json!({"csi": {"driver": "a.b"}}), nothing.clone()),
        (json!({"image": {"reference": "a", "pullPolicy": "Never"}}), nothing.clone()),
        (json!({"azureFile": {"secretName": "a", "shareName": "b"}}), nothing.clone()),
        (
            json!({"gitRepo": {"directory": "/../a"}}),
            vec![
                "v.gitRepo.repository: Required value",
                "v.gitRepo.directory: Invalid value: \"/../a\": must be a relative path",
                "v.gitRepo.directory: Invalid value: \"/../a\": must not contain '..'",
            ],
        ),
        (json!({"gcePersistentDisk": {}}), vec!["v.persistentDisk.pdName: Required value"]),
        (
            json!({"nfs": {"server": "s", "path": "a"}}),
            vec!["v.nfs.path: Invalid value: \"a\": must be an absolute path"],
        ),
        (
            json!({"iscsi": {"targetPortal": "p", "iqn": "x"}}),
            vec!["v.iscsi.iqn: Invalid value: \"x\": must be valid format starting with iqn, eui, or naa"],
        ),
        (json!({"cinder": {"volumeID": "i", "secretRef": {}}}), vec!["v.cinder.secretRef.name: Required value"]),
        (json!({"csi": {"driver": "a", "nodePublishSecretRef": {"name": "A"}}}), vec![by_name.as_str()]),
        (
            json!({"image": {"pullPolicy": "x"}}),
            vec![
                "v.image.reference: Required value",
                "v.image.pullPolicy: Unsupported value: \"x\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
            ],
        ),
        (
            json!({"downwardAPI": {}, "cephfs": {"monitors": ["a"]}}),
            vec!["v.downwarAPI: Forbidden: may not specify more than 1 volume type"],
        ),
        (json!({}), vec!["v: Required value: must specify a volume type"]),
        (
            json!({"ephemeral": {"volumeClaimTemplate": {"metadata": {"name": "n"}, "spec": {
                "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}}}),
            vec!["v.ephemeral.volumeClaimTemplate.metadata.name: Forbidden: cannot be set"],
        ),
        (json!({"ephemeral": {}}), vec!["v.ephemeral.volumeClaimTemplate: Required value"]),
    ] {
        assert_eq!(one(source.clone()), want, "{source}");
    }
}

#[test]
fn projected_files_do_not_hide_each_other() {
    let file = |key: &str, path: &str| json!({"items": [{"key": key, "path": path}], "name": "n"});
    let projected = |sources: Value| json!({"projected": {"sources": sources}});
    let nothing: Vec<&str> = Vec::new();
    for (source, want) in [
        (projected(json!([{"secret": file("a", "a")}, {"configMap": file("a", "b")}])), nothing),
        (
            projected(json!([{"secret": file("a", "a")}, {"configMap": file("a", "a")}])),
            vec!["v.projected: Invalid value: \"n\": conflicting duplicate paths"],
        ),
        (
            projected(json!([{"secret": file("a", "a"), "configMap": file("a", "b")}])),
            vec!["v.projected.sources[0]: Forbidden: may not specify more than 1 volume type per source"],
        ),
        (
            projected(json!([{"serviceAccountToken": {"path": "..t", "expirationSeconds": 1}}])),
            vec![
                "v.projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes",
                "v.projected.path: Invalid value: \"..t\": must not start with '..'",
            ],
        ),
    ] {
        assert_eq!(one(source.clone()), want, "{source}");
    }
}

#[test]
fn claims_that_are_made_are_not_named() {
    let template = json!({"volumeClaimTemplate": {"spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}});
    let volumes = json!([{"name": "e", "ephemeral": template},
        {"name": "c", "persistentVolumeClaim": {"claimName": "p-e"}}]);
    let want = "volumes[1].persistentVolumeClaim.claimName: Invalid value: \"p-e\": must not reference a PVC that gets created for an ephemeral volume";
    assert_eq!(wrong(volumes), [want]);
}
