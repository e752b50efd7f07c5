//! Reads metrics: resources from `metrics.k8s.io`, others from `custom.metrics.k8s.io` and `external.metrics.k8s.io`.
//!
//! The three are served by extension servers behind the API server. Errors are sentences, as events show them.

use std::time::Duration;

use http::Request;
use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::CrossVersionObjectReference;
use kube::Client;
use machinery::quantity::Quantity;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::calculate::{Sample, Samples};
use crate::common::discovery::{Kinds, Resource};

/// Of a metric that does not say how long it was measured.
const DEFAULT_WINDOW: Duration = Duration::from_secs(60);

pub(super) struct Metrics {
    client: Client,
    /// The version in which custom metrics are served.
    custom_version: OnceCell<String>,
}

impl Metrics {
    pub(super) fn new(client: Client) -> Self {
        Metrics { client, custom_version: OnceCell::new() }
    }

    /// `container` is empty for whole pods. Selectors are in their text form.
    pub(super) async fn resource(
        &self,
        namespace: &str,
        selector: &str,
        resource: &str,
        container: &str,
    ) -> Result<Samples, String> {
        let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods");
        let answer = self.get(&path, &[("labelSelector", selector)], "pods.metrics.k8s.io").await;
        let list = answer.map_err(|e| format!("unable to fetch metrics from resource metrics API: {e}"))?;
        let items = items(&list, "resource")?;
        let sample = |item: &Value| Some((name(&item["metadata"])?, of_pod(item, resource, container)?));
        Ok(items.iter().filter_map(sample).collect())
    }

    pub(super) async fn pods(
        &self,
        namespace: &str,
        selector: &str,
        metric: &str,
        metric_selector: &str,
    ) -> Result<Samples, String> {
        let list = self.custom(&format!("namespaces/{namespace}/pods/*/{metric}"), selector, metric_selector).await?;
        let items = items(&list, "custom")?;
        let sample = |item: &Value| {
            let seconds = item["windowSeconds"].as_u64().or_else(|| item["window"].as_u64());
            let window = seconds.map_or(DEFAULT_WINDOW, Duration::from_secs);
            Some((name(&item["describedObject"])?, Sample { at: time(item), window, milli: milli(&item["value"])? }))
        };
        Ok(items.iter().filter_map(sample).collect())
    }

    /// The metric of one object; that of a namespace is its own.
    pub(super) async fn object(
        &self,
        kinds: &Kinds,
        namespace: &str,
        object: &CrossVersionObjectReference,
        metric: &str,
        metric_selector: &str,
    ) -> Result<i64, String> {
        let api_version = object.api_version.as_deref().unwrap_or_default();
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let path = match (group, object.kind.as_str()) {
            ("", "Namespace") => format!("namespaces/{namespace}/metrics/{metric}"),
            (group, kind) => {
                let is = |r: &Resource| (r.group.as_str(), r.kind.as_str()) == (group, kind);
                let known = kinds.with(&self.client, |all| all.iter().any(is)).await.map_err(|e| e.own_words())?;
                let found = known.iter().find(|r| is(r));
                let missing = || format!("no matches for kind {kind:?} in group {group:?}");
                let resource = found.map(|r| r.resource.clone()).ok_or_else(missing);
                let resource = resource.map_err(|e| format!("unable to fetch metrics from custom metrics API: {e}"))?;
                let dot = if group.is_empty() { "" } else { "." };
                format!("namespaces/{namespace}/{resource}{dot}{group}/{}/{metric}", object.name)
            }
        };
        let list = self.custom(&path, "", metric_selector).await?;
        let failed = |e: &str| format!("unable to fetch metrics from custom metrics API: {e}");
        let values = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        match values {
            [one] => milli(&one["value"]).ok_or_else(|| failed("the value is no quantity")),
            many => Err(failed(&format!(
                "the custom metrics API server returned {} results when we asked for exactly one",
                many.len()
            ))),
        }
    }

