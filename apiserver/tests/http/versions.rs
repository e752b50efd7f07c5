//! What a resource version asks of a get, a list and a watch (Kubernetes API concept: "Resource versions").

use std::sync::Arc;
use std::time::Duration;

use component::shutdown::Shutdown;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::client::{CONFIG_MAPS, Reply, Watch, config_map, delete, get, post};
use crate::in_process;
use crate::support::TestServer;

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).expect("a resource version")
}

fn count(list: &Value) -> usize {
    list["items"].as_array().expect("items").len()
}

/// A server with `a`, and then `b` made and deleted; the versions of those three steps.
async fn history(server: &TestServer) -> [u64; 3] {
    let client = &server.client;
    let one = post(client, CONFIG_MAPS, &config_map("a", &json!({}))).await.expect(201);
    let two = post(client, CONFIG_MAPS, &config_map("b", &json!({}))).await.expect(201);
    delete(client, &format!("{CONFIG_MAPS}/b"), &Value::Null).await.expect(200);
    let three = get(client, CONFIG_MAPS).await.expect(200);
    [version(&one), version(&two), version(&three)]
}

fn is_too_large(reply: &Reply, asked: u64) {
    reply.refused(504, "Timeout");
    tells_too_large(&reply.body, asked);
    assert_eq!(reply.headers["retry-after"], "1");
}

