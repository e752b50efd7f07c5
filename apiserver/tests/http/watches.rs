//! Watches: what they begin with, how selections change, how they end and are taken up again.

use serde_json::{Value, json};

use crate::client::{CONFIG_MAPS, Watch, config_map, delete, get, get_as, patch, post};
use crate::support::TestServer;

fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().expect("a resource version")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_changes_and_is_taken_up_again() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let made = post(client, CONFIG_MAPS, &config_map("a", &json!({}))).await.expect(201);
    let mut watch = Watch::open(client, &format!("{CONFIG_MAPS}?watch=1")).await;
    assert_eq!(watch.told().await, "ADDED a");
    patch(client, &format!("{CONFIG_MAPS}/a"), "merge", &json!({"data": {"x": "1"}})).await.expect(200);
    assert_eq!(watch.told().await, "MODIFIED a");
    delete(client, &format!("{CONFIG_MAPS}/a"), &Value::Null).await.expect(200);
    let (kind, last) = watch.next().await.unwrap();
    assert_eq!((kind.as_str(), &last["data"]["x"]), ("DELETED", &json!("1")));
    assert_ne!(version(&last), version(&made), "a deletion has a revision of its own");
    let mut resumed = Watch::open(client, &format!("{CONFIG_MAPS}?watch=1&resourceVersion={}", version(&made))).await;
    assert_eq!(resumed.told().await, "MODIFIED a");
    assert_eq!(resumed.told().await, "DELETED a");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selection_gains_and_loses_objects() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    post(client, CONFIG_MAPS, &config_map("a", &json!({}))).await.expect(201);
    let mut watch = Watch::open(client, &format!("{CONFIG_MAPS}?watch=1&labelSelector=on%3Dyes")).await;
    let label = async |value: Value| {
        let change = json!({"metadata": {"labels": {"on": value}}});
        patch(client, &format!("{CONFIG_MAPS}/a"), "merge", &change).await.expect(200);
    };
    for value in [json!("yes"), json!("no"), json!("yes"), Value::Null] {
        label(value).await;
    }
    let mut last = 0;
    for expected in ["ADDED", "DELETED", "ADDED", "DELETED"] {
        let (kind, object) = watch.next().await.unwrap();
        // What has left is shown as it was while it was selected, at the version of the change.
        assert_eq!((kind.as_str(), &object["metadata"]["labels"]["on"]), (expected, &json!("yes")));
        let now = version(&object).parse::<u64>().unwrap();
        assert!(now > last, "{expected} at {now} after {last}");
        last = now;
    }
}

/// An event cannot be shown as the list that was asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_in_the_shape_of_lists_ends() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    post(client, CONFIG_MAPS, &config_map("a", &json!({}))).await.expect(201);
    let shape = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let told = get_as(client, &format!("{CONFIG_MAPS}?watch=1"), shape).await.expect(200);
    assert_eq!(told, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn initial_events_end_with_a_marked_bookmark() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    post(client, CONFIG_MAPS, &config_map("a", &json!({}))).await.expect(201);
    let query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = Watch::open(client, &format!("{CONFIG_MAPS}?{query}")).await;
    assert_eq!(watch.told().await, "ADDED a");
    let (kind, object) = watch.next().await.unwrap();
    assert_eq!(kind, "BOOKMARK");
    assert_eq!(object["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!(object["kind"], "ConfigMap");
    post(client, CONFIG_MAPS, &config_map("b", &json!({}))).await.expect(201);
    assert_eq!(watch.told().await, "ADDED b");
    let wrong = get(client, &format!("{CONFIG_MAPS}?watch=1&sendInitialEvents=true")).await;
    wrong.refused(422, "Invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_when_its_time_is_over() {
    let server = TestServer::start(&[]).await;
    let mut watch = Watch::open(&server.client, &format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=1")).await;
    assert!(watch.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_compacted_history_is_refused() {
    let server = TestServer::start(&["--etcd-compaction-interval=100ms"]).await;
    let client = &server.client;
    let made = post(client, CONFIG_MAPS, &config_map("a", &json!({}))).await.expect(201);
    let mut last = made.clone();
    // Compaction keeps what was written since the round before, so it takes rounds until the first write is history.
    for round in 0..200 {
        let change = json!({"data": {"round": round.to_string()}});
        last = patch(client, &format!("{CONFIG_MAPS}/a"), "merge", &change).await.expect(200);
        let old = format!("{CONFIG_MAPS}?resourceVersion={}&resourceVersionMatch=Exact", version(&made));
        let reply = get(client, &old).await;
        if reply.code == 410 {
            reply.refused(410, "Expired");
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("nothing was compacted until {}", version(&last));
}
