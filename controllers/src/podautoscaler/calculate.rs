//! How many replicas a metric asks for.
//!
//! Pure. Concepts: "Horizontal Pod Autoscaling", "Algorithm details". All amounts are in thousandths. Pods that say nothing
//! count so that the change becomes smaller; errors are upstream's sentences, which events and conditions show.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, ResourceRequirements};
use kube::ResourceExt;
use machinery::quantity::Quantity;

use crate::common::pod::Pod;
use crate::common::pods;

/// What one pod uses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) at: Timestamp,
    pub(super) window: Duration,
    pub(super) milli: i64,
}

/// By the names of pods.
pub(super) type Samples = BTreeMap<String, Sample>;

/// How far from 1 the ratio of use and target may be before anything is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tolerances {
    pub(super) down: f64,
    pub(super) up: f64,
}

impl Tolerances {
    fn allow(self, ratio: f64) -> bool {
        (1.0 - self.down..=1.0 + self.up).contains(&ratio)
    }
}

/// When a pod's use of CPU begins to count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Readiness {
    pub(super) cpu_initialization_period: Duration,
    pub(super) initial_readiness_delay: Duration,
}

/// What all the calculations of one sync go by.
pub(super) struct Basis<'a> {
    /// All that the target's selector selects.
    pub(super) pods: &'a [Arc<Pod>],
    pub(super) tolerances: Tolerances,
    pub(super) readiness: Readiness,
    /// The replicas that the target asks for, and has.
    pub(super) spec_replicas: i32,
    pub(super) status_replicas: i32,
    pub(super) now: Timestamp,
}

/// The replicas proposed, and the use that the status shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Proposal {
    pub(super) replicas: i32,
    pub(super) usage_milli: i64,
    /// Use in percent of the requests, where that is what was asked for.
    pub(super) utilization: Option<i32>,
}

const NO_PODS: &str = "no pods returned by selector while calculating replica count";
const NO_METRICS: &str = "did not receive metrics for targeted pods (pods might be unready)";

/// Pods by what is known of them.
#[derive(Debug, Default)]
struct Groups {
    ready: usize,
    unready: Vec<String>,
    missing: Vec<String>,
    ignored: Vec<String>,
}

impl Basis<'_> {
    /// For a target in percent of the pods' requests. `container` is empty for whole pods.
    pub(super) fn by_utilization(
        &self,
        samples: Samples,
        target: i32,
        resource: &str,
        container: &str,
    ) -> Result<Proposal, String> {
        let (samples, groups) = self.sort(samples, resource)?;
        let requests = requests(self.pods, resource, container)?;
        let measure = |samples: &Samples| utilization(samples, &requests, target);
        let (ratio, percent, usage_milli) = measure(&samples)?;
        // One that tells nothing uses all that it asked for, or, when the target is more than that, the target.
        let fallback = |name: &str| requests.get(name).copied().unwrap_or(0) * i64::from(target.max(100)) / 100;
        let replicas = self.propose(samples, &groups, ratio, fallback, |s| measure(s).map(|m| m.0))?;
        Ok(Proposal { replicas, usage_milli, utilization: Some(percent) })
    }

    /// For a target of so much for each pod. `resource` is empty for metrics that are no resource.
    pub(super) fn by_average(&self, samples: Samples, target_milli: i64, resource: &str) -> Result<Proposal, String> {
        let (samples, groups) = self.sort(samples, resource)?;
        let mean = |samples: &Samples| total(samples) / samples.len().max(1) as i64;
        let ratio = |samples: &Samples| mean(samples) as f64 / target_milli as f64;
        let usage_milli = mean(&samples);
        let first = ratio(&samples);
        let replicas = self.propose(samples, &groups, first, |_| target_milli, |s| Ok(ratio(s)))?;
        Ok(Proposal { replicas, usage_milli, utilization: None })
    }

    /// For one number about something else, with a target for the whole.
    pub(super) fn by_value(&self, usage_milli: i64, target_milli: i64) -> Result<Proposal, String> {
        let ratio = usage_milli as f64 / target_milli as f64;
        let replicas = match self.spec_replicas {
            0 => ceil(ratio),
            replicas if self.tolerances.allow(ratio) => replicas,
            _ if self.pods.is_empty() => return Err(format!("unable to calculate ready pods: {NO_PODS}")),
            _ => {
                let ready = self.pods.iter().filter(|p| pods::phase(p) == "Running" && pods::is_ready(p)).count();
                ceil(ratio * ready as f64)
            }
        };
        Ok(Proposal { replicas, usage_milli, utilization: None })
    }

    /// For one number about something else, with a target for each pod.
    pub(super) fn by_value_per_pod(&self, usage_milli: i64, target_milli: i64) -> Proposal {
        let have = f64::from(self.status_replicas);
        let ratio = usage_milli as f64 / (target_milli as f64 * have);
        let replicas = match self.tolerances.allow(ratio) {
            true => self.status_replicas,
            false => ceil(usage_milli as f64 / target_milli as f64),
        };
        // Saturates, also where there is nothing to divide by.
        Proposal { replicas, usage_milli: (usage_milli as f64 / have).ceil() as i64, utilization: None }
    }

    /// Without the samples of pods that do not count, of which none may be left.
    fn sort(&self, mut samples: Samples, resource: &str) -> Result<(Samples, Groups), String> {
        if self.pods.is_empty() {
            return Err(NO_PODS.into());
        }
        let groups = self.group(&samples, resource);
        for name in groups.ignored.iter().chain(&groups.unready) {
            samples.remove(name);
        }
        if samples.is_empty() { Err(NO_METRICS.into()) } else { Ok((samples, groups)) }
    }

    fn group(&self, samples: &Samples, resource: &str) -> Groups {
        let mut groups = Groups::default();
        for pod in self.pods {
            let name = pod.name_any();
            if pod.metadata.deletion_timestamp.is_some() || pods::phase(pod) == "Failed" {
                groups.ignored.push(name);
            } else if pods::phase(pod) == "Pending" {
                groups.unready.push(name);
            } else {
                match samples.get(&name) {
                    None => groups.missing.push(name),
                    Some(sample) if resource == "cpu" && !self.has_warmed_up(pod, sample) => groups.unready.push(name),
                    Some(_) => groups.ready += 1,
                }
            }
        }
        groups
    }

    /// Starting costs CPU that says nothing about load.
    fn has_warmed_up(&self, pod: &Pod, sample: &Sample) -> bool {
        let started = pod.status.as_ref().and_then(|s| s.start_time.as_ref()).map(|t| t.0);
        let (Some(ready), Some(started)) = (pods::condition(pod, "Ready"), started) else { return false };
        let changed = ready.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |t| t.0);
        let is_ready = ready.status != "False";
        match later(started, self.readiness.cpu_initialization_period) > self.now {
            true => is_ready && sample.at >= later(changed, sample.window),
            false => is_ready || later(started, self.readiness.initial_readiness_delay) <= changed,
        }
    }

    /// `fallback` is what a pod without a sample uses when there seem to be too many pods; when there seem to be too few,
    /// it uses nothing.
    fn propose(
        &self,
        mut samples: Samples,
        groups: &Groups,
        ratio: f64,
        fallback: impl Fn(&str) -> i64,
        measure: impl Fn(&Samples) -> Result<f64, String>,
    ) -> Result<i32, String> {
        let unready_matter = !groups.unready.is_empty() && ratio > 1.0;
        if !unready_matter && groups.missing.is_empty() {
            let keep = self.tolerances.allow(ratio);
            return Ok(if keep { self.spec_replicas } else { ceil(ratio * groups.ready as f64) });
        }
        let mut assume = |name: &String, milli: i64| {
            samples.insert(name.clone(), Sample { at: self.now, window: Duration::ZERO, milli });
        };
        if ratio < 1.0 {
            groups.missing.iter().for_each(|name| assume(name, fallback(name)));
        } else if ratio > 1.0 {
            groups.missing.iter().for_each(|name| assume(name, 0));
        }
        if unready_matter {
            groups.unready.iter().for_each(|name| assume(name, 0));
        }
        let new = measure(&samples)?;
        let turned = (ratio < 1.0 && new > 1.0) || (ratio > 1.0 && new < 1.0);
        if self.tolerances.allow(new) || turned {
            return Ok(self.spec_replicas);
        }
        let replicas = ceil(new * samples.len() as f64);
        let against = (new < 1.0 && replicas > self.spec_replicas) || (new > 1.0 && replicas < self.spec_replicas);
        Ok(if against { self.spec_replicas } else { replicas })
    }
}

