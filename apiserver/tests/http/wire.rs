//! Encodings of answers and watches: protobuf, WebSocket, views of each, and compression.

use std::io::Read;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request};
use http_body_util::BodyExt;
use kube::client::Body;
use machinery::schema;
use machinery::wire;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::client::{CONFIG_MAPS, Watch, call, config_map, delete, get, get_as, patch, post};
use crate::support::TestServer;

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const SOON: Duration = Duration::from_secs(20);
/// How long a server that ends waits for what does not end.
const GRACE: Duration = Duration::from_secs(10);

/// Headers and body as they came.
async fn raw(server: &TestServer, path: &str, headers: &[(&str, &str)]) -> (http::response::Parts, Bytes) {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = server.client.send(request.body(Body::empty()).expect("a request")).await.expect("an answer");
    let (parts, body) = answer.into_parts();
    (parts, body.collect().await.expect("a body").to_bytes())
}

fn decoded(schema: &str, envelope: &[u8]) -> Value {
    let schema = schema::message(schema).expect("a schema");
    wire::decode(schema, envelope).expect("an object")
}

const CONFIG_MAP: &str = "io.k8s.api.core.v1.ConfigMap";
const PARTIAL: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.PartialObjectMetadata";
const PARTIAL_LIST: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.PartialObjectMetadataList";

#[tokio::test(flavor = "multi_thread")]
async fn objects_and_views_are_told_in_protobuf() {
    let server = TestServer::start(&[]).await;
    let schema = schema::message(CONFIG_MAP).expect("a schema");
    let mut object = config_map("a", &json!({"k": "v"}));
    schema::normalize(schema, &mut object);
    let body = wire::encode(schema, &object);
    let made = call(&server.client, Method::POST, CONFIG_MAPS, &[("content-type", PROTOBUF)], body).await;
    made.expect(201);
    let (parts, bytes) = raw(&server, &format!("{CONFIG_MAPS}/a"), &[("accept", PROTOBUF)]).await;
    assert_eq!(parts.headers["content-type"], PROTOBUF);
    assert_eq!(decoded(CONFIG_MAP, &bytes)["data"], json!({"k": "v"}));
    let view = |kind: &str| format!("{PROTOBUF};as={kind};g=meta.k8s.io;v=v1");
    let (_, bytes) = raw(&server, &format!("{CONFIG_MAPS}/a"), &[("accept", &view("PartialObjectMetadata"))]).await;
    let partial = decoded(PARTIAL, &bytes);
    assert_eq!((&partial["kind"], &partial["metadata"]["name"]), (&json!("PartialObjectMetadata"), &json!("a")));
    let (_, bytes) = raw(&server, CONFIG_MAPS, &[("accept", &view("PartialObjectMetadataList"))]).await;
    let list = decoded(PARTIAL_LIST, &bytes);
    assert_eq!(
        (&list["kind"], &list["items"][0]["metadata"]["name"]),
        (&json!("PartialObjectMetadataList"), &json!("a"))
    );
    // There is no protobuf of tables: the next clause of the header is served.
    let both = format!("{},application/json", view("Table"));
    assert_eq!(get_as(&server.client, CONFIG_MAPS, &both).await.expect(200)["kind"], "ConfigMapList");
    get_as(&server.client, CONFIG_MAPS, &view("Table")).await.refused(406, "NotAcceptable");
    get_as(&server.client, &format!("{CONFIG_MAPS}?watch=1"), "application/yaml").await.expect(406);
}

