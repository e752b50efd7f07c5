//! PodTopologySpread: keeps a workload's pods even over zones, nodes or any other node label.
//!
//! A pod without constraints of its own is spread with its Services' and controller's pods by the profile's defaults.

use std::borrow::Cow;
use std::sync::Arc;

use machinery::selector::Selector;

use super::{Candidate, Check, Filter, Normalize, Plugin, Rejection, SCORE_MAX, Score};
use crate::event::Event;
use crate::objects::{Node, Pod, SpreadConstraint, WhenUnsatisfiable, first_untolerated};
use crate::snapshot::{Column, NO_VALUE, PodMatcher, Slot, Snapshot};

const HOSTNAME: &str = "kubernetes.io/hostname";

pub struct PodTopologySpread {
    /// For pods without constraints; their selectors are replaced.
    pub default_constraints: Vec<SpreadConstraint>,
    /// The defaults are the built-in ones: a node without their labels still counts.
    pub system_defaults: bool,
}

impl Default for PodTopologySpread {
    /// Upstream's system defaults: softly over hosts and zones.
    fn default() -> Self {
        let soft = |topology_key: &str, max_skew| SpreadConstraint {
            max_skew,
            topology_key: topology_key.into(),
            when_unsatisfiable: WhenUnsatisfiable::ScheduleAnyway,
            selector: Selector::nothing(),
            min_domains: 1,
            honor_affinity: true,
            honor_taints: false,
        };
        let default_constraints = vec![soft(HOSTNAME, 3), soft("topology.kubernetes.io/zone", 5)];
        Self { default_constraints, system_defaults: true }
    }
}

/// A constraint with what it reads of the snapshot.
struct Bound<'a> {
    constraint: Cow<'a, SpreadConstraint>,
    matcher: PodMatcher,
    column: Arc<Column>,
    counts: Arc<Vec<u32>>,
    /// The pod itself is one of those that are spread.
    counts_self: bool,
    /// No policy leaves a node out: none needs to be looked at.
    includes_all: bool,
}

impl PodTopologySpread {
    fn constraints<'a>(
        &'a self,
        pod: &'a Pod,
        snapshot: &Snapshot,
        when: WhenUnsatisfiable,
    ) -> Vec<Cow<'a, SpreadConstraint>> {
        let wanted = |constraint: &&'a SpreadConstraint| constraint.when_unsatisfiable == when;
        if !pod.spread.is_empty() {
            return pod.spread.iter().filter(wanted).map(Cow::Borrowed).collect();
        }
        let mut defaults = self.default_constraints.iter().filter(wanted).peekable();
        if defaults.peek().is_none() {
            return Vec::new();
        }
        let Some(selector) = snapshot.default_selector(pod) else { return Vec::new() };
        defaults
            .map(|constraint| Cow::Owned(SpreadConstraint { selector: selector.clone(), ..constraint.clone() }))
            .collect()
    }

    fn bound<'a>(&'a self, pod: &'a Pod, snapshot: &Snapshot, when: WhenUnsatisfiable) -> Vec<Bound<'a>> {
        let bind = |constraint: Cow<'a, SpreadConstraint>| {
            let matcher =
                PodMatcher::Spread { namespace: pod.namespace().into(), selector: constraint.selector.clone() };
            Bound {
                column: snapshot.column(&constraint.topology_key),
                counts: snapshot.counts(&matcher),
                counts_self: constraint.selector.matches_labels(pod.metadata.labels.as_ref()),
                includes_all: !constraint.honor_taints
                    && (!constraint.honor_affinity || pod.required_node_affinity.is_empty()),
                matcher,
                constraint,
            }
        };
        self.constraints(pod, snapshot, when).into_iter().map(bind).collect()
    }
}

impl Bound<'_> {
    fn value(&self, slot: Slot) -> Option<usize> {
        Some(self.column.values[slot]).filter(|value| *value != NO_VALUE).map(|value| value as usize)
    }

    /// Whether a node's pods count for this pod.
    fn includes(&self, pod: &Pod, snapshot: &Snapshot, slot: Slot) -> bool {
        self.includes_all || snapshot.node(slot).node().is_some_and(|node| self.includes_node(pod, node))
    }

    fn includes_node(&self, pod: &Pod, node: &Node) -> bool {
        (!self.constraint.honor_affinity || pod.required_node_affinity.matches(node))
            && (!self.constraint.honor_taints || first_untolerated(&node.taints, &pod.tolerations).is_none())
    }
}

