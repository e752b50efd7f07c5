//! OwnerReferencesPermissionEnforcement: who gives an object owners may delete it, or hold up the owner.

use serde_json::json;

use crate::client::{CONFIG_MAPS, config_map, get, patch, post};
use crate::rights::grant;
use crate::secure::Secure;

#[tokio::test(flavor = "multi_thread")]
async fn owners_are_given_by_who_may_end_things() {
    let plugin = "--enable-admission-plugins=OwnerReferencesPermissionEnforcement";
    let server = Secure::start(&["--authorization-mode=Node,RBAC", plugin]).await;
    let (master, bob) = (server.master(), server.client("bob", &[]));
    let rule = json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "create", "patch"]});
    grant(&master, "patches", "bob", json!([rule])).await;
    let owner = post(&master, CONFIG_MAPS, &config_map("owner", &json!({}))).await.expect(201);
    post(&master, CONFIG_MAPS, &config_map("a", &json!({}))).await.expect(201);
    let held = async {
        while get(&bob, &format!("{CONFIG_MAPS}/a")).await.code != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), held).await.expect("the right is held");
    let owned = |blocks: bool| {
        let reference = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner",
            "uid": owner["metadata"]["uid"], "blockOwnerDeletion": blocks});
        json!({"metadata": {"ownerReferences": [reference]}})
    };
    let a = format!("{CONFIG_MAPS}/a");
    let refused = patch(&bob, &a, "merge", &owned(false)).await;
    refused.refused(403, "Forbidden");
    let told = refused.body["message"].as_str().unwrap();
    assert!(told.contains("cannot set an ownerRef on a resource you can't delete"), "{told}");
    patch(&bob, &a, "merge", &json!({"data": {"x": "y"}})).await.expect(200);
    let new = |name: &str, blocks: bool| {
        let mut new = owned(blocks);
        new["metadata"]["name"] = json!(name);
        new
    };
    post(&bob, CONFIG_MAPS, &new("b", false)).await.expect(201);
    let refused = post(&bob, CONFIG_MAPS, &new("c", true)).await;
    refused.refused(403, "Forbidden");
    let told = refused.body["message"].as_str().unwrap();
    assert!(told.contains("refers to a resource you can't set finalizers on"), "{told}");
    patch(&master, &a, "merge", &owned(true)).await.expect(200);
}
