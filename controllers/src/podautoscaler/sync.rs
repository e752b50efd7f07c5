//! One look at an autoscaler: read the scale, read the metrics, scale, tell.

use std::sync::Arc;

use component::key::Key;
use component::recorder::Type;
use jiff::SignedDuration;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::autoscaling::v2::{HPAScalingRules, HorizontalPodAutoscaler, MetricStatus};
use kube::Api;
use kube::api::PostParams;
use kube::core::DynamicObject;
use machinery::quantity::Quantity;
use machinery::selector::Selector;

use super::calculate::{Basis, Readiness, Tolerances};
use super::metric::{Failed, Source};
use super::{Controller, condition};
use crate::common::discovery::Resource;
use crate::common::error::{Doing, Error};
use crate::common::pod::Pod;
use crate::common::time;

/// How often a scale that somebody else writes too is tried.
const TRIES: usize = 5;

/// What the metrics ask for.
struct Recommendation {
    replicas: i32,
    /// The metric that asks for the most.
    metric: String,
    statuses: Vec<MetricStatus>,
    /// Some metrics could not be read; the others were enough.
    error: Option<String>,
}

/// Where to go, and why.
struct Goal {
    replicas: i32,
    reason: String,
    statuses: Option<Vec<MetricStatus>>,
    error: Option<String>,
}

/// The look ended early, with the status told.
type Stop = Error;

impl Controller {
    pub(super) async fn sync(&self, key: &Key, cached: &HorizontalPodAutoscaler) -> Result<(), Error> {
        let mut hpa = cached.clone();
        let synced = self.decide_and_scale(key, &mut hpa).await;
        if hpa.status != cached.status {
            let api = Api::<HorizontalPodAutoscaler>::namespaced(self.ctx.client.clone(), &key.namespace);
            let written = api.replace_status(&key.name, &PostParams::default(), &hpa).await;
            if let Err(e) = written.doing("update status of autoscaler", key) {
                self.tell(cached, Type::Warning, "FailedUpdateStatus", e.api_message());
                return Err(e);
            }
        }
        synced
    }

    fn tell(&self, hpa: &HorizontalPodAutoscaler, kind: Type, reason: &str, message: impl Into<String>) {
        self.ctx.recorder.event(hpa, kind, reason, message);
    }

    fn set(
        &self,
        hpa: &mut HorizontalPodAutoscaler,
        kind: &str,
        status: bool,
        reason: &str,
        message: impl Into<String>,
    ) {
        condition::set(hpa, kind, status, reason, message, self.ctx.clock.now());
    }

    async fn decide_and_scale(&self, key: &Key, hpa: &mut HorizontalPodAutoscaler) -> Result<(), Stop> {
        let (api, scale) = match self.scale_of(key, hpa).await {
            Ok(found) => found,
            Err(e) => {
                let words = e.own_words();
                self.tell(hpa, Type::Warning, "FailedGetScale", &words);
                let message = format!("the HPA controller was unable to get the target's current scale: {words}");
                self.set(hpa, "AbleToScale", false, "FailedGetScale", message);
                return Err(e);
            }
        };
        let message = "the HPA controller was able to get the target's current scale";
        self.set(hpa, "AbleToScale", true, "SucceededGetScale", message);
        let current = scale.spec.as_ref().and_then(|s| s.replicas).unwrap_or(0);
        self.with_history(key, |history| history.begin(current, self.ctx.clock.now()));
        let goal = self.goal(key, hpa, &scale, current).await?;
        let rescale = goal.replicas != current;
        if rescale {
            self.rescale(key, hpa, &api, scale, &goal).await?;
        }
        let status = hpa.status.get_or_insert_default();
        status.current_replicas = Some(current);
        status.desired_replicas = goal.replicas;
        status.current_metrics = goal.statuses;
        if rescale {
            status.last_scale_time = Some(time(self.ctx.clock.now()));
        }
        goal.error.map_or(Ok(()), |e| Err(Error::refused("look at metrics of", key, e)))
    }