fn has_all_labels(constraints: &[Bound<'_>], slot: Slot) -> bool {
    constraints.iter().all(|constraint| constraint.value(slot).is_some())
}

/// Matching pods per domain of the constraint. Where every node counts, they are at hand as sums.
struct Domains {
    counts: Arc<Vec<i64>>,
    /// Which domains a counted node belongs to; `None` when that is all.
    counted: Option<Vec<bool>>,
}

impl Domains {
    /// With `needs_all` only nodes count that have the labels of all constraints.
    fn of(bound: &Bound<'_>, all: &[Bound<'_>], needs_all: bool, pod: &Pod, snapshot: &Snapshot) -> Self {
        let same_label = |other: &Bound<'_>| other.constraint.topology_key == bound.constraint.topology_key;
        if bound.includes_all && (!needs_all || all.iter().all(|o| o.column.is_complete || same_label(o))) {
            let counts = snapshot.sums(&bound.matcher, &bound.constraint.topology_key);
            return Self { counts, counted: None };
        }
        let (mut counts, mut counted) = (vec![0; bound.column.len], vec![false; bound.column.len]);
        for slot in snapshot.order() {
            if (needs_all && !has_all_labels(all, *slot)) || !bound.includes(pod, snapshot, *slot) {
                continue;
            }
            if let Some(value) = bound.value(*slot) {
                counts[value] += i64::from(bound.counts[*slot]);
                counted[value] = true;
            }
        }
        Self { counts: Arc::new(counts), counted: Some(counted) }
    }

    /// The least of any domain, where there are at least so many.
    fn fewest(&self, min_domains: i64) -> i64 {
        let counted = |value: usize| self.counted.as_ref().is_none_or(|counted| counted[value]);
        let known = self.counts.iter().enumerate().filter(|(value, _)| counted(*value)).map(|(_, count)| *count);
        let enough = known.clone().count() as i64 >= min_domains;
        // With no domain at all nothing is too many, as upstream has it.
        if enough { known.min().unwrap_or(i64::from(i32::MAX)) } else { 0 }
    }
}

/// One hard constraint ready to check.
struct Hard<'a> {
    bound: Bound<'a>,
    domains: Domains,
    /// Pods in the domain that has the fewest.
    fewest: i64,
}

fn hard_check<'a>(constraints: Vec<Bound<'a>>, pod: &'a Pod, snapshot: &'a Snapshot) -> Check<'a> {
    let per_domain: Vec<_> = constraints.iter().map(|c| Domains::of(c, &constraints, true, pod, snapshot)).collect();
    let combine = |(bound, domains): (Bound<'a>, Domains)| {
        let fewest = domains.fewest(bound.constraint.min_domains);
        Hard { bound, domains, fewest }
    };
    let hard: Vec<Hard<'a>> = constraints.into_iter().zip(per_domain).map(combine).collect();
    Box::new(move |candidate| hard.iter().try_for_each(|hard| hard.check(candidate.slot)))
}

impl Hard<'_> {
    fn check(&self, slot: Slot) -> Result<(), Rejection> {
        let Some(value) = self.bound.value(slot) else {
            let reason = "node(s) didn't match pod topology spread constraints (missing required label)";
            return Err(Rejection::lasting(reason));
        };
        let skew = self.domains.counts[value] + i64::from(self.bound.counts_self) - self.fewest;
        if skew > self.bound.constraint.max_skew {
            return Err(Rejection::preemptable("node(s) didn't match pod topology spread constraints"));
        }
        Ok(())
    }
}

/// One soft constraint ready to score: matching pods by domain, or by node for the hostname.
struct Soft<'a> {
    bound: Bound<'a>,
    per_domain: Option<Domains>,
    weight: f64,
}

impl Soft<'_> {
    fn score(&self, slot: Slot) -> f64 {
        let Some(value) = self.bound.value(slot) else { return 0.0 };
        let count = match &self.per_domain {
            Some(domains) => domains.counts[value],
            None => i64::from(self.bound.counts[slot]),
        };
        count as f64 * self.weight + (self.bound.constraint.max_skew - 1) as f64
    }
}

