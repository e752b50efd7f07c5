//! One APIService with a Service behind it: how to reach it, and what it said of itself.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use component::tls::{self, Trust};
use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use machinery::meta;
use rustls::ClientConfig;
use serde_json::Value;

use super::Aggregation;
use super::identity;
use crate::api::Api;
use crate::connect::kubelet::{Endpoint, send_named};
use crate::http_body::{Body, BoxError, empty};
use crate::request::{MASTERS, User};

/// The most that a document of an extension server may hold, in bytes.
const DOCUMENT_MAX: usize = 64 << 20;

pub struct Extension {
    /// Of the APIService.
    pub name: String,
    pub uid: String,
    pub group: String,
    pub version: String,
    group_priority: i64,
    version_priority: i64,
    pub namespace: String,
    pub service: String,
    pub port: u16,
    spec: Value,
    /// Why there can be no connection, where the APIService itself forbids it.
    tls: Result<Arc<ClientConfig>, String>,
    pub available: bool,
    /// Its `APIResourceList`, as it was answered last.
    pub resources: Value,
    /// The hash that its OpenAPI v3 index gives for the group version; none where it serves no v3.
    pub v3_hash: Option<String>,
    /// Its OpenAPI v2 document; null where it serves none.
    pub v2: Arc<Value>,
}

