//! Priority and fairness over HTTP: seats, queues, refusals, and what is told of them.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::client::{CONFIG_MAPS, call, config_map, delete, get, patch, post};
use crate::limits::{answer, begin_write, with_users, write_whole};
use crate::support::TestServer;

const FLOW: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";

async fn uid_of(server: &TestServer, kind: &str, name: &str) -> String {
    let object = get(&server.client, &format!("{FLOW}/{kind}/{name}")).await.expect(200);
    object["metadata"]["uid"].as_str().expect("a uid").to_owned()
}

/// Reads until the answer is as it should be.
async fn until(server: &TestServer, path: &str, is_good: impl Fn(&Value) -> bool) -> Value {
    let good = async {
        loop {
            let found = get(&server.client, path).await.body;
            if is_good(&found) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), good).await.unwrap_or_else(|_| panic!("{path}"))
}

/// Sorts users' requests into a level of their own, and waits until that holds.
async fn sort_into(server: &TestServer, name: &str, users: &[&str], limited: Value) {
    let level = json!({"metadata": {"name": name}, "spec": {"type": "Limited", "limited": limited}});
    post(&server.client, &format!("{FLOW}/prioritylevelconfigurations"), &level).await.expect(201);
    let subjects: Vec<Value> = users.iter().map(|user| json!({"kind": "User", "user": {"name": user}})).collect();
    let rules = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}]);
    let schema = json!({"metadata": {"name": name}, "spec": {
        "priorityLevelConfiguration": {"name": name}, "matchingPrecedence": 5, "distinguisherMethod": {"type": "ByUser"},
        "rules": [{"subjects": subjects, "resourceRules": rules}],
    }});
    post(&server.client, &format!("{FLOW}/flowschemas"), &schema).await.expect(201);
    let path = format!("{FLOW}/flowschemas/{name}");
    until(server, &path, |schema| schema["status"]["conditions"][0]["reason"] == "Found").await;
}