/// Saturates at the ends of the type.
fn ceil(number: f64) -> i32 {
    number.ceil() as i32
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| time.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}

fn total(samples: &Samples) -> i64 {
    samples.values().fold(0, |sum, sample| sum.saturating_add(sample.milli))
}

/// The ratio to the target, the use in percent, and the average use.
fn utilization(samples: &Samples, requests: &BTreeMap<String, i64>, target: i32) -> Result<(f64, i32, i64), String> {
    let known = samples.iter().filter_map(|(name, sample)| Some((sample.milli, *requests.get(name)?)));
    let (used, asked, count) = known.fold((0i64, 0i64, 0), |(u, a, n), (used, asked)| (u + used, a + asked, n + 1));
    if asked == 0 {
        return Err("no metrics returned matched known pods".into());
    }
    let percent = i32::try_from(used * 100 / asked).unwrap_or(i32::MAX);
    Ok((f64::from(percent) / f64::from(target), percent, used / count))
}

/// What each pod asks for. A pod that does not say is an error: there is nothing to be in percent of.
fn requests(pods: &[Arc<Pod>], resource: &str, container: &str) -> Result<BTreeMap<String, i64>, String> {
    pods.iter().map(|pod| Ok((pod.name_any(), request(pod, resource, container)?))).collect()
}

fn request(pod: &Pod, resource: &str, container: &str) -> Result<i64, String> {
    let name = pod.name_any();
    let Some(spec) = &pod.spec else { return Ok(0) };
    let of_pod = spec.resources.as_ref().and_then(|r| r.requests.as_ref()).filter(|r| !r.is_empty());
    if container.is_empty() && of_pod.is_some() {
        return asked(spec.resources.as_ref(), resource)
            .ok_or_else(|| format!("missing pod-level request for {resource} in Pod {name}"));
    }
    let missing = |c: &Container| format!("missing request for {resource} in container {} of Pod {name}", c.name);
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let mut sum = 0;
    for each in spec.containers.iter().chain(sidecars) {
        if container.is_empty() || container == each.name {
            sum += asked(each.resources.as_ref(), resource).ok_or_else(|| missing(each))?;
        }
        if container == each.name {
            return Ok(sum);
        }
    }
    if container.is_empty() { Ok(sum) } else { Err(format!("container {container} not found in Pod {name}")) }
}

fn asked(resources: Option<&ResourceRequirements>, resource: &str) -> Option<i64> {
    let quantity = resources?.requests.as_ref()?.get(resource)?;
    Some(Quantity::parse(&quantity.0).ok()?.milli_value())
}
