//! One metric of an autoscaler's spec: what it asks for, and what the status shows of it.
//!
//! Reads the metric and lets [`super::calculate`] decide. Names and sentences are upstream's, down to its slips: an object's
//! average is called an external metric in messages.

use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricStatus, ExternalMetricSource, ExternalMetricStatus, MetricIdentifier, MetricSpec,
    MetricStatus, MetricTarget, MetricValueStatus, ObjectMetricSource, ObjectMetricStatus, PodsMetricStatus,
    ResourceMetricStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use machinery::quantity::{Format, Quantity};
use machinery::selector::Selector;

use super::calculate::{Basis, Proposal};
use super::metrics::Metrics;
use crate::common::discovery::Kinds;
use crate::common::go_text;

/// What is needed to look at any metric.
pub(super) struct Source<'a> {
    pub(super) metrics: &'a Metrics,
    pub(super) kinds: &'a Kinds,
    pub(super) namespace: &'a str,
    /// That of the scale target, as text.
    pub(super) selector: &'a str,
    pub(super) basis: &'a Basis<'a>,
}

/// A metric that could be read.
pub(super) struct Computed {
    pub(super) replicas: i32,
    /// As messages call it.
    pub(super) name: String,
    pub(super) status: MetricStatus,
}

/// A metric that could not.
#[derive(Debug, PartialEq)]
pub(super) struct Failed {
    /// Of the event and the condition.
    pub(super) reason: &'static str,
    pub(super) cause: String,
    /// The cause with what was being done.
    pub(super) error: String,
}

impl Failed {
    fn new(reason: &'static str, prefix: &str, cause: String) -> Self {
        Failed { reason, error: format!("{prefix}: {cause}"), cause }
    }
}