/// How many requests of a schema there are, by a family of the metrics.
fn gauge(metrics: &Value, family: &str, schema: &str) -> usize {
    let series = format!("apiserver_flowcontrol_{family}{{flow_schema=\"{schema}\"");
    let line = metrics.as_str().unwrap_or_default().lines().find(|line| line.starts_with(&series));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

async fn send(stream: &mut TlsStream<TcpStream>, body: &str) {
    stream.write_all(body.as_bytes()).await.expect("to send");
    stream.flush().await.expect("to send");
}

/// One user asks for many writes at once that do not end; another one's write comes after all of them, and is done long
/// before they are.
#[tokio::test(flavor = "multi_thread")]
async fn one_bad_client_does_not_starve_the_others() {
    const FLOOD: usize = 40;
    let flags = ["--max-mutating-requests-inflight=1", "--max-requests-inflight=1", "--request-timeout=60s"];
    let (server, _folder) = with_users(&flags).await;
    // Each user has one queue of the level's many.
    let queuing = json!({"queues": 64, "handSize": 1, "queueLengthLimit": 50});
    let response = json!({"type": "Queue", "queuing": queuing});
    sort_into(&server, "shared", &["one", "two"], json!({"nominalConcurrencyShares": 30, "limitResponse": response}))
        .await;
    let body = |number: usize| config_map(&format!("slow{number:02}"), &json!({})).to_string();
    let length = body(0).len();
    let mut flood = Vec::new();
    let waiting = |text: &Value| gauge(text, "current_inqueue_requests", "shared");
    let running = |text: &Value| gauge(text, "current_executing_requests", "shared");
    for number in 1..=FLOOD {
        flood.push(begin_write(&server, "one-token", length).await);
        // One after the other, so that their turns come in the order of their numbers.
        until(&server, "/metrics", |text| waiting(text) + running(text) == number).await;
    }
    // Idle levels may have lent it a seat or two.
    until(&server, "/metrics", |text| waiting(text) > FLOOD - 5).await;
    let mut other = Box::pin(write_whole(&server, "two-token", "quick"));
    let mut ended = 0;
    let text = loop {
        // Long enough for a request that runs to end, and for the next one to begin.
        if let Ok(text) = tokio::time::timeout(Duration::from_millis(300), &mut other).await {
            break text;
        }
        assert!(ended < FLOOD, "it is not done after all of them");
        send(&mut flood[ended], &body(ended)).await;
        ended += 1;
    };
    assert!(text.starts_with("HTTP/1.1 201"), "{text}");
    assert!(ended < FLOOD / 4, "{ended} of {FLOOD} were done before it");
    for (number, stream) in flood.iter_mut().enumerate().skip(ended) {
        send(stream, &body(number)).await;
    }
    for stream in &mut flood {
        let text = answer(stream).await;
        assert!(text.starts_with("HTTP/1.1 201"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_say_how_their_request_was_sorted() {
    let (server, _folder) = with_users(&[]).await;
    until(&server, &format!("{FLOW}/flowschemas/global-default"), |schema| {
        schema["status"]["conditions"][0]["status"] == "False"
    })
    .await;
    // The insecure port's client is a master.
    let exempt = get(&server.client, CONFIG_MAPS).await;
    let header = |name: &str| exempt.headers[name].to_str().expect("text").to_owned();
    assert_eq!(header("x-kubernetes-pf-flowschema-uid"), uid_of(&server, "flowschemas", "exempt").await);
    let level = uid_of(&server, "prioritylevelconfigurations", "exempt").await;
    assert_eq!(header("x-kubernetes-pf-prioritylevel-uid"), level);
    let text = write_whole(&server, "one-token", "sorted").await;
    let schema = uid_of(&server, "flowschemas", "global-default").await;
    assert!(text.contains(&format!("x-kubernetes-pf-flowschema-uid: {schema}")), "{text}");
    // A failure tells it too.
    let missing = get(&server.client, &format!("{CONFIG_MAPS}/none")).await;
    assert!(missing.code == 404 && missing.headers.contains_key("x-kubernetes-pf-flowschema-uid"));
    let metrics = get(&server.client, "/metrics").await.expect(200);
    let metrics = metrics.as_str().expect("text");
    // Of gauges only that they are there: they are the process's, and other tests' servers set them too.
    for series in [
        "apiserver_flowcontrol_dispatched_requests_total{flow_schema=\"exempt\",priority_level=\"exempt\"}",
        "apiserver_flowcontrol_nominal_limit_seats{priority_level=\"workload-low\"}",
        "apiserver_flowcontrol_current_limit_seats{priority_level=\"system\"}",
        "apiserver_flowcontrol_request_execution_seconds_count{flow_schema=\"global-default\",priority_level=\"global-default\",type=\"regular\"}",
        "apiserver_flowcontrol_request_wait_duration_seconds_bucket{execute=\"true\",flow_schema=\"global-default\"",
    ] {
        assert!(metrics.lines().any(|line| line.starts_with(series)), "no {series}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_that_rejects_answers_429() {
    let (server, _folder) = with_users(&["--max-mutating-requests-inflight=1", "--max-requests-inflight=1"]).await;
    let limited =
        json!({"nominalConcurrencyShares": 0, "borrowingLimitPercent": 0, "limitResponse": {"type": "Reject"}});
    sort_into(&server, "tight", &["one"], limited).await;
    // One that is wider than the level runs when it is alone; the next finds no seat.
    let _slow = begin_write(&server, "one-token", 1000).await;
    let refused = async {
        loop {
            let text = write_whole(&server, "one-token", "x").await;
            if text.starts_with("HTTP/1.1 429") {
                return text;
            }
        }
    };
    let text = tokio::time::timeout(Duration::from_secs(20), refused).await.expect("it is refused");
    assert!(text.contains("retry-after: "), "{text}");
    assert!(text.ends_with("Too many requests, please try again later.\n"), "{text}");
    let uid = uid_of(&server, "flowschemas", "tight").await;
    assert!(text.contains(&format!("x-kubernetes-pf-flowschema-uid: {uid}")), "{text}");
    assert!(write_whole(&server, "two-token", "y").await.starts_with("HTTP/1.1 201"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_is_told_that_its_level_is_missing() {
    let server = TestServer::start(&[]).await;
    let schema = json!({"metadata": {"name": "lost"}, "spec": {
    "priorityLevelConfiguration": {"name": "later"}, "matchingPrecedence": 50, "rules": [{
        "subjects": [{"kind": "User", "user": {"name": "one"}}],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    }]}});
    post(&server.client, &format!("{FLOW}/flowschemas"), &schema).await.expect(201);
    let path = format!("{FLOW}/flowschemas/lost");
    let lost = until(&server, &path, |schema| schema["status"]["conditions"][0]["status"] == "True").await;
    let condition = &lost["status"]["conditions"][0];
    assert_eq!((&condition["type"], &condition["reason"]), (&json!("Dangling"), &json!("NotFound")));
    assert_eq!(
        condition["message"],
        "This FlowSchema references the PriorityLevelConfiguration object named \"later\" but there is no such object"
    );
    let managers = lost["metadata"]["managedFields"].as_array().expect("managers");
    let own = managers.iter().find(|own| own["manager"] == "api-priority-and-fairness-config-consumer-v1");
    let own = own.expect("the server's own manager");
    assert_eq!((&own["operation"], &own["subresource"]), (&json!("Apply"), &json!("status")));
    let level = json!({"metadata": {"name": "later"}, "spec": {"type": "Limited", "limited": {
        "limitResponse": {"type": "Reject"}}}});
    post(&server.client, &format!("{FLOW}/prioritylevelconfigurations"), &level).await.expect(201);
    until(&server, &path, |schema| schema["status"]["conditions"][0]["status"] == "False").await;
    delete(&server.client, &format!("{FLOW}/prioritylevelconfigurations/later"), &Value::Null).await.expect(200);
    until(&server, &path, |schema| schema["status"]["conditions"][0]["status"] == "True").await;
    // What is no schema's own may be changed without a word of the level.
    patch(&server.client, &path, "merge", &json!({"spec": {"matchingPrecedence": 60}})).await.expect(200);
    call(&server.client, Method::DELETE, &path, &[], "").await.expect(200);
}

/// The first two words of each line of a table that people read while the server is busy.
async fn dumped(server: &TestServer, name: &str) -> Vec<[String; 2]> {
    let text = get(&server.client, &format!("/debug/api_priority_and_fairness/{name}")).await.expect(200);
    let lines = text.as_str().expect("text").lines();
    let words = |line: &str| {
        let mut words = line.split(',').map(|word| word.trim().to_owned());
        [words.next().unwrap_or_default(), words.next().unwrap_or_default()]
    };
    lines.map(words).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_hand_is_told_to_people() {
    let server = TestServer::start(&[]).await;
    let levels = dumped(&server, "dump_priority_levels").await;
    assert_eq!(levels[0], ["PriorityLevelName", "ActiveQueues"]);
    let names: Vec<&str> = levels[1..].iter().map(|[name, _]| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "catch-all",
            "exempt",
            "global-default",
            "leader-election",
            "node-high",
            "system",
            "workload-high",
            "workload-low"
        ]
    );
    let queues = dumped(&server, "dump_queues").await;
    let of = |level: &str| queues.iter().filter(|[name, _]| name == level).count();
    assert_eq!((of("global-default"), of("leader-election"), of("exempt")), (128, 16, 0));
    // Who asks is himself at work.
    let requests = dumped(&server, "dump_requests?includeRequestDetails=1").await;
    assert!(requests[1..].contains(&["exempt".to_owned(), "exempt".to_owned()]), "{requests:?}");
    get(&server.client, "/debug/api_priority_and_fairness/none").await.nowhere();
    let without = TestServer::start(&["--enable-priority-and-fairness=false"]).await;
    get(&without.client, "/debug/api_priority_and_fairness/dump_queues").await.nowhere();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_without_its_object_is_quiescing_until_it_is_idle() {
    let (server, _folder) = with_users(&[]).await;
    sort_into(&server, "short", &["one"], json!({"limitResponse": {"type": "Reject"}})).await;
    let body = config_map("slow", &json!({})).to_string();
    let mut slow = begin_write(&server, "one-token", body.len()).await;
    let table = "/debug/api_priority_and_fairness/dump_priority_levels";
    let cells = |text: &Value| -> Option<Vec<String>> {
        let line = text.as_str()?.lines().find(|line| line.starts_with("short,"))?;
        Some(line.split(',').map(|cell| cell.trim().to_owned()).collect())
    };
    let is = |idle: &str, quiescing: &str, running: &str| [idle, quiescing, "0", running].map(str::to_owned);
    until(&server, table, |text| cells(text).is_some_and(|cells| cells[2..6] == is("false", "false", "1"))).await;
    delete(&server.client, &format!("{FLOW}/prioritylevelconfigurations/short"), &Value::Null).await.expect(200);
    until(&server, table, |text| cells(text).is_some_and(|cells| cells[2..6] == is("false", "true", "1"))).await;
    send(&mut slow, &body).await;
    assert!(answer(&mut slow).await.starts_with("HTTP/1.1 201"));
    until(&server, table, |text| cells(text).is_none()).await;
}
