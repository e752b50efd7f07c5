//! How fast an autoscaler may act: stabilisation, rates, and the bounds of its spec.
//!
//! Pure; what was recommended and done before is in [`History`]. Concepts: "Horizontal Pod Autoscaling", "Configurable
//! scaling behavior".

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::{
    HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscalerBehavior, HorizontalPodAutoscalerSpec,
};

/// What one autoscaler recommended, and what it did. Lost with the process.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    recommendations: Vec<(Timestamp, i32)>,
    /// How many replicas were added or taken.
    ups: Vec<(Timestamp, i32)>,
    downs: Vec<(Timestamp, i32)>,
}

/// The number to go for, and what two conditions say about it.
#[derive(Debug, PartialEq)]
pub(super) struct Allowed {
    pub(super) replicas: i32,
    /// Reason and message of `AbleToScale`.
    pub(super) able: (&'static str, &'static str),
    pub(super) limited: bool,
    /// Reason and message of `ScalingLimited`.
    pub(super) limit: (&'static str, &'static str),
}

const READY: (&str, &str) = ("ReadyForNewScale", "recommended size matches current size");
const UP_STABILIZED: (&str, &str) = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const DOWN_STABILIZED: (&str, &str) = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const IN_RANGE: (&str, &str) = ("DesiredWithinRange", "the desired count is within the acceptable range");
const TOO_MANY: (&str, &str) = ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const TOO_FEW: (&str, &str) = ("TooFewReplicas", "the desired replica count is less than the minimum replica count");
const UP_LIMIT: (&str, &str) =
    ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const DOWN_LIMIT: (&str, &str) =
    ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");

impl History {
    /// A fresh controller does not scale down before it has looked for a while.
    pub(super) fn begin(&mut self, current: i32, now: Timestamp) {
        if self.recommendations.is_empty() {
            self.recommendations.push((now, current));
        }
    }

    /// What may be done of `desired`. `window` is how long a higher recommendation holds where the spec says nothing.
    pub(super) fn allow(
        &mut self,
        spec: &HorizontalPodAutoscalerSpec,
        current: i32,
        desired: i32,
        window: SignedDuration,
        now: Timestamp,
    ) -> Allowed {
        let (min, max) = (spec.min_replicas.unwrap_or(1), spec.max_replicas);
        let (stable, why) = match &spec.behavior {
            None => (self.highest(desired, window, now), DOWN_STABILIZED),
            Some(behavior) => self.stabilize(behavior, current, desired, window, now),
        };
        let (replicas, limit) = match &spec.behavior {
            None => by_default(current, stable, min, max),
            Some(behavior) => self.by_rates(behavior, current, stable, (min, max), now),
        };
        let able = if stable == desired { READY } else { why };
        Allowed { replicas, able, limited: replicas != stable, limit }
    }

    /// Of this recommendation and those in the window.
    fn highest(&mut self, desired: i32, window: SignedDuration, now: Timestamp) -> i32 {
        let since = before(now, window);
        let recent = self.recommendations.iter().filter(|(at, _)| *at >= since).map(|(_, replicas)| *replicas);
        let highest = recent.fold(desired, i32::max);
        self.recommend(desired, since, now);
        highest
    }

    fn recommend(&mut self, desired: i32, since: Timestamp, now: Timestamp) {
        self.recommendations.retain(|(at, _)| *at >= since);
        self.recommendations.push((now, desired));
    }

    /// The current number, moved only as far as all recommendations of the windows agree on.
    fn stabilize(
        &mut self,
        behavior: &HorizontalPodAutoscalerBehavior,
        current: i32,
        desired: i32,
        window: SignedDuration,
        now: Timestamp,
    ) -> (i32, (&'static str, &'static str)) {
        let seconds = |rules: &Option<HPAScalingRules>| rules.as_ref().and_then(|r| r.stabilization_window_seconds);
        let up_since = before(now, SignedDuration::from_secs(seconds(&behavior.scale_up).unwrap_or(0).into()));
        let down = seconds(&behavior.scale_down).map_or(window, |s| SignedDuration::from_secs(s.into()));
        let down_since = before(now, down);
        let since = |start: Timestamp| {
            self.recommendations.iter().filter(move |(at, _)| *at > start).map(|(_, replicas)| *replicas)
        };
        let lowest = since(up_since).fold(desired, i32::min);
        let highest = since(down_since).fold(desired, i32::max);
        self.recommend(desired, up_since.min(down_since), now);
        let why = if desired >= current { UP_STABILIZED } else { DOWN_STABILIZED };
        (current.max(lowest).min(highest), why)
    }

