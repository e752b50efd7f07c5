//! Requests whose answers are read and thrown away: this side shall cost as little as it can.

use anyhow::{Context as _, Result, ensure};
use component::client::{self, ClientConfig};
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::Value;

/// One client, with a connection of its own.
#[derive(Clone)]
pub(crate) struct Client(kube::Client);

impl Client {
    pub(crate) fn connect(config: &ClientConfig) -> Result<Self> {
        Ok(Self(client::connect(config.clone()).context("make a client")?))
    }

    /// The answer's body; an error if it is one.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Vec<u8>> {
        let (code, bytes) = self.ask(method.clone(), path, body).await?;
        ensure!((200..300).contains(&code), "{method} {path}: {code} {}", String::from_utf8_lossy(&bytes));
        Ok(bytes)
    }

    /// Code and body, whatever they are.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(u16, Vec<u8>)> {
        let media_type = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let bytes = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let request = Request::builder().method(method).uri(path).header("content-type", media_type);
        let answer = self.0.send(request.body(Body::from(bytes))?).await.with_context(|| format!("ask for {path}"))?;
        let code = answer.status().as_u16();
        Ok((code, answer.into_body().collect().await?.to_bytes().into()))
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        Ok(serde_json::from_slice(&self.send(Method::GET, path, None).await?)?)
    }

    pub(crate) async fn create(&self, path: &str, object: &Value) -> Result<()> {
        self.send(Method::POST, path, Some(object)).await.map(|_| ())
    }

    /// Creates, unless it is there.
    pub(crate) async fn ensure(&self, path: &str, object: &Value) -> Result<()> {
        let (code, body) = self.ask(Method::POST, path, Some(object)).await?;
        ensure!(matches!(code, 201 | 409), "create at {path}: {code} {}", String::from_utf8_lossy(&body));
        Ok(())
    }

    /// An answer whose body is still to come.
    pub(crate) async fn open(&self, path: &str) -> Result<Response<Body>> {
        let answer = self.0.send(Request::get(path).body(Body::empty())?).await?;
        ensure!(answer.status() == 200, "GET {path}: {}", answer.status());
        Ok(answer)
    }

    /// The answer's size in bytes. It may be larger than this process should hold.
    pub(crate) async fn drain(&self, path: &str) -> Result<usize> {
        let (mut body, mut size) = (self.open(path).await?.into_body(), 0);
        while let Some(frame) = body.frame().await {
            size += frame?.data_ref().map_or(0, |data| data.len());
        }
        Ok(size)
    }
}