    async fn scale_of(&self, key: &Key, hpa: &HorizontalPodAutoscaler) -> Result<(Api<DynamicObject>, Scale), Error> {
        let target = &hpa.spec.scale_target_ref;
        let api_version = target.api_version.as_deref().unwrap_or_default();
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        if api_version.matches('/').count() > 1 {
            let reason = format!("unexpected GroupVersion string: {api_version}");
            return Err(Error::refused("get scale of", &target.name, reason));
        }
        let is = |r: &Resource| (r.group.as_str(), &r.kind) == (group, &target.kind);
        let known = self.kinds.with(&self.ctx.client, |all| all.iter().any(is)).await?;
        let Some(resource) = known.iter().find(|r| is(r)) else {
            let reason = format!("no matches for kind {:?} in group {group:?}", target.kind);
            return Err(Error::refused("get scale of", &target.name, reason));
        };
        let client = self.ctx.client.clone();
        let api = Api::<DynamicObject>::namespaced_with(client, &key.namespace, &resource.api_resource());
        let scale = api.get_scale(&target.name).await.doing("get scale of", &target.name)?;
        Ok((api, scale))
    }

    async fn goal(
        &self,
        key: &Key,
        hpa: &mut HorizontalPodAutoscaler,
        scale: &Scale,
        current: i32,
    ) -> Result<Goal, Stop> {
        let (min, max) = (hpa.spec.min_replicas.unwrap_or(1), hpa.spec.max_replicas);
        let fixed = |replicas, reason: &str| Goal { replicas, reason: reason.into(), statuses: None, error: None };
        if current == 0 {
            let message = "scaling is disabled since the replica count of the target is zero";
            self.set(hpa, "ScalingActive", false, "ScalingDisabled", message);
            condition::forget_zero(hpa);
            return Ok(fixed(0, ""));
        }
        if current > max {
            return Ok(fixed(max, "Current number of replicas above Spec.MaxReplicas"));
        }
        if current < min {
            return Ok(fixed(min, "Current number of replicas below Spec.MinReplicas"));
        }
        let asked = self.recommend(key, hpa, scale).await?;
        let wanted = asked.replicas.max(0);
        let reason = match wanted {
            more if more > current => format!("{} above target", asked.metric),
            less if less < current => "All metrics below target".into(),
            _ => String::new(),
        };
        let now = self.ctx.clock.now();
        let window = SignedDuration::try_from(self.settings.downscale_stabilization).unwrap_or_default();
        let spec = hpa.spec.clone();
        let allowed = self.with_history(key, |history| history.allow(&spec, current, wanted, window, now));
        self.set(hpa, "AbleToScale", true, allowed.able.0, allowed.able.1);
        self.set(hpa, "ScalingLimited", allowed.limited, allowed.limit.0, allowed.limit.1);
        Ok(Goal { replicas: allowed.replicas, reason, statuses: Some(asked.statuses), error: asked.error })
    }