    fn by_rates(
        &self,
        behavior: &HorizontalPodAutoscalerBehavior,
        current: i32,
        desired: i32,
        (min, max): (i32, i32),
        now: Timestamp,
    ) -> (i32, (&'static str, &'static str)) {
        if desired > current {
            let rate = self.up_limit(behavior.scale_up.as_ref(), current, now).max(current);
            let (most, why) = if max > rate { (rate, UP_LIMIT) } else { (max, TOO_MANY) };
            if desired > most {
                return (most, why);
            }
        } else if desired < current {
            let rate = self.down_limit(behavior.scale_down.as_ref(), current, now).min(current);
            let (least, why) = if min < rate { (rate, DOWN_LIMIT) } else { (min, TOO_FEW) };
            if desired < least {
                return (least, why);
            }
        }
        (desired, IN_RANGE)
    }

    /// How many there were when the policy's period began.
    fn at_start(&self, policy: &HPAScalingPolicy, current: i32, now: Timestamp) -> i32 {
        let since = before(now, SignedDuration::from_secs(policy.period_seconds.into()));
        let sum = |changes: &[(Timestamp, i32)]| -> i32 {
            changes.iter().filter(|(at, _)| *at > since).map(|(_, change)| *change).sum()
        };
        current - sum(&self.ups) + sum(&self.downs)
    }

    fn up_limit(&self, rules: Option<&HPAScalingRules>, current: i32, now: Timestamp) -> i32 {
        let proposals = policies(rules, &DEFAULT_UP).into_iter().map(|policy| {
            let start = self.at_start(&policy, current, now);
            match policy.type_.as_str() {
                "Percent" => (f64::from(start) * (1.0 + f64::from(policy.value) / 100.0)).ceil() as i32,
                _ => start.saturating_add(policy.value),
            }
        });
        match select(rules) {
            "Disabled" => current,
            "Min" => proposals.min().unwrap_or(i32::MAX),
            _ => proposals.max().unwrap_or(i32::MIN),
        }
    }

    fn down_limit(&self, rules: Option<&HPAScalingRules>, current: i32, now: Timestamp) -> i32 {
        let proposals = policies(rules, &DEFAULT_DOWN).into_iter().map(|policy| {
            let start = self.at_start(&policy, current, now);
            match policy.type_.as_str() {
                "Percent" => (f64::from(start) * (1.0 - f64::from(policy.value) / 100.0)) as i32,
                _ => start.saturating_sub(policy.value),
            }
        });
        match select(rules) {
            "Disabled" => current,
            "Min" => proposals.max().unwrap_or(i32::MIN),
            _ => proposals.min().unwrap_or(i32::MAX),
        }
    }

    /// Remembers a change, for as long as some policy looks back.
    pub(super) fn scaled(&mut self, spec: &HorizontalPodAutoscalerSpec, from: i32, to: i32, now: Timestamp) {
        let Some(behavior) = &spec.behavior else { return };
        let (rules, defaults, changes) = match to > from {
            true => (behavior.scale_up.as_ref(), &DEFAULT_UP[..], &mut self.ups),
            false => (behavior.scale_down.as_ref(), &DEFAULT_DOWN[..], &mut self.downs),
        };
        let longest = policies(rules, defaults).iter().map(|p| p.period_seconds).max().unwrap_or(0);
        let since = before(now, SignedDuration::from_secs(longest.into()));
        changes.retain(|(at, _)| *at >= since);
        changes.push((now, (to - from).abs()));
    }
}

/// Type, value and period; the server fills these in where the spec has a behaviour without rules.
const DEFAULT_UP: [(&str, i32, i32); 2] = [("Pods", 4, 15), ("Percent", 100, 15)];
const DEFAULT_DOWN: [(&str, i32, i32); 1] = [("Percent", 100, 15)];

fn policies(rules: Option<&HPAScalingRules>, defaults: &[(&str, i32, i32)]) -> Vec<HPAScalingPolicy> {
    rules.and_then(|r| r.policies.clone()).unwrap_or_else(|| {
        let made = defaults.iter().map(|(kind, value, period_seconds)| HPAScalingPolicy {
            type_: (*kind).into(),
            value: *value,
            period_seconds: *period_seconds,
        });
        made.collect()
    })
}

fn select(rules: Option<&HPAScalingRules>) -> &str {
    rules.and_then(|r| r.select_policy.as_deref()).unwrap_or("Max")
}

fn before(now: Timestamp, by: SignedDuration) -> Timestamp {
    now.checked_sub(by).unwrap_or(Timestamp::MIN)
}

/// Without a behaviour: at most twice as many, or four, at once.
fn by_default(current: i32, desired: i32, min: i32, max: i32) -> (i32, (&'static str, &'static str)) {
    let rate = current.saturating_mul(2).max(4);
    let (most, why) = if max > rate { (rate, UP_LIMIT) } else { (max, TOO_MANY) };
    if desired < min {
        (min, TOO_FEW)
    } else if desired > most {
        (most, why)
    } else {
        (desired, IN_RANGE)
    }
}