impl PodTopologySpread {
    /// Counted over all nodes that the pod may count; the more domains feasible nodes have, the more they weigh.
    fn soften<'a>(&self, all: Vec<Bound<'a>>, pod: &Pod, snapshot: &Snapshot, feasible: &[Slot]) -> Vec<Soft<'a>> {
        let requires_all = !pod.spread.is_empty() || !self.system_defaults;
        let counted = |slot: &&Slot| !requires_all || has_all_labels(&all, **slot);
        let eligible: Vec<Slot> = feasible.iter().filter(counted).copied().collect();
        let prepare = |bound: &Bound<'_>| -> (Option<Domains>, usize) {
            if &*bound.constraint.topology_key == HOSTNAME {
                return (None, eligible.len());
            }
            let mut wanted = vec![false; bound.column.len];
            // Nodes without the label form one more domain.
            let mut unlabelled = false;
            for slot in &eligible {
                match bound.value(*slot) {
                    Some(value) => wanted[value] = true,
                    None => unlabelled = true,
                }
            }
            let domains = Domains::of(bound, &all, requires_all, pod, snapshot);
            (Some(domains), wanted.iter().filter(|w| **w).count() + usize::from(unlabelled))
        };
        let prepared: Vec<_> = all.iter().map(prepare).collect();
        let combine = |(bound, (per_domain, size)): (Bound<'a>, (Option<Domains>, usize))| Soft {
            bound,
            per_domain,
            weight: ((size + 2) as f64).ln(),
        };
        all.into_iter().zip(prepared).map(combine).collect()
    }
}

/// Fewer matching pods become more points; nodes that do not count (-1) get none.
fn normalize(scores: &mut [i64]) {
    let counted = || scores.iter().copied().filter(|score| *score >= 0);
    let (least, most) = (counted().min().unwrap_or(0), counted().max().unwrap_or(0));
    for score in scores {
        *score = match *score {
            score if score < 0 => 0,
            _ if most == 0 => SCORE_MAX,
            score => SCORE_MAX * (most + least - score) / most,
        };
    }
}

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn filter<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot) -> Filter<'a> {
        let constraints = self.bound(pod, snapshot, WhenUnsatisfiable::DoNotSchedule);
        if constraints.is_empty() { Filter::Skip } else { Filter::Check(hard_check(constraints, pod, snapshot)) }
    }

    fn score<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot, feasible: &'a [Slot]) -> Score<'a> {
        let constraints = self.bound(pod, snapshot, WhenUnsatisfiable::ScheduleAnyway);
        if constraints.is_empty() {
            return Score::Skip;
        }
        let requires_all = !pod.spread.is_empty() || !self.system_defaults;
        let soft = self.soften(constraints, pod, snapshot, feasible);
        let score = move |candidate: Candidate<'_>| {
            if requires_all && soft.iter().any(|soft| soft.bound.value(candidate.slot).is_none()) {
                return -1;
            }
            soft.iter().map(|soft| soft.score(candidate.slot)).sum::<f64>().round() as i64
        };
        Score::Run { score: Box::new(score), normalize: Normalize::Custom(Box::new(normalize)) }
    }

    fn wakes(&self, pod: &Pod, event: &Event<'_>, snapshot: &Snapshot) -> bool {
        let constraints = self.constraints(pod, snapshot, WhenUnsatisfiable::DoNotSchedule);
        let spreads = |other: &Pod| {
            other.namespace() == pod.namespace()
                && constraints.iter().any(|c| c.selector.matches_labels(other.metadata.labels.as_ref()))
        };
        let labelled = |node: &Node| constraints.iter().all(|c| node.label(&c.topology_key).is_some());
        match *event {
            Event::PodAdd(other) | Event::PodDelete(other) => spreads(other),
            Event::PodUpdate { old, new } => {
                spreads(old) != spreads(new) || old.is_terminating() != new.is_terminating()
            }
            Event::OwnUpdate { old, new } => {
                old.metadata.labels != new.metadata.labels
                    || (old.tolerations != new.tolerations && constraints.iter().any(|c| c.honor_taints))
            }
            Event::NodeAdd(node) | Event::NodeDelete(node) => labelled(node),
            Event::NodeUpdate { old, new } => {
                let moved = constraints.iter().any(|c| old.label(&c.topology_key) != new.label(&c.topology_key));
                labelled(old) != labelled(new) || (labelled(new) && (moved || old.taints != new.taints))
            }
            _ => false,
        }
    }
}
