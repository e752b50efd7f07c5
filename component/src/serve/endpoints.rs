//! The endpoints that every component serves: health, metrics, configuration, version, and the z-pages
//! where they are given.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{CONTENT_TYPE, WARNING},
};
use http_body_util::Full;
use hyper::body::Incoming;

use super::health::Checks;
use super::zpages::{self, Page, ZPages};
use crate::{delegated::Delegated, metrics, version};

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Who may ask.
#[derive(Clone)]
pub enum Gate {
    /// Everybody: a loopback health port, or upstream's open metrics port.
    Open,
    /// Who the API server lets; some paths are always open.
    Delegated(Arc<Delegated>),
}

/// The service of a component's own port. Give it to [`super::accept`].
#[derive(Clone)]
pub struct Endpoints {
    pub healthz: Checks,
    pub livez: Checks,
    pub readyz: Checks,
    configz: Option<Arc<serde_json::Value>>,
    zpages: Option<Arc<ZPages>>,
    further: &'static [&'static str],
    gate: Gate,
}

impl Endpoints {
    pub fn new(gate: Gate) -> Self {
        Self {
            healthz: Checks::new("healthz"),
            livez: Checks::new("livez"),
            readyz: Checks::new("readyz"),
            configz: None,
            zpages: None,
            further: &[],
            gate,
        }
    }

    /// What `/configz` answers: component configuration objects by name, such as `{"kubeletconfig": …}`;
    /// without, it is not there.
    pub fn with_configz(mut self, configz: serde_json::Value) -> Self {
        self.configz = Some(Arc::new(configz));
        self
    }

    /// What `/flagz` and `/statusz` tell; without, they are not there.
    pub fn with_zpages(mut self, zpages: ZPages) -> Self {
        self.zpages = Some(Arc::new(zpages));
        self
    }

    /// Without what tells of the configuration.
    pub fn reticent(mut self) -> Self {
        (self.configz, self.zpages) = (None, None);
        self
    }

    /// Paths that the server of these endpoints has beside them, for `/statusz` to list.
    pub fn beside(mut self, further: &'static [&'static str]) -> Self {
        self.further = further;
        self
    }

    /// Adds a check to all three health endpoints.
    pub fn check(&self, name: &str, check: impl Fn() -> super::Outcome + Clone + Send + Sync + 'static) {
        for checks in [&self.healthz, &self.livez, &self.readyz] {
            checks.add(name, check.clone());
        }
    }

    /// The answer for a path that is one of these endpoints, for a server with more paths than these; `None` for others.
    pub fn answer(&self, method: &Method, path: &str, query: &str) -> Option<Response<Full<Bytes>>> {
        let (first, name) = match path.trim_start_matches('/').split_once('/') {
            Some((first, name)) => (first, Some(name)),
            None => (path.trim_start_matches('/'), None),
        };
        let checks = match (first, name) {
            ("healthz", _) => &self.healthz,
            ("livez", _) => &self.livez,
            ("readyz", _) => &self.readyz,
            ("metrics", None) => return Some(reading(method, || text(StatusCode::OK, PROMETHEUS, metrics::text()))),
            ("metrics", Some("slis")) => {
                return Some(reading(method, || text(StatusCode::OK, PROMETHEUS, metrics::slis::text())));
            }
            ("configz", None) => return self.configz.as_ref().map(|configz| reading(method, || json(&**configz))),
            ("version", None) => return Some(reading(method, || json(&version::info()))),
            _ => return None,
        };
        let (status, report) = checks.answer(name, query)?;
        Some(reading(method, || text(status, TEXT, report)))
    }

    /// The z-page at a path, whatever the method, as upstream has it; `None` for other paths, and where there are none.
    pub fn zpage(&self, path: &str, headers: &HeaderMap) -> Option<Response<Full<Bytes>>> {
        let page = self.zpages.as_ref()?.page(path, headers, || self.paths())?;
        Some(match page {
            Ok(Page::Text(page)) => text(StatusCode::OK, TEXT, page),
            Ok(Page::Object { object, is_yaml, warning }) => {
                let mut response = if is_yaml { yaml(&object) } else { json(&object) };
                response.headers_mut().extend(warning.map(|warning| (WARNING, warning)));
                response
            }
            Err(status) => {
                let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                text(code, JSON, status.to_value().to_string())
            }
        })
    }

    fn paths(&self) -> Vec<String> {
        let checks = [&self.healthz, &self.livez, &self.readyz].into_iter().flat_map(Checks::paths);
        let own = ["/metrics", "/metrics/slis", "/version"].into_iter().chain(zpages::PATHS);
        let configz = self.configz.is_some().then_some("/configz");
        checks.chain(own.chain(configz).chain(self.further.iter().copied()).map(str::to_owned)).collect()
    }

    async fn respond(self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if let Gate::Delegated(delegated) = &self.gate
            && let Err(refusal) = delegated.admit(&request).await
        {
            return refusal.status_response();
        }
        let uri = request.uri();
        let known = self.answer(request.method(), uri.path(), uri.query().unwrap_or_default());
        let known = known.or_else(|| self.zpage(uri.path(), request.headers()));
        known.unwrap_or_else(|| text(StatusCode::NOT_FOUND, TEXT, "404 page not found\n"))
    }
}

impl tower::Service<Request<Incoming>> for Endpoints {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let endpoints = self.clone();
        Box::pin(async move { Ok(endpoints.respond(request).await) })
    }
}

fn reading(method: &Method, answer: impl FnOnce() -> Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    match *method {
        Method::GET | Method::HEAD => answer(),
        _ => text(StatusCode::METHOD_NOT_ALLOWED, TEXT, "Method Not Allowed\n"),
    }
}

fn json(value: &impl serde::Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_vec_pretty(value) {
        Ok(bytes) => text(StatusCode::OK, JSON, bytes),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string()),
    }
}

fn yaml(value: &impl serde::Serialize) -> Response<Full<Bytes>> {
    match serde_yaml_ng::to_string(value) {
        Ok(page) => text(StatusCode::OK, "application/yaml", page),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string()),
    }
}

pub(crate) fn text(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}