impl Source<'_> {
    pub(super) async fn compute(&self, spec: &MetricSpec) -> Result<Computed, Failed> {
        let mut status = MetricStatus { type_: spec.type_.clone(), ..MetricStatus::default() };
        let (replicas, name) = match (spec.type_.as_str(), spec) {
            ("Object", MetricSpec { object: Some(source), .. }) => {
                let failed = |e| Failed::new("FailedGetObjectMetric", "failed to get object metric value", e);
                let (proposal, name, current) = self.object(source).await.map_err(failed)?;
                let described_object = source.described_object.clone();
                status.object = Some(ObjectMetricStatus { current, described_object, metric: source.metric.clone() });
                (proposal.replicas, name)
            }
            ("Pods", MetricSpec { pods: Some(source), .. }) => {
                let failed = |e| Failed::new("FailedGetPodsMetric", "failed to get pods metric value", e);
                let proposal = self.pods(&source.metric, &source.target).await.map_err(failed)?;
                let current = average(proposal);
                status.pods = Some(PodsMetricStatus { current, metric: source.metric.clone() });
                (proposal.replicas, format!("pods metric {}", source.metric.name))
            }
            ("Resource", MetricSpec { resource: Some(source), .. }) => {
                let prefix = format!("failed to get {} resource metric value", source.name);
                let failed = |e| Failed::new("FailedGetResourceMetric", &prefix, e);
                let (proposal, name) = self.resource(&source.name, "", &source.target).await.map_err(failed)?;
                let current = measured(&source.name, proposal);
                status.resource = Some(ResourceMetricStatus { current, name: source.name.clone() });
                (proposal.replicas, name)
            }
            ("ContainerResource", MetricSpec { container_resource: Some(source), .. }) => {
                let prefix = format!("failed to get {} container metric value", source.container);
                let failed = |e| Failed::new("FailedGetContainerResourceMetric", &prefix, e);
                let container = source.container.clone();
                let (proposal, name) = self.resource(&source.name, &container, &source.target).await.map_err(failed)?;
                let current = measured(&source.name, proposal);
                let name_ = source.name.clone();
                status.container_resource = Some(ContainerResourceMetricStatus { container, current, name: name_ });
                (proposal.replicas, name)
            }
            ("External", MetricSpec { external: Some(source), .. }) => {
                let prefix = format!("failed to get {} external metric value", source.metric.name);
                let failed = |e| Failed::new("FailedGetExternalMetric", &prefix, e);
                let (proposal, current) = self.external(source).await.map_err(failed)?;
                status.external = Some(ExternalMetricStatus { current, metric: source.metric.clone() });
                (proposal.replicas, external_name(&source.metric))
            }
            (other, _) => {
                let cause = format!("unknown metric source type {other:?}");
                return Err(Failed { reason: "InvalidMetricSourceType", error: cause.clone(), cause });
            }
        };
        Ok(Computed { replicas, name, status })
    }

    async fn resource(
        &self,
        resource: &str,
        container: &str,
        target: &MetricTarget,
    ) -> Result<(Proposal, String), String> {
        let samples = self.metrics.resource(self.namespace, self.selector, resource, container).await;
        let samples = samples.map_err(|e| format!("unable to get metrics for resource {resource}: {e}"));
        if let Some(target) = milli(&target.average_value) {
            let proposal = samples.and_then(|s| self.basis.by_average(s, target, resource));
            let proposal = proposal.map_err(|e| format!("failed to get {resource} usage: {e}"))?;
            return Ok((proposal, format!("{resource} resource")));
        }
        let Some(target) = target.average_utilization else {
            let neither = "neither an average utilization target nor an average value (usage) target was set";
            return Err(format!("invalid resource metric source: {neither}"));
        };
        let proposal = samples.and_then(|s| self.basis.by_utilization(s, target, resource, container));
        let proposal = proposal.map_err(|e| format!("failed to get {resource} utilization: {e}"))?;
        let what = if container.is_empty() { "resource" } else { "container resource" };
        Ok((proposal, format!("{resource} {what} utilization (percentage of request)")))
    }

    async fn pods(&self, metric: &MetricIdentifier, target: &MetricTarget) -> Result<Proposal, String> {
        let selector = selector_text(metric.selector.as_ref())?;
        let samples = self.metrics.pods(self.namespace, self.selector, &metric.name, &selector).await;
        let samples = samples.map_err(|e| format!("unable to get metric {}: {e}", metric.name))?;
        self.basis.by_average(samples, milli(&target.average_value).unwrap_or(0), "")
    }

    async fn object(&self, source: &ObjectMetricSource) -> Result<(Proposal, String, MetricValueStatus), String> {
        let (metric, object, target) = (&source.metric, &source.described_object, &source.target);
        let selector = selector_text(metric.selector.as_ref())?;
        let read = async {
            let read = self.metrics.object(self.kinds, self.namespace, object, &metric.name, &selector).await;
            let of = format!("{} {}/{}", object.kind, self.namespace, object.name);
            read.map_err(|e| format!("unable to get metric {}: {e} on {of}", metric.name))
        };
        match (target.type_.as_str(), milli(&target.value), milli(&target.average_value)) {
            ("Value", Some(target), _) => {
                let proposal = self.basis.by_value(read.await?, target)?;
                Ok((proposal, format!("{} metric {}", object.kind, metric.name), whole(proposal)))
            }
            ("AverageValue", _, Some(target)) => {
                let usage = read.await.map_err(|e| format!("failed to get {} object metric: {e}", metric.name))?;
                let proposal = self.basis.by_value_per_pod(usage, target);
                Ok((proposal, external_name(metric), average(proposal)))
            }
            _ => Err("invalid object metric source: neither a value target nor an average value target was set".into()),
        }
    }

    async fn external(&self, source: &ExternalMetricSource) -> Result<(Proposal, MetricValueStatus), String> {
        let metric = &source.metric;
        let read = async {
            let selector = selector_text(metric.selector.as_ref())?;
            let read = self.metrics.external(self.namespace, &metric.name, &selector).await;
            let shown = metric.selector.as_ref().map_or_else(|| "nil".into(), go_text::label_selector);
            read.map_err(|e| format!("unable to get external metric {}/{}/{shown}: {e}", self.namespace, metric.name))
        };
        if let Some(target) = milli(&source.target.average_value) {
            let usage =
                read.await.map_err(|e: String| format!("failed to get {} external metric: {e}", metric.name))?;
            let proposal = self.basis.by_value_per_pod(usage, target);
            return Ok((proposal, average(proposal)));
        }
        let Some(target) = milli(&source.target.value) else {
            return Err(
                "invalid external metric source: neither a value target nor an average value target was set".into()
            );
        };
        let proposal = match read.await {
            Ok(usage) => self.basis.by_value(usage, target),
            Err(e) => Err(e),
        };
        let proposal = proposal.map_err(|e: String| format!("failed to get external metric {}: {e}", metric.name))?;
        Ok((proposal, whole(proposal)))
    }
}

fn external_name(metric: &MetricIdentifier) -> String {
    let selector = metric.selector.as_ref().map_or_else(|| "nil".into(), go_text::label_selector);
    format!("external metric {}({selector})", metric.name)
}

/// No selector is everything.
fn selector_text(selector: Option<&LabelSelector>) -> Result<String, String> {
    let Some(selector) = selector else { return Ok(String::new()) };
    let value = serde_json::to_value(selector).unwrap_or_default();
    Selector::from_label_selector(Some(&value)).map(|s| s.to_string()).map_err(|e| e.to_string())
}

fn milli(quantity: &Option<resource::Quantity>) -> Option<i64> {
    Some(Quantity::parse(&quantity.as_ref()?.0).ok()?.milli_value())
}

fn quantity(milli: i64, format: Format) -> Option<resource::Quantity> {
    Some(resource::Quantity(Quantity::from_milli(milli, format).to_string()))
}

fn average(proposal: Proposal) -> MetricValueStatus {
    MetricValueStatus { average_value: quantity(proposal.usage_milli, Format::DecimalSi), ..Default::default() }
}

fn whole(proposal: Proposal) -> MetricValueStatus {
    MetricValueStatus { value: quantity(proposal.usage_milli, Format::DecimalSi), ..Default::default() }
}

/// Memory is written in powers of two, as the metrics server does.
fn measured(resource: &str, proposal: Proposal) -> MetricValueStatus {
    let format = if resource == "memory" { Format::BinarySi } else { Format::DecimalSi };
    MetricValueStatus {
        average_utilization: proposal.utilization,
        average_value: quantity(proposal.usage_milli, format),
        value: None,
    }
}
