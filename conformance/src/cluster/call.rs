//! One HTTP request and its answer.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use http::{HeaderMap, Method};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::Value;

use super::Cluster;

/// No request that is not a stream takes this long.
const LIMIT: Duration = Duration::from_secs(45);

/// A request to the API server.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// Without the administrator's credentials.
    is_bare: bool,
}

/// What came back, whatever its status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) operation: String,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// A refusal, in the words of its Status.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{operation}: {code} {reason}: {message}")]
pub(crate) struct ApiError {
    pub(crate) operation: String,
    pub(crate) code: u16,
    pub(crate) reason: String,
    pub(crate) message: String,
    /// The whole Status.
    pub(crate) status: Value,
}

impl Call {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        let headers = vec![("accept", "application/json".to_owned())];
        Self { method, path: path.into(), headers, body: Vec::new(), is_bare: false }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn post(path: impl Into<String>, object: &Value) -> Self {
        Self::new(Method::POST, path).json(object)
    }

    pub(crate) fn put(path: impl Into<String>, object: &Value) -> Self {
        Self::new(Method::PUT, path).json(object)
    }

    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    pub(crate) fn json(self, object: &Value) -> Self {
        self.body("application/json", object.to_string())
    }

    pub(crate) fn body(self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..self.header("content-type", content_type) }
    }

    /// Sets a header, in the place of one of that name.
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(existing, _)| *existing != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    pub(crate) fn accept(self, value: &str) -> Self {
        self.header("accept", value)
    }

    /// As who holds this token, and not as administrator.
    pub(crate) fn bearer(self, token: &str) -> Self {
        Self { is_bare: true, ..self.header("authorization", &format!("Bearer {token}")) }
    }

    pub(crate) fn operation(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    pub(super) fn into_request(self) -> Result<(http::Request<Body>, bool)> {
        let operation = self.operation();
        let mut request = http::Request::builder().method(self.method).uri(self.path);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Body::from(self.body)).with_context(|| format!("no request: {operation}"))?;
        Ok((request, self.is_bare))
    }
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Result<Value> {
        let describe = || format!("{}: no JSON: {}", self.operation, crate::expect::short(&self.text()));
        serde_json::from_slice(&self.body).with_context(describe)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The answer of a request that must succeed.
    pub(crate) fn ok(self) -> Result<Self> {
        if (200..300).contains(&self.status) { Ok(self) } else { Err(self.error().into()) }
    }

    pub(crate) fn error(&self) -> ApiError {
        let status = self.json().unwrap_or_default();
        let text = |field: &str| status[field].as_str().unwrap_or_default().to_owned();
        let message = if status["kind"] == "Status" { text("message") } else { crate::expect::short(&self.text()) };
        ApiError { operation: self.operation.clone(), code: self.status, reason: text("reason"), message, status }
    }
}

impl Cluster {
    /// Sends a request and reads the whole answer, whatever its status.
    pub(crate) async fn call(&self, call: Call) -> Result<Answer> {
        let operation = call.operation();
        let work = async {
            let response = self.open(call).await?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await.with_context(|| format!("{operation}: read the answer"))?;
            Ok(Answer {
                operation: operation.clone(),
                status: parts.status.as_u16(),
                headers: parts.headers,
                body: body.to_bytes().to_vec(),
            })
        };
        match tokio::time::timeout(LIMIT, work).await {
            Ok(answer) => answer,
            Err(_) => bail!("{operation}: no answer in {} s", LIMIT.as_secs()),
        }
    }

    /// Sends a request that must succeed and returns the object of its answer.
    pub(crate) async fn object(&self, call: Call) -> Result<Value> {
        self.call(call).await?.ok()?.json()
    }

    /// Passes a request on as it is.
    pub(crate) async fn forward(&self, request: http::Request<Body>, is_bare: bool) -> Result<http::Response<Body>> {
        self.client(is_bare).send(request).await.context("pass a request on")
    }

    /// Sends a request; its answer's body is still to come.
    pub(super) async fn open(&self, call: Call) -> Result<http::Response<Body>> {
        let operation = call.operation();
        let (request, is_bare) = call.into_request()?;
        self.client(is_bare).send(request).await.with_context(|| operation)
    }
}

/// Percent-encodes a value of a query.
pub(crate) fn encode(value: &str) -> String {
    value.bytes().fold(String::new(), |mut text, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(byte.into()),
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
        text
    })
}