/// What is written for programs ends with a newline, as Go's encoder writes it, and has no other; what is written for
/// people has none at its end.
#[tokio::test(flavor = "multi_thread")]
async fn json_ends_with_a_newline() {
    let server = TestServer::start(&[]).await;
    let spaces = "/api/v1/namespaces";
    let table = "application/json;as=Table;g=meta.k8s.io;v=v1";
    let one = format!("{spaces}/default");
    let viewed = [one.as_str(), spaces].into_iter().flat_map(|path| [(path, "application/json"), (path, table)]);
    let documents = ["/api/v1", "/apis"].map(|path| (path, "application/json"));
    for (path, accept) in viewed.chain(documents) {
        let (_, text) = raw(&server, path, &[("accept", accept)]).await;
        assert_eq!(newlines(&text), [text.len() - 1], "{path} as {accept}");
        let (_, pretty) = raw(&server, &format!("{path}?pretty=1"), &[("accept", accept)]).await;
        assert!(pretty.ends_with(b"\n}"), "{path} as {accept}, pretty");
    }
    // A failure is no table: who takes nothing else is told it as a person would read it.
    let (_, none) = raw(&server, &format!("{spaces}/none"), &[("accept", "application/json")]).await;
    assert_eq!(newlines(&none), [none.len() - 1]);
    let (_, none) = raw(&server, &format!("{spaces}/none"), &[("accept", table)]).await;
    assert!(none.ends_with(b"\n}"), "{none:?}");
    let (_, events) = raw(&server, &format!("{spaces}?watch=1&resourceVersion=0&timeoutSeconds=1"), &[]).await;
    for event in events.split_inclusive(|byte| *byte == b'\n') {
        assert!(event.starts_with(br#"{"type":"ADDED","object":{"#) && event.ends_with(b"}}\n"), "{event:?}");
    }
    assert!(newlines(&events).len() >= 4, "the namespaces that every cluster has");
}

/// Go escapes what HTML gives a meaning to, and the line ends that JavaScript knows and JSON does not.
#[tokio::test(flavor = "multi_thread")]
async fn json_has_the_escapes_of_go() {
    let server = TestServer::start(&[]).await;
    let mut map = config_map("a", &json!({"k": "<&>\u{2028}\u{2029}"}));
    map["metadata"]["annotations"] = json!({"x": "é<"});
    let made = post(&server.client, CONFIG_MAPS, &map).await.expect(201);
    assert_eq!(made["data"]["k"], map["data"]["k"]);
    let patched =
        patch(&server.client, &format!("{CONFIG_MAPS}/a"), "merge", &json!({"data": {"l": "<"}})).await.expect(200);
    assert_eq!(patched["data"]["l"], "<");
    let one = format!("{CONFIG_MAPS}/a");
    let list = format!("{CONFIG_MAPS}?fieldSelector=metadata.name%3Da");
    let watch = format!("{list}&watch=1&timeoutSeconds=1");
    let plain = "application/json";
    let view = |kind: &str| format!("{plain};as={kind};g=meta.k8s.io;v=v1");
    let whole = br#""data":{"k":"\u003c\u0026\u003e\u2028\u2029","l":"\u003c"}"#.as_slice();
    let metadata = "\"x\":\"é\\u003c\"".as_bytes();
    for (path, accept, want) in [
        (&one, plain.to_owned(), whole),
        (&list, plain.to_owned(), whole),
        (&watch, plain.to_owned(), whole),
        (&one, view("PartialObjectMetadata"), metadata),
        (&list, view("Table"), metadata),
        (&watch, view("Table"), metadata),
    ] {
        let (_, text) = raw(&server, path, &[("accept", &accept)]).await;
        assert!(text.windows(want.len()).any(|part| part == want), "{path} {accept}: {}", text.escape_ascii());
    }
    let (_, pretty) = raw(&server, &format!("{one}?pretty=1"), &[]).await;
    let pretty = String::from_utf8(pretty.to_vec()).expect("UTF-8");
    assert!(pretty.contains(r#""l": "\u003c""#), "{pretty}");
    let (_, status) = raw(&server, &format!("{CONFIG_MAPS}/%3Ca%26"), &[]).await;
    assert!(String::from_utf8(status.to_vec()).expect("UTF-8").contains(r#"configmaps \"\u003ca\u0026\" not found"#));
    let (_, yaml) = raw(&server, &one, &[("accept", "application/yaml")]).await;
    assert!(String::from_utf8(yaml.to_vec()).expect("UTF-8").contains("l: <"));
}

/// Where the newlines are.
fn newlines(text: &[u8]) -> Vec<usize> {
    (0..text.len()).filter(|at| text[*at] == b'\n').collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_is_told_in_protobuf() {
    let server = TestServer::start(&[]).await;
    let table = [
        ("/api", "APIVersions", "versions"),
        ("/apis", "APIGroupList", "groups"),
        ("/apis/apps", "APIGroup", "versions"),
        ("/apis/apps/v1", "APIResourceList", "resources"),
    ];
    for (path, kind, list) in table {
        let (parts, bytes) = raw(&server, path, &[("accept", PROTOBUF)]).await;
        assert_eq!(parts.headers["content-type"], PROTOBUF, "{path}");
        let document = decoded(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}"), &bytes);
        assert!(document[list].as_array().is_some_and(|list| !list.is_empty()), "{path}: {document}");
    }
    let (parts, _) = raw(&server, &format!("{CONFIG_MAPS}/missing"), &[("accept", PROTOBUF)]).await;
    assert_eq!((parts.status.as_u16(), &parts.headers["content-type"]), (404, &PROTOBUF.parse().unwrap()));
}

/// Type and object of the first two events of a protobuf watch.
async fn two_protobuf_events(server: &TestServer, path: &str, accept: &str, schema: &str) -> [(String, Value); 2] {
    let request = Request::get(path).header("accept", accept).body(Body::empty()).expect("a request");
    let answer = server.client.send(request).await.expect("an answer");
    assert_eq!(answer.headers()["content-type"], "application/vnd.kubernetes.protobuf;stream=watch");
    let (mut body, mut told) = (answer.into_body(), Vec::new());
    [next_event(&mut body, &mut told, schema).await, next_event(&mut body, &mut told, schema).await]
}

/// The next event after those that were taken out of what was told.
async fn next_event(body: &mut Body, told: &mut Vec<u8>, schema: &str) -> (String, Value) {
    loop {
        if let Some((length, rest)) = told.split_first_chunk::<4>()
            && let Some((event, rest)) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)
        {
            let event = event_of(event, schema);
            *told = rest.to_vec();
            return event;
        }
        let frame = tokio::time::timeout(SOON, body.frame()).await.expect("a frame in time");
        told.extend_from_slice(frame.expect("no end").expect("no broken body").data_ref().expect("data"));
    }
}

/// A bare `WatchEvent`: field 1 its type, field 2 a `RawExtension` whose field 1 is the enveloped object.
fn event_of(event: &[u8], schema: &str) -> (String, Value) {
    let (kind, rest) = field(event, 1);
    let (object, _) = field(rest, 2);
    let (envelope, _) = field(object, 1);
    (String::from_utf8(kind.to_vec()).expect("text"), decoded(schema, envelope))
}

/// A field of bytes that begins here, and what follows it.
fn field(message: &[u8], number: u8) -> (&[u8], &[u8]) {
    assert_eq!(message[0], number << 3 | 2);
    let (mut length, mut at, mut shift) = (0_usize, 1, 0);
    loop {
        length |= usize::from(message[at] & 0x7f) << shift;
        shift += 7;
        at += 1;
        if message[at - 1] & 0x80 == 0 {
            return message[at..].split_at(length);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_are_told_in_protobuf() {
    let server = TestServer::start(&[]).await;
    let made = post(&server.client, CONFIG_MAPS, &config_map("a", &json!({"k": "v"}))).await.expect(201);
    delete(&server.client, &format!("{CONFIG_MAPS}/a"), &Value::Null).await.expect(200);
    let after: u64 = made["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).expect("one");
    let path = format!("{CONFIG_MAPS}?watch=1&resourceVersion={}", after - 1);
    let events = two_protobuf_events(&server, &path, PROTOBUF, CONFIG_MAP).await;
    let told = events.each_ref().map(|(kind, object)| (kind.as_str(), &object["data"]["k"]));
    assert_eq!(told, [("ADDED", &json!("v")), ("DELETED", &json!("v"))]);
    let accept = format!("{PROTOBUF};as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
    let events = two_protobuf_events(&server, &path, &accept, PARTIAL).await;
    let told = events.each_ref().map(|(kind, object)| (kind.as_str(), &object["metadata"]["name"]));
    assert_eq!(told, [("ADDED", &json!("a")), ("DELETED", &json!("a"))]);
}

async fn open_socket(server: &TestServer, path: &str, accept: &'static str) -> WebSocketStream<TcpStream> {
    let mut request = format!("ws://{}{path}", server.address).into_client_request().expect("a request");
    request.headers_mut().insert("accept", accept.parse().expect("a value"));
    let stream = TcpStream::connect(server.address).await.expect("a connection");
    let (socket, _) = tokio_tungstenite::client_async(request, stream).await.expect("a WebSocket");
    socket
}

async fn message(socket: &mut WebSocketStream<TcpStream>) -> Option<Message> {
    let message = tokio::time::timeout(SOON, socket.next()).await.expect("a message in time");
    message.map(|message| message.expect("a whole message"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_carries_a_message_an_event() {
    let server = TestServer::start(&[]).await;
    for name in ["a", "b"] {
        post(&server.client, CONFIG_MAPS, &config_map(name, &json!({}))).await.expect(201);
    }
    let mut socket = open_socket(&server, &format!("{CONFIG_MAPS}?watch=1"), "application/json").await;
    for expected in ["a", "b"] {
        let Some(Message::Text(text)) = message(&mut socket).await else { panic!("JSON is text") };
        let event: Value = serde_json::from_str(text.as_str()).expect("JSON");
        assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!(expected)));
    }
    delete(&server.client, &format!("{CONFIG_MAPS}/a"), &Value::Null).await.expect(200);
    let Some(Message::Text(text)) = message(&mut socket).await else { panic!("JSON is text") };
    assert!(text.as_str().starts_with("{\"type\":\"DELETED\""), "{text}");
    let path = format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=1");
    let mut socket = open_socket(&server, &path, PROTOBUF).await;
    let Some(Message::Binary(bytes)) = message(&mut socket).await else { panic!("protobuf is binary") };
    let (kind, object) = event_of(&bytes, CONFIG_MAP);
    assert_eq!((kind.as_str(), &object["metadata"]["name"]), ("ADDED", &json!("b")));
    assert!(matches!(message(&mut socket).await, Some(Message::Close(_))), "it ends in its time");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_are_compressed() {
    let server = TestServer::start(&[]).await;
    for name in ["a", "b"] {
        let large = config_map(name, &json!({"k": "v".repeat(100_000)}));
        post(&server.client, CONFIG_MAPS, &large).await.expect(201);
    }
    let gzip = [("accept-encoding", "gzip")];
    let (parts, packed) = raw(&server, CONFIG_MAPS, &gzip).await;
    assert_eq!(
        (&parts.headers["content-encoding"], &parts.headers["vary"]),
        (&"gzip".parse().unwrap(), &"Accept-Encoding".parse().unwrap())
    );
    let mut read = String::new();
    flate2::read::GzDecoder::new(packed.as_ref()).read_to_string(&mut read).expect("gzip");
    let (plain, bytes) = raw(&server, CONFIG_MAPS, &[]).await;
    assert!(plain.headers.get("content-encoding").is_none());
    assert!(read.as_bytes() == bytes.as_ref() && packed.len() < bytes.len() / 10);
    // Small ones are sent as they are, and so are watches.
    let (small, _) = raw(&server, &format!("{CONFIG_MAPS}/a"), &gzip).await;
    assert!(small.headers.get("content-encoding").is_none());
    let (watch, _) = raw(&server, &format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=1"), &gzip).await;
    assert!(watch.headers.get("content-encoding").is_none());
    let (parts, packed) = raw(&server, CONFIG_MAPS, &[gzip[0], ("accept", PROTOBUF)]).await;
    assert_eq!(parts.headers["content-encoding"], "gzip");
    assert!(packed.len() < 50_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_named_by_what_they_say() {
    let server = TestServer::start(&[]).await;
    for path in ["/openapi/v2", "/openapi/v3", "/openapi/v3/apis/apps/v1"] {
        let (first, body) = raw(&server, path, &[]).await;
        assert!(!body.is_empty());
        let tag = first.headers["etag"].to_str().expect("a tag").to_owned();
        let (again, body) = raw(&server, path, &[("if-none-match", &tag)]).await;
        assert_eq!((again.status.as_u16(), body.len()), (304, 0), "{path}");
        let (changed, _) = raw(&server, path, &[("if-none-match", "\"other\"")]).await;
        assert_eq!(changed.status.as_u16(), 200);
    }
    let index = get(&server.client, "/openapi/v3").await.expect(200);
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().expect("a URL");
    let (hashed, _) = raw(&server, url, &[]).await;
    assert!(hashed.headers["cache-control"].to_str().is_ok_and(|value| value.contains("immutable")));
    assert!(hashed.headers["expires"].to_str().is_ok_and(|value| value.ends_with(" GMT")));
    let (stale, _) = raw(&server, "/openapi/v3/apis/apps/v1?hash=OLD", &[]).await;
    assert_eq!((stale.status.as_u16(), stale.headers["location"].to_str().expect("a place")), (301, url));
    let (unnamed, _) = raw(&server, "/openapi/v3/apis/apps/v1", &[]).await;
    assert!(unnamed.headers.get("expires").is_none());
    let (other, _) = raw(&server, "/openapi/v3/apis/apps/v1", &[("accept", "text/html")]).await;
    assert_eq!(other.status.as_u16(), 406);
}

/// Numbers and contents of a protobuf message whose fields all have a length.
fn parts(mut message: &[u8]) -> Vec<(u64, &[u8])> {
    fn varint(message: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let (byte, rest) = message.split_first().expect("a whole number");
            *message = rest;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return value;
            }
        }
    }
    let mut parts = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        assert_eq!(tag & 7, 2, "a field with a length");
        let length = varint(&mut message) as usize;
        let (part, rest) = message.split_at(length);
        message = rest;
        parts.push((tag >> 3, part));
    }
    parts
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_of_groups_are_told_in_protobuf() {
    let server = TestServer::start(&[]).await;
    let document = get(&server.client, "/openapi/v3/apis/apps/v1").await.expect(200);
    let names = |place: &Value| -> Vec<String> { place.as_object().expect("names").keys().cloned().collect() };
    for asked in ["v3.v1.0", "v3@v1.0"] {
        let accept = format!("application/com.github.proto-openapi.spec.{asked}+protobuf, application/json");
        let (head, body) = raw(&server, "/openapi/v3/apis/apps/v1", &[("accept", &accept)]).await;
        assert_eq!(head.headers["content-type"], "application/com.github.proto-openapi.spec.v3.v1.0+protobuf");
        let whole = parts(&body);
        assert_eq!(whole.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 4, 5]);
        assert_eq!(whole[0].1, b"3.0.0");
        let named = |list: &[u8]| -> Vec<String> {
            parts(list).into_iter().map(|(_, entry)| String::from_utf8_lossy(parts(entry)[0].1).into_owned()).collect()
        };
        assert_eq!(named(whole[2].1), names(&document["paths"]));
        assert_eq!(named(parts(whole[3].1)[0].1), names(&document["components"]["schemas"]));
    }
}

/// A server that ends tells its watches so: they end whole, and at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_ends_its_watches() {
    let server = TestServer::start(&[]).await;
    post(&server.client, CONFIG_MAPS, &config_map("a", &json!({}))).await.expect(201);
    let mut watch = Watch::open(&server.client, &format!("{CONFIG_MAPS}?watch=1")).await;
    let mut socket = open_socket(&server, &format!("{CONFIG_MAPS}?watch=1"), "application/json").await;
    assert_eq!(watch.told().await, "ADDED a");
    assert!(message(&mut socket).await.is_some());
    let begun = std::time::Instant::now();
    server.stop().await;
    assert!(begun.elapsed() < GRACE, "nothing had to be waited for");
    assert!(watch.next().await.is_none(), "the stream ends, it does not break off");
    assert!(matches!(message(&mut socket).await, Some(Message::Close(_)) | None));
}