    /// The most that any metric asks for. Where one is missing nothing is taken away: it might have asked for more.
    async fn recommend(
        &self,
        key: &Key,
        hpa: &mut HorizontalPodAutoscaler,
        scale: &Scale,
    ) -> Result<Recommendation, Stop> {
        let current = scale.spec.as_ref().and_then(|s| s.replicas).unwrap_or(0);
        let (selector, pods) = match self.selected(key, hpa, scale) {
            Ok(found) => found,
            Err(cause) => return Err(self.without_metrics(key, hpa, current, Vec::new(), cause)),
        };
        let basis = Basis {
            pods: &pods,
            tolerances: self.tolerances(hpa),
            readiness: Readiness {
                cpu_initialization_period: self.settings.cpu_initialization_period,
                initial_readiness_delay: self.settings.initial_readiness_delay,
            },
            spec_replicas: current,
            status_replicas: scale.status.as_ref().map_or(0, |s| s.replicas),
            now: self.ctx.clock.now(),
        };
        let source = Source {
            metrics: &self.metrics,
            kinds: &self.kinds,
            namespace: &key.namespace,
            selector: &selector,
            basis: &basis,
        };
        let specs = hpa.spec.metrics.clone().unwrap_or_default();
        let (mut best, mut statuses, mut failed): (Option<(i32, String)>, _, Vec<Failed>) =
            (None, Vec::new(), Vec::new());
        for spec in &specs {
            match source.compute(spec).await {
                Ok(computed) => {
                    statuses.push(computed.status);
                    if best.as_ref().is_none_or(|(replicas, _)| *replicas == 0 || computed.replicas > *replicas) {
                        best = Some((computed.replicas, computed.name));
                    }
                }
                Err(e) => {
                    self.tell(hpa, Type::Warning, e.reason, &e.cause);
                    // Upstream keeps a place for it, empty but for a type that is none.
                    statuses.push(MetricStatus::default());
                    failed.push(e);
                }
            }
        }
        let error = invalid_metrics(&failed, specs.len());
        match (best, failed.first()) {
            (Some((replicas, metric)), first) if first.is_none() || replicas >= current => {
                let message = format!("the HPA was able to successfully calculate a replica count from {metric}");
                self.set(hpa, "ScalingActive", true, "ValidMetricFound", message);
                Ok(Recommendation { replicas, metric, statuses, error })
            }
            (_, first) => {
                if let Some(first) = first {
                    let message = format!("the HPA was unable to compute the replica count: {}", first.cause);
                    self.set(hpa, "ScalingActive", false, first.reason, message);
                }
                Err(self.without_metrics(key, hpa, current, statuses, error.unwrap_or_default()))
            }
        }
    }

    /// Nothing is done; the status still tells what could be read.
    fn without_metrics(
        &self,
        key: &Key,
        hpa: &mut HorizontalPodAutoscaler,
        current: i32,
        statuses: Vec<MetricStatus>,
        cause: String,
    ) -> Stop {
        let status = hpa.status.get_or_insert_default();
        status.current_replicas = Some(current);
        status.current_metrics = Some(statuses).filter(|s| !s.is_empty());
        self.tell(hpa, Type::Warning, "FailedComputeMetricsReplicas", &cause);
        let target = &hpa.spec.scale_target_ref;
        let reference = format!("{}/{}/{}", target.kind, key.namespace, target.name);
        let what = "failed to compute desired number of replicas based on listed metrics for";
        Error::refused("look at metrics of", key, format!("{what} {reference}: {cause}"))
    }

    /// The target's selector and its pods. Pods that two autoscalers scale would be scaled by neither as it should.
    fn selected(
        &self,
        key: &Key,
        hpa: &mut HorizontalPodAutoscaler,
        scale: &Scale,
    ) -> Result<(String, Vec<Arc<Pod>>), String> {
        let text = scale.status.as_ref().and_then(|s| s.selector.clone()).unwrap_or_default();
        if text.is_empty() {
            let message = "selector is required";
            self.tell(hpa, Type::Warning, "SelectorRequired", message);
            self.set(hpa, "ScalingActive", false, "InvalidSelector", "the HPA target's scale is missing a selector");
            return Err(message.into());
        }
        let selector = match Selector::parse(&text) {
            Ok(selector) => selector,
            Err(e) => {
                let message = format!("couldn't convert selector into a corresponding internal selector object: {e}");
                self.tell(hpa, Type::Warning, "InvalidSelector", &message);
                self.set(hpa, "ScalingActive", false, "InvalidSelector", &message);
                return Err(message);
            }
        };
        let mut pods = self.pods.in_namespace(&key.namespace);
        pods.retain(|pod| selector.matches_labels(pod.metadata.labels.as_ref()));
        let rivals = self.rivals(key, selector, &pods);
        if rivals.len() > 1 {
            let names = rivals.join(" ");
            let message = format!("pods by selector {text} are controlled by multiple HPAs: [{names}]");
            self.tell(hpa, Type::Warning, "AmbiguousSelector", &message);
            self.set(hpa, "ScalingActive", false, "AmbiguousSelector", &message);
            return Err(message);
        }
        Ok((text, pods))
    }