    /// All values that match; the sum counts.
    pub(super) async fn external(&self, namespace: &str, metric: &str, selector: &str) -> Result<i64, String> {
        let path = format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}");
        let answer =
            self.get(&path, &[("labelSelector", selector)], &format!("{metric}.external.metrics.k8s.io")).await;
        let list = answer.map_err(|e| format!("unable to fetch metrics from external metrics API: {e}"))?;
        let items = items(&list, "external")?;
        Ok(items.iter().filter_map(|item| milli(&item["value"])).fold(0, i64::saturating_add))
    }

    async fn custom(&self, path: &str, selector: &str, metric_selector: &str) -> Result<Value, String> {
        let version = self.custom_version.get_or_try_init(|| self.preferred_version()).await;
        let query = [("labelSelector", selector), ("metricLabelSelector", metric_selector)];
        let answer = match version {
            Ok(version) => {
                self.get(&format!("/apis/custom.metrics.k8s.io/{version}/{path}"), &query, "custom.metrics.k8s.io")
                    .await
            }
            Err(e) => Err(e),
        };
        answer.map_err(|e| format!("unable to fetch metrics from custom metrics API: {e}"))
    }

    async fn preferred_version(&self) -> Result<String, String> {
        let group = self.get("/apis/custom.metrics.k8s.io", &[], "custom.metrics.k8s.io").await;
        let group = group.map_err(|_| "no custom metrics API (custom.metrics.k8s.io) registered".to_owned())?;
        let preferred = group["preferredVersion"]["version"].as_str();
        preferred.map(str::to_owned).ok_or_else(|| "custom.metrics.k8s.io has no version".into())
    }

    async fn get(&self, path: &str, query: &[(&str, &str)], resource: &str) -> Result<Value, String> {
        let words = query.iter().filter(|(_, value)| !value.is_empty());
        let words: Vec<String> = words.map(|(name, value)| format!("{name}={}", escape(value))).collect();
        let uri = if words.is_empty() { path.to_owned() } else { format!("{path}?{}", words.join("&")) };
        let request = Request::get(uri).body(Vec::new()).map_err(|e| e.to_string())?;
        self.client.request::<Value>(request).await.map_err(|e| match e {
            kube::Error::Api(status) => said(&status, resource),
            other => other.to_string(),
        })
    }
}

/// What the answer says, or, where it is no Status, what upstream's client makes of its code.
pub(super) fn said(status: &kube::core::Status, resource: &str) -> String {
    // The mark of our client for bodies that it cannot read.
    if status.reason != "Failed to parse error data" && !status.message.is_empty() {
        return status.message.clone();
    }
    let sentence = match status.code {
        400 => "the server rejected our request for an unknown reason".to_owned(),
        401 => "the server has asked for the client to provide credentials".to_owned(),
        403 => status.message.clone(),
        404 => "the server could not find the requested resource".to_owned(),
        429 => "the server has received too many requests and has asked us to try again later".to_owned(),
        503 => "the server is currently unable to handle the request".to_owned(),
        504 => {
            "the server was unable to return a response in the time allotted, but may still be processing the request"
                .to_owned()
        }
        500.. => format!("an error on the server ({:?}) has prevented the request from succeeding", status.message),
        code => format!("the server responded with the status code {code} but did not return more information"),
    };
    format!("{sentence} (get {resource})")
}

/// All but what is surely plain.
fn escape(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn items<'a>(list: &'a Value, api: &str) -> Result<&'a Vec<Value>, String> {
    let items = list["items"].as_array().filter(|items| !items.is_empty());
    items.ok_or_else(|| format!("no metrics returned from {api} metrics API"))
}

fn name(meta: &Value) -> Option<String> {
    meta["name"].as_str().map(str::to_owned)
}

fn time(item: &Value) -> Timestamp {
    item["timestamp"].as_str().and_then(|text| text.parse().ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn milli(quantity: &Value) -> Option<i64> {
    Quantity::from_value(quantity).ok().map(|q| q.milli_value())
}

/// None when the pod, or one of its containers, was not measured.
fn of_pod(item: &Value, resource: &str, container: &str) -> Option<Sample> {
    let containers = item["containers"].as_array().filter(|all| !all.is_empty())?;
    let usage = |c: &Value| milli(&c["usage"][resource]);
    let sum = match container {
        "" => containers.iter().map(usage).sum::<Option<i64>>()?,
        named => containers.iter().find(|c| c["name"] == named).and_then(usage)?,
    };
    let window = item["window"].as_str().and_then(|text| component::flags::parse_duration(text).ok());
    Some(Sample { at: time(item), window: window.unwrap_or_default(), milli: sum })
}