fn tells_too_large(status: &Value, asked: u64) {
    let message = status["message"].as_str().expect("a message");
    assert!(message.starts_with(&format!("Timeout: Too large resource version: {asked}, current: ")), "{message}");
    let details = &status["details"];
    assert_eq!(details["causes"][0]["reason"], "ResourceVersionTooLarge");
    assert_eq!(details["causes"][0]["message"], "Too large resource version");
    assert_eq!(details["retryAfterSeconds"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_as_old_as_was_asked() {
    let server = TestServer::start(&[]).await;
    let [one, two, three] = history(&server).await;
    let at = async |query: String| get(&server.client, &format!("{CONFIG_MAPS}?{query}")).await;
    let table = [
        (String::new(), 1),
        ("resourceVersion=0".to_owned(), 1),
        ("resourceVersion=0&resourceVersionMatch=NotOlderThan".to_owned(), 1),
        (format!("resourceVersion={one}"), 1),
        (format!("resourceVersion={one}&resourceVersionMatch=NotOlderThan"), 1),
        (format!("resourceVersion={two}&resourceVersionMatch=Exact"), 2),
        (format!("resourceVersion={two}&resourceVersionMatch=Exact&limit=1"), 1),
        // Cut by a limit, a version means exactly that one.
        (format!("resourceVersion={two}&limit=5"), 2),
        (format!("resourceVersion={two}&resourceVersionMatch=NotOlderThan&limit=5"), 1),
    ];
    for (query, expected) in table {
        let list = at(query.clone()).await.expect(200);
        assert_eq!(count(&list), expected, "{query}");
        let is_exact = query.contains("Exact") || query.ends_with("&limit=5") && !query.contains("NotOlder");
        let wanted = if is_exact { two } else { three };
        assert!(version(&list) >= wanted && (!is_exact || version(&list) == two), "{query}: {}", version(&list));
    }
}

/// On a server whose time passes only while nobody has anything to do.
#[tokio::test(start_paused = true)]
async fn a_version_to_come_is_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Arc::new(in_process::store(&folder).await);
    let server = in_process::start(&folder, store, Shutdown::new());
    let client = kube::Client::new(server.service(), "default");
    // The server makes it, too, and one of the two is first.
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}});
    post(&client, "/api/v1/namespaces", &namespace).await;
    for (name, asked) in [
        ("a", "?resourceVersion="),
        ("b", "?resourceVersionMatch=NotOlderThan&resourceVersion="),
        ("c", "?resourceVersionMatch=Exact&resourceVersion="),
        ("d", "?limit=1&resourceVersion="),
        ("e", "/a?resourceVersion="),
    ] {
        let now = version(&get(&client, CONFIG_MAPS).await.expect(200));
        let path = |version: u64| format!("{CONFIG_MAPS}{asked}{version}");
        let (next, object) = (path(now + 1), config_map(name, &json!({})));
        let (waited, made) = tokio::join!(get(&client, &next), post(&client, CONFIG_MAPS, &object));
        assert_eq!((waited.code, made.code), (200, 201), "{next}: {}", waited.body);
        let begun = Instant::now();
        is_too_large(&get(&client, &path(now + 1000)).await, now + 1000);
        assert!(begun.elapsed() >= Duration::from_secs(3), "{next}: {:?}", begun.elapsed());
    }
    // A watch has begun when it is told so.
    let query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=1000";
    let told = get(&client, &format!("{CONFIG_MAPS}?{query}")).await.expect(200);
    assert_eq!((&told["type"], &told["object"]["code"]), (&json!("ERROR"), &json!(504)));
    tells_too_large(&told["object"], 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn senseless_versions_are_refused_in_upstreams_words() {
    let server = TestServer::start(&[]).await;
    let invalid = [
        ("resourceVersionMatch=Exact", "resourceVersionMatch is forbidden unless resourceVersion is provided"),
        ("resourceVersion=0&resourceVersionMatch=Exact", "is forbidden for resourceVersion \"0\""),
        ("resourceVersion=1&resourceVersionMatch=Other", "supported values: \"Exact\", \"NotOlderThan\", \"\""),
        ("resourceVersion=1&continue=x&resourceVersionMatch=Exact", "is forbidden when continue is provided"),
        ("sendInitialEvents=true", "sendInitialEvents is forbidden for list"),
        ("watch=1&resourceVersionMatch=NotOlderThan", "is forbidden for watch unless sendInitialEvents is provided"),
        ("watch=1&sendInitialEvents=true", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
        ("watch=1&sendInitialEvents=true&resourceVersionMatch=Exact", "supported values: \"NotOlderThan\""),
    ];
    for (query, words) in invalid {
        let reply = get(&server.client, &format!("{CONFIG_MAPS}?{query}")).await;
        reply.refused(422, "Invalid");
        let message = reply.body["message"].as_str().expect("a message");
        assert!(
            message.starts_with("ListOptions.meta.k8s.io \"\" is invalid: ") && message.contains(words),
            "{message}"
        );
    }
    let number = "strconv.ParseUint: parsing \"x\": invalid syntax";
    let bad = [
        ("resourceVersion=x", format!("invalid resource version: resourceVersion: Invalid value: \"x\": {number}")),
        ("continue=!", "invalid continue token: continue key is not valid: ".to_owned()),
    ];
    for (query, words) in bad {
        let reply = get(&server.client, &format!("{CONFIG_MAPS}?{query}")).await;
        reply.refused(400, "BadRequest");
        let message = reply.body["message"].as_str().expect("a message");
        assert!(message.starts_with(&words), "{message}");
    }
    let made = post(&server.client, CONFIG_MAPS, &config_map("a", &json!({}))).await.expect(201);
    post(&server.client, CONFIG_MAPS, &config_map("b", &json!({}))).await.expect(201);
    let page = get(&server.client, &format!("{CONFIG_MAPS}?limit=1")).await.expect(200);
    let token = page["metadata"]["continue"].as_str().expect("a token");
    let both = format!("{CONFIG_MAPS}?limit=1&continue={token}&resourceVersion={}", version(&made));
    let reply = get(&server.client, &both).await;
    reply.refused(400, "BadRequest");
    assert_eq!(reply.body["message"], "specifying resource version is not allowed when using continue");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_is_as_new_as_was_asked() {
    let server = TestServer::start(&[]).await;
    let [one, .., three] = history(&server).await;
    let of = |version: u64| format!("{CONFIG_MAPS}/a?resourceVersion={version}");
    for version in [0, one, three] {
        get(&server.client, &of(version)).await.expect(200);
    }
    assert_eq!(get(&server.client, &format!("{CONFIG_MAPS}/a?resourceVersion=x")).await.code, 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_begin_where_they_are_told() {
    let server = TestServer::start(&[]).await;
    let [one, two, _] = history(&server).await;
    let watch = async |query: String| Watch::open(&server.client, &format!("{CONFIG_MAPS}?watch=1&{query}")).await;
    for query in ["resourceVersion=", "resourceVersion=0"] {
        assert_eq!(watch(query.to_owned()).await.told().await, "ADDED a", "{query}");
    }
    let mut whole = watch(format!("resourceVersion={one}")).await;
    assert_eq!([whole.told().await, whole.told().await], ["ADDED b", "DELETED b"]);
    assert_eq!(watch(format!("resourceVersion={two}")).await.told().await, "DELETED b");
    // A client of before `sendInitialEvents` that takes bookmarks is told when it has seen what there was.
    let mut old = watch("allowWatchBookmarks=true".to_owned()).await;
    assert_eq!(old.told().await, "ADDED a");
    let (kind, bookmark) = old.next().await.expect("a bookmark");
    assert_eq!(kind, "BOOKMARK");
    assert_eq!(bookmark["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    // Initial events can be left out, and can be asked for from a version on.
    let later = format!("sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion={two}");
    assert_eq!(watch(later).await.told().await, "ADDED a");
    let mut none = watch("sendInitialEvents=false&resourceVersionMatch=NotOlderThan&resourceVersion=".to_owned()).await;
    post(&server.client, CONFIG_MAPS, &config_map("c", &json!({}))).await.expect(201);
    assert_eq!(none.told().await, "ADDED c");
    // The old way to watch one object.
    let mut single = Watch::open(&server.client, "/api/v1/watch/namespaces/default/configmaps/a").await;
    assert_eq!(single.told().await, "ADDED a");
    delete(&server.client, &format!("{CONFIG_MAPS}/c"), &Value::Null).await.expect(200);
    delete(&server.client, &format!("{CONFIG_MAPS}/a"), &Value::Null).await.expect(200);
    assert_eq!(single.told().await, "DELETED a");
}

/// A watch that is about to end says how far it is, also when nothing of its own has changed.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_is_told_how_far_it_is_before_it_ends() {
    let server = TestServer::start(&[]).await;
    let [.., three] = history(&server).await;
    let account = json!({"metadata": {"name": "elsewhere"}});
    let made = post(&server.client, "/api/v1/namespaces/default/serviceaccounts", &account).await.expect(201);
    // Consistent: what serves the watch has come to the account.
    get(&server.client, CONFIG_MAPS).await.expect(200);
    let query = format!("watch=1&allowWatchBookmarks=true&timeoutSeconds=3&resourceVersion={three}");
    let mut watch = Watch::open(&server.client, &format!("{CONFIG_MAPS}?{query}")).await;
    let (kind, bookmark) = watch.next().await.expect("a bookmark");
    assert_eq!((kind.as_str(), &bookmark["kind"]), ("BOOKMARK", &json!("ConfigMap")));
    assert!(version(&bookmark) >= version(&made));
    assert!(bookmark["metadata"].get("annotations").is_none());
    assert!(watch.next().await.is_none(), "then it ends");
}

/// A list's next page when its revision is compacted: 410 with a token that goes on at the newest one.
#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_comes_with_a_fresh_one() {
    let server = TestServer::start(&["--etcd-compaction-interval=100ms"]).await;
    for name in ["a", "b", "c", "d"] {
        post(&server.client, CONFIG_MAPS, &config_map(name, &json!({}))).await.expect(201);
    }
    let first = get(&server.client, &format!("{CONFIG_MAPS}?limit=2")).await.expect(200);
    let token = first["metadata"]["continue"].as_str().expect("a token").to_owned();
    // The list stays what it was, and the server keeps it besides: it expires all the same.
    let expired = async {
        loop {
            let other = json!({"metadata": {"generateName": "e"}});
            post(&server.client, "/api/v1/namespaces/default/secrets", &other).await.expect(201);
            let page = get(&server.client, &format!("{CONFIG_MAPS}?limit=2&continue={token}")).await;
            if page.code != 200 {
                return page;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let expired = tokio::time::timeout(std::time::Duration::from_secs(20), expired).await.expect("it expires");
    expired.refused(410, "Expired");
    assert!(expired.body["message"].as_str().is_some_and(|words| words.contains("inconsistent list")));
    let fresh = expired.body["metadata"]["continue"].as_str().expect("a fresh token").to_owned();
    let both = async {
        loop {
            let page = get(&server.client, &format!("{CONFIG_MAPS}?limit=1&continue={fresh}")).await.expect(200);
            assert_eq!(page["items"][0]["metadata"]["name"], "c");
            assert!(version(&page) > version(&first));
            let token = page["metadata"]["continue"].as_str().expect("a token");
            let last = get(&server.client, &format!("{CONFIG_MAPS}?limit=500&continue={token}")).await;
            // The page's own revision may have been compacted since.
            if last.code != 410 {
                return (page, last.expect(200));
            }
        }
    };
    let (page, last) = tokio::time::timeout(std::time::Duration::from_secs(20), both).await.expect("the last page");
    assert_eq!((last["items"][0]["metadata"]["name"].as_str(), version(&last)), (Some("d"), version(&page)));
    assert_eq!(page["metadata"]["remainingItemCount"], count(&last));
}