    /// All autoscalers, this one too, whose targets select some of these pods.
    fn rivals(&self, key: &Key, selector: Selector, pods: &[Arc<Pod>]) -> Vec<String> {
        let mut memory = self.memory();
        memory.entry(key.clone()).or_default().selector = Some(selector);
        let selects = |s: &Selector| pods.iter().any(|pod| s.matches_labels(pod.metadata.labels.as_ref()));
        let here = memory.iter().filter(|(other, _)| other.namespace == key.namespace);
        let mut rivals: Vec<String> = here
            .filter(|(_, m)| m.selector.as_ref().is_some_and(selects))
            .map(|(other, _)| other.to_string())
            .collect();
        rivals.sort_unstable();
        rivals
    }

    fn tolerances(&self, hpa: &HorizontalPodAutoscaler) -> Tolerances {
        let of = |rules: Option<&HPAScalingRules>| {
            let quantity = Quantity::parse(&rules?.tolerance.as_ref()?.0).ok()?;
            Some(quantity.scaled_value(-9) as f64 / 1e9)
        };
        let behavior = hpa.spec.behavior.as_ref();
        Tolerances {
            down: of(behavior.and_then(|b| b.scale_down.as_ref())).unwrap_or(self.settings.tolerance),
            up: of(behavior.and_then(|b| b.scale_up.as_ref())).unwrap_or(self.settings.tolerance),
        }
    }

    async fn rescale(
        &self,
        key: &Key,
        hpa: &mut HorizontalPodAutoscaler,
        api: &Api<DynamicObject>,
        scale: Scale,
        goal: &Goal,
    ) -> Result<(), Stop> {
        let current = scale.spec.as_ref().and_then(|s| s.replicas).unwrap_or(0);
        let (to, reason) = (goal.replicas, &goal.reason);
        if let Err(e) = write_scale(api, &hpa.spec.scale_target_ref.name, scale, to).await {
            let words = e.api_message();
            self.tell(hpa, Type::Warning, "FailedRescale", format!("New size: {to}; reason: {reason}; error: {words}"));
            let message = format!("the HPA controller was unable to update the target scale: {words}");
            self.set(hpa, "AbleToScale", false, "FailedUpdateScale", message);
            let status = hpa.status.get_or_insert_default();
            status.current_replicas = Some(current);
            status.current_metrics.clone_from(&goal.statuses);
            return Err(e);
        }
        let message = format!("the HPA controller was able to update the target scale to {to}");
        self.set(hpa, "AbleToScale", true, "SucceededRescale", message);
        self.tell(hpa, Type::Normal, "SuccessfulRescale", format!("New size: {to}; reason: {reason}"));
        let now = self.ctx.clock.now();
        self.with_history(key, |history| history.scaled(&hpa.spec, current, to, now));
        condition::forget_zero(hpa);
        Ok(())
    }
}

/// Over a newer scale too: only the number counts.
async fn write_scale(api: &Api<DynamicObject>, name: &str, mut scale: Scale, replicas: i32) -> Result<(), Error> {
    for _ in 1..TRIES {
        scale.spec.get_or_insert_default().replicas = Some(replicas);
        match api.replace_scale(name, &PostParams::default(), &scale).await.doing("scale", name) {
            Err(e) if e.is_conflict() => {
                // What cannot be read stays as it was: the conflict is what is told in the end.
                if let Ok(newer) = api.get_scale(name).await {
                    scale = newer;
                }
            }
            other => return other.map(drop),
        }
    }
    scale.spec.get_or_insert_default().replicas = Some(replicas);
    api.replace_scale(name, &PostParams::default(), &scale).await.map(drop).doing("scale", name)
}

/// How many of the metrics could not be read, and why the first could not.
fn invalid_metrics(failed: &[Failed], of: usize) -> Option<String> {
    let first = &failed.first()?.error;
    Some(format!("invalid metrics ({} invalid out of {of}), first error is: {first}", failed.len()))
}
