//! What `/metrics/probes` tells: how often each probe of each container came to what, and how long it took
//! (`pkg/kubelet/prober`).
//!
//! Enter at [`Figures::series`]. A probe's numbers outlive the runs of its container and go with the probe itself.

use std::sync::Arc;

use component::metrics;
use prometheus::{Encoder as _, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder};

use super::{Kind, handlers::Outcome};
use crate::runtime::labels::Identity;

const SUCCESSFUL: &str = "successful";
const FAILED: &str = "failed";
const START_TIME: &str = "process_start_time_seconds";

/// The numbers of all probes of a node. Cheap to clone.
#[derive(Clone)]
pub struct Figures {
    registry: Registry,
    results: IntCounterVec,
    seconds: HistogramVec,
}

impl Default for Figures {
    fn default() -> Self {
        let help = "[BETA] Cumulative number of a liveness, readiness or startup probe for a container by result.";
        let labels = ["probe_type", "result", "container", "pod", "namespace", "pod_uid"];
        let results = IntCounterVec::new(Opts::new("prober_probe_total", help), &labels);
        let help = "[ALPHA] Duration in seconds for a probe response.";
        let labels = ["probe_type", "container", "pod", "namespace"];
        let seconds = HistogramVec::new(HistogramOpts::new("prober_probe_duration_seconds", help), &labels);
        let made = results.and_then(|results| Ok((results, seconds?)));
        let (results, seconds) = made.unwrap_or_else(|error| panic!("the probes' metrics: {error}"));
        let registry = Registry::new();
        for family in [registry.register(Box::new(results.clone())), registry.register(Box::new(seconds.clone()))] {
            family.unwrap_or_else(|error| panic!("the probes' metrics: {error}"));
        }
        Self { registry, results, seconds }
    }
}

impl Figures {
    /// The numbers of one probe of a pod's container; they are told until all that hold them are gone.
    pub(super) fn series(&self, pod: &Identity, container: &str, kind: Kind) -> Arc<Series> {
        Arc::new(Series { figures: self.clone(), pod: pod.clone(), container: container.to_owned(), kind })
    }

    /// In Prometheus's text format.
    pub fn text(&self) -> Vec<u8> {
        let mut families = self.registry.gather();
        let mut own = metrics::registry().gather();
        own.retain(|family| family.name() == START_TIME);
        families.extend(own);
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&families, &mut text) {
            tracing::error!(%error, "writing the probes' metrics failed");
        }
        text
    }
}

/// A probe that is cut off while it counts holds this still, so nothing is counted after the removal.
pub(super) struct Series {
    figures: Figures,
    pod: Identity,
    container: String,
    kind: Kind,
}

impl Series {
    /// What could not be checked is no result, and how long a failure took is not told.
    pub(super) fn count(&self, outcome: &Outcome, seconds: f64) {
        let result = match outcome {
            Outcome::Success | Outcome::Warning(_) => SUCCESSFUL,
            Outcome::Failure(_) => FAILED,
            Outcome::Errored(_) => return,
        };
        self.figures.results.with_label_values(&self.result_labels(result)).inc();
        if outcome.is_success() {
            self.figures.seconds.with_label_values(&self.labels()).observe(seconds);
        }
    }

    fn result_labels<'a>(&'a self, result: &'a str) -> [&'a str; 6] {
        let [kind, container, pod, namespace] = self.labels();
        [kind, result, container, pod, namespace, &self.pod.uid]
    }

    fn labels(&self) -> [&str; 4] {
        [self.kind.title(), &self.container, &self.pod.name, &self.pod.namespace]
    }
}

impl Drop for Series {
    /// What was never counted is not there to be removed.
    fn drop(&mut self) {
        for result in [SUCCESSFUL, FAILED] {
            let _ = self.figures.results.remove_label_values(&self.result_labels(result));
        }
        let _ = self.figures.seconds.remove_label_values(&self.labels());
    }
}