impl Extension {
    /// Nothing is known yet of what it offers.
    pub fn new(object: &Value, aggregation: &Aggregation) -> Self {
        let spec = &object["spec"];
        let text = |path: &str| meta::text(spec, path).to_owned();
        Self {
            name: meta::name(object).to_owned(),
            uid: meta::uid(object).to_owned(),
            group: text("group"),
            version: text("version"),
            group_priority: spec["groupPriorityMinimum"].as_i64().unwrap_or(0),
            version_priority: spec["versionPriority"].as_i64().unwrap_or(0),
            namespace: text("service.namespace"),
            service: text("service.name"),
            port: spec["service"]["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(443),
            tls: tls_of(spec, aggregation),
            spec: spec.clone(),
            available: false,
            resources: Value::Null,
            v3_hash: None,
            v2: Arc::default(),
        }
    }

    /// Whether this was made of the object, or of one that says the same.
    pub fn is_of(&self, object: &Value) -> bool {
        self.uid == meta::uid(object) && self.spec == object["spec"]
    }

    /// Groups by priority and name, versions of a group by priority.
    pub fn order(&self) -> impl Ord + use<> {
        (-self.group_priority, self.group.clone(), -self.version_priority, self.version.clone())
    }

    pub fn path(&self) -> String {
        format!("/apis/{}/{}", self.group, self.version)
    }

    /// Where the Service leads now.
    pub fn endpoint(&self, api: &Api) -> Result<Endpoint, String> {
        let service = api
            .peek_named("", "services", &self.namespace, &self.service)
            .ok_or_else(|| format!("service {:?} not found", self.service))?;
        if meta::text(&service, "spec.type") == "ExternalName" {
            return Ok(Endpoint { host: meta::text(&service, "spec.externalName").to_owned(), port: self.port });
        }
        let address = meta::text(&service, "spec.clusterIP");
        if !api.aggregation.routes_to_endpoints && address.parse::<IpAddr>().is_ok() {
            return Ok(Endpoint { host: address.to_owned(), port: self.port });
        }
        self.ready_endpoint(api, &service)
            .ok_or_else(|| format!("no endpoints available for service {:?}", self.service))
    }

    fn ready_endpoint(&self, api: &Api, service: &Value) -> Option<Endpoint> {
        let mut ports = meta::list(service, "spec.ports").iter();
        let port_name = meta::text(ports.find(|port| port["port"] == self.port)?, "name").to_owned();
        let slices = slices_of(api, &self.namespace, &self.service);
        let candidates: Vec<Endpoint> = slices
            .iter()
            .filter_map(|slice| {
                let mut ports = meta::list(slice, "ports").iter();
                let port = ports.find(|port| port["name"].as_str().unwrap_or_default() == port_name)?;
                Some((slice, u16::try_from(port["port"].as_u64()?).ok()?))
            })
            .flat_map(|(slice, port)| {
                let ready = meta::list(slice, "endpoints").iter().filter(|endpoint| is_ready(endpoint));
                let addresses = ready.filter_map(|endpoint| endpoint["addresses"][0].as_str());
                addresses.map(move |host| Endpoint { host: host.to_owned(), port }).collect::<Vec<_>>()
            })
            .collect();
        let count = u64::try_from(candidates.len()).ok().filter(|count| *count > 0)?;
        candidates.into_iter().nth(usize::try_from(api.random.u64() % count).ok()?)
    }

    /// Sends a request to it. The certificate must be the Service's, whatever its address.
    pub async fn send(&self, api: &Api, request: Request<Body>) -> Result<http::Response<Incoming>, BoxError> {
        let tls = self.tls.clone()?;
        let endpoint = self.endpoint(api)?;
        let name = format!("{}.{}.svc", self.service, self.namespace);
        send_named(Some(tls), &name, &endpoint, request).await
    }

    /// Asks it for a JSON document as the aggregator itself, which may read everything.
    pub async fn get(&self, api: &Api, path: &str) -> Result<Value, String> {
        let authority = self.endpoint(api)?.authority();
        let url = format!("https://{authority}{path}");
        let failing = |error: String| format!("failing or missing response from {url}: {error}");
        let user =
            User { name: "system:kube-aggregator".to_owned(), groups: vec![MASTERS.to_owned()], ..User::default() };
        let mut request = Request::new(empty());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = path.parse().map_err(|error: http::uri::InvalidUri| failing(error.to_string()))?;
        identity::set(request.headers_mut(), &user).map_err(failing)?;
        request.headers_mut().insert(http::header::ACCEPT, HeaderValue::from_static("application/json"));
        // Without one, servers of HTTP/1.1 answer 400.
        request.headers_mut().extend(HeaderValue::from_str(&authority).ok().map(|host| (http::header::HOST, host)));
        let answer = self.send(api, request).await.map_err(|error| failing(error.to_string()))?;
        let code = answer.status().as_u16();
        if !(200..300).contains(&code) {
            return Err(failing(format!("bad status from {url}: {code}")));
        }
        let body = Limited::new(answer.into_body(), DOCUMENT_MAX).collect().await;
        let body = body.map_err(|error| failing(error.to_string()))?.to_bytes();
        serde_json::from_slice(&body).map_err(|error| failing(error.to_string()))
    }
}

pub fn is_ready(endpoint: &Value) -> bool {
    endpoint["conditions"]["ready"] != false
}

/// The EndpointSlices of a Service.
pub fn slices_of(api: &Api, namespace: &str, service: &str) -> Vec<Value> {
    let Some(served) = api.catalogue.find("discovery.k8s.io", "v1", "endpointslices") else { return Vec::new() };
    let snapshot = api.cache.list(served.id, &api.catalogue.prefix(served, namespace));
    let slices = snapshot.iter().filter_map(|item| serde_json::from_slice::<Value>(&item.body).ok());
    slices.filter(|slice| meta::label(slice, "kubernetes.io/service-name") == Some(service)).collect()
}

fn tls_of(spec: &Value, aggregation: &Aggregation) -> Result<Arc<ClientConfig>, String> {
    let bundle = meta::text(spec, "caBundle");
    let trust = match (meta::is_true(spec, "insecureSkipTLSVerify"), bundle.is_empty()) {
        (true, _) => Trust::Anyone,
        (false, true) => return Err("the APIService names no authority in spec.caBundle".to_owned()),
        (false, false) => {
            let pem = STANDARD.decode(bundle).map_err(|error| error.to_string())?;
            Trust::Authorities(tls::certificates_from_pem(&pem, "spec.caBundle").map_err(|error| error.to_string())?)
        }
    };
    let mut config = tls::client_config(&trust, aggregation.identity.clone()).map_err(|error| error.to_string())?;
    // Requests may be upgraded, which HTTP/2 cannot do.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
