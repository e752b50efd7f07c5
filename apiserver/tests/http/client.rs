//! Requests as a test writes them, with headers, and answers as it looks at them.

use std::time::Duration;

use http::{HeaderMap, Method, Request};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::{Value, json};

pub const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Code, headers and body of an answer.
#[derive(Debug)]
pub struct Reply {
    pub code: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Reply {
    /// The body of an answer that must have this code.
    #[track_caller]
    pub fn expect(self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}", self.body);
        self.body
    }

    /// That the answer is a Status of failure, with its code and reason.
    #[track_caller]
    pub fn refused(&self, code: u16, reason: &str) {
        let body = &self.body;
        let seen = (self.code, body["kind"].as_str(), body["status"].as_str(), body["reason"].as_str());
        assert_eq!(seen, (code, Some("Status"), Some("Failure"), Some(reason)), "{body}");
        assert_eq!(body["code"], code, "{body}");
    }

    /// That nothing is served there, told in the words of a web server.
    #[track_caller]
    pub fn nowhere(&self) {
        assert_eq!((self.code, &self.body), (404, &json!("404 page not found\n")));
        assert_eq!(self.headers["content-type"], "text/plain; charset=utf-8");
        assert_eq!(self.headers["x-content-type-options"], "nosniff");
    }

    pub fn warnings(&self) -> Vec<&str> {
        self.headers.get_all("warning").iter().filter_map(|value| value.to_str().ok()).collect()
    }
}

pub async fn call(
    client: &kube::Client,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Vec<u8>>,
) -> Reply {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body.into())).expect("a request");
    let answer = client.send(request).await.expect("an answer");
    let (parts, body) = answer.into_parts();
    let bytes = body.collect().await.expect("a body").to_bytes();
    let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into());
    Reply { code: parts.status.as_u16(), headers: parts.headers, body }
}

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

pub async fn get(client: &kube::Client, path: &str) -> Reply {
    call(client, Method::GET, path, &[], "").await
}

pub async fn get_as(client: &kube::Client, path: &str, accept: &str) -> Reply {
    call(client, Method::GET, path, &[("accept", accept)], "").await
}

pub async fn post(client: &kube::Client, path: &str, body: &Value) -> Reply {
    call(client, Method::POST, path, JSON, body.to_string()).await
}

pub async fn put(client: &kube::Client, path: &str, body: &Value) -> Reply {
    call(client, Method::PUT, path, JSON, body.to_string()).await
}

pub async fn delete(client: &kube::Client, path: &str, options: &Value) -> Reply {
    let body = if options.is_null() { String::new() } else { options.to_string() };
    call(client, Method::DELETE, path, JSON, body).await
}

/// `kind`: `json`, `merge`, `strategic-merge`.
pub async fn patch(client: &kube::Client, path: &str, kind: &str, body: &Value) -> Reply {
    let media_type = format!("application/{kind}-patch+json");
    call(client, Method::PATCH, path, &[("content-type", &media_type)], body.to_string()).await
}

pub async fn apply(client: &kube::Client, path: &str, body: &Value) -> Reply {
    call(client, Method::PATCH, path, &[("content-type", "application/apply-patch+yaml")], body.to_string()).await
}

pub fn config_map(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

/// The frames of a watch.
pub struct Watch {
    body: Body,
    buffered: Vec<u8>,
}

impl Watch {
    pub async fn open(client: &kube::Client, path: &str) -> Self {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let answer = client.send(request).await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 200, "{path}");
        Self { body: answer.into_body(), buffered: Vec::new() }
    }

    /// The next event's type and object; `None` at the end of the watch.
    pub async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some(end) = self.buffered.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffered.drain(..=end).collect();
                let mut event: Value = serde_json::from_slice(&line).expect("a JSON line");
                return Some((event["type"].as_str().unwrap_or_default().to_owned(), event["object"].take()));
            }
            let frame =
                tokio::time::timeout(Duration::from_secs(20), self.body.frame()).await.expect("a frame in time");
            self.buffered.extend_from_slice(frame?.expect("no broken body").data_ref()?);
        }
    }

    /// `ADDED name`, as the tests compare.
    pub async fn told(&mut self) -> String {
        let (kind, object) = self.next().await.expect("an event");
        format!("{kind} {}", object["metadata"]["name"].as_str().unwrap_or("-"))
    }
}
