//! InterPodAffinity: near some pods, apart from others, as both the pod and those already placed demand or wish.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{Candidate, Check, Filter, Normalize, Plugin, Rejection, SCORE_MAX, Score};
use crate::event::Event;
use crate::objects::{AffinityTerm, Node, Pod};
use crate::snapshot::{Column, NO_VALUE, PodMatcher, Slot, Snapshot, TermKind};

pub struct InterPodAffinity {
    /// What a placed pod's required affinity to the incoming pod is worth when scoring; 0 to 100.
    pub hard_pod_affinity_weight: i64,
    /// Wishes of placed pods are not looked at for pods without wishes of their own.
    pub ignore_preferred_terms_of_existing_pods: bool,
}

impl Default for InterPodAffinity {
    fn default() -> Self {
        Self { hard_pod_affinity_weight: 1, ignore_preferred_terms_of_existing_pods: false }
    }
}

/// A node label with a number per domain.
struct PerDomain {
    column: Arc<Column>,
    amounts: Vec<i64>,
}

impl PerDomain {
    fn empty(snapshot: &Snapshot, label: &str) -> Self {
        let column = snapshot.column(label);
        Self { amounts: vec![0; column.len], column }
    }

    /// How many pods match, per domain of `label`.
    fn of_matching(snapshot: &Snapshot, label: &str, matcher: &PodMatcher) -> Self {
        Self { column: snapshot.column(label), amounts: snapshot.sums(matcher, label).to_vec() }
    }

    fn add(&mut self, slot: Slot, amount: i64) {
        let value = self.column.values[slot];
        if value != NO_VALUE {
            self.amounts[value as usize] += amount;
        }
    }

    /// `None` where the node has no such label.
    fn at(&self, slot: Slot) -> Option<i64> {
        let value = self.column.values[slot];
        (value != NO_VALUE).then(|| self.amounts[value as usize])
    }

    fn is_empty(&self) -> bool {
        self.amounts.iter().all(|amount| *amount == 0)
    }
}

/// Domains where placed pods do not want this one.
fn refused_domains(pod: &Pod, snapshot: &Snapshot) -> Vec<PerDomain> {
    let mut refused: HashMap<&str, PerDomain> = HashMap::new();
    for (term, _, slots) in snapshot.terms(TermKind::RequiredAnti) {
        if term.matches(pod, snapshot.namespaces()) {
            let domains =
                refused.entry(&term.topology_key).or_insert_with(|| PerDomain::empty(snapshot, &term.topology_key));
            slots.keys().for_each(|slot| domains.add(*slot, 1));
        }
    }
    refused.into_values().collect()
}

struct Demands {
    near: Vec<PerDomain>,
    apart: Vec<PerDomain>,
    refused: Vec<PerDomain>,
    /// No pod anywhere matches what this one wants to be near, but itself does: it is the first of its group.
    first_of_group: bool,
}

impl Demands {
    fn of(pod: &Pod, snapshot: &Snapshot) -> Option<Self> {
        let refused = refused_domains(pod, snapshot);
        let required = pod.affinity.as_deref().map(|a| a.required.as_slice()).unwrap_or_default();
        let required_anti = pod.affinity.as_deref().map(|a| a.required_anti.as_slice()).unwrap_or_default();
        if refused.is_empty() && required.is_empty() && required_anti.is_empty() {
            return None;
        }
        // A pod counts as near only when it matches all terms, each term then having its own topology.
        let all = PodMatcher::Terms(required.to_vec());
        let near: Vec<_> =
            required.iter().map(|term| PerDomain::of_matching(snapshot, &term.topology_key, &all)).collect();
        let apart = required_anti
            .iter()
            .map(|term| PerDomain::of_matching(snapshot, &term.topology_key, &PodMatcher::Terms(vec![term.clone()])));
        let first_of_group = near.iter().all(PerDomain::is_empty) && all.matches(pod, snapshot.namespaces());
        Some(Self { apart: apart.collect(), refused, first_of_group, near })
    }

    fn check(&self, slot: Slot) -> Result<(), Rejection> {
        let labelled = self.near.iter().all(|domains| domains.at(slot).is_some());
        let all_near = self.near.iter().all(|domains| domains.at(slot).is_some_and(|count| count > 0));
        if !labelled || !(all_near || self.first_of_group) {
            return Err(Rejection::lasting("node(s) didn't match pod affinity rules"));
        }
        let present = |domains: &PerDomain| domains.at(slot).is_some_and(|count| count > 0);
        if self.apart.iter().any(present) {
            return Err(Rejection::preemptable("node(s) didn't match pod anti-affinity rules"));
        }
        if self.refused.iter().any(present) {
            return Err(Rejection::preemptable("node(s) didn't satisfy existing pods anti-affinity rules"));
        }
        Ok(())
    }
}

impl InterPodAffinity {
    /// Points per domain, by label, from the wishes of both sides.
    fn wishes(&self, pod: &Pod, snapshot: &Snapshot) -> Vec<PerDomain> {
        let mut points: HashMap<Box<str>, PerDomain> = HashMap::new();
        let mut give = |term: &AffinityTerm, slots: &mut dyn Iterator<Item = (Slot, i64)>| {
            let key = &term.topology_key;
            let domains = points.entry(key.clone()).or_insert_with(|| PerDomain::empty(snapshot, key));
            slots.for_each(|(slot, amount)| domains.add(slot, amount));
        };
        if let Some(own) = pod.affinity.as_deref() {
            let liked = own.preferred.iter().map(|w| (&w.term, w.weight));
            let disliked = own.preferred_anti.iter().map(|w| (&w.term, -w.weight));
            for (term, weight) in liked.chain(disliked) {
                let counts = snapshot.counts(&PodMatcher::Terms(vec![term.clone()]));
                let mut slots = snapshot.order().iter().map(|slot| (*slot, i64::from(counts[*slot]) * weight));
                give(term, &mut slots);
            }
        }
        let hard = Some(self.hard_pod_affinity_weight).filter(|weight| *weight > 0);
        let required = snapshot.terms(TermKind::Required).filter_map(|(term, _, slots)| Some((term, hard?, slots)));
        for (term, weight, slots) in snapshot.terms(TermKind::Preferred).chain(required) {
            if term.matches(pod, snapshot.namespaces()) {
                give(term, &mut slots.iter().map(|(slot, count)| (*slot, i64::from(*count) * weight)));
            }
        }
        points.into_values().filter(|domains| !domains.is_empty()).collect()
    }
}

/// From the least to the most points, 0 to 100.
fn normalize(scores: &mut [i64]) {
    let least = scores.iter().copied().min().unwrap_or(0);
    let range = scores.iter().copied().max().unwrap_or(0) - least;
    for score in scores {
        let part = if range > 0 { (*score - least) as f64 / range as f64 } else { 0.0 };
        *score = (SCORE_MAX as f64 * part) as i64;
    }
}

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn filter<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot) -> Filter<'a> {
        let Some(demands) = Demands::of(pod, snapshot) else { return Filter::Skip };
        let check: Check<'a> = Box::new(move |candidate| demands.check(candidate.slot));
        Filter::Check(check)
    }

    fn score<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot, _: &'a [Slot]) -> Score<'a> {
        let wishes = |pod: &Pod| {
            pod.affinity.as_deref().is_some_and(|a| !a.preferred.is_empty() || !a.preferred_anti.is_empty())
        };
        if self.ignore_preferred_terms_of_existing_pods && !wishes(pod) {
            return Score::Skip;
        }
        let points = self.wishes(pod, snapshot);
        if points.is_empty() {
            return Score::Skip;
        }
        let score =
            move |candidate: Candidate<'_>| points.iter().filter_map(|domains| domains.at(candidate.slot)).sum();
        Score::Run { score: Box::new(score), normalize: Normalize::Custom(Box::new(normalize)) }
    }

    fn wakes(&self, pod: &Pod, event: &Event<'_>, snapshot: &Snapshot) -> bool {
        let namespaces = snapshot.namespaces();
        let affinity = pod.affinity.as_deref();
        let near = affinity.map(|a| a.required.as_slice()).unwrap_or_default();
        let apart = affinity.map(|a| a.required_anti.as_slice()).unwrap_or_default();
        let all = |terms: &[Arc<AffinityTerm>], pod: &Pod| {
            !terms.is_empty() && terms.iter().all(|term| term.matches(pod, namespaces))
        };
        match *event {
            Event::OwnUpdate { .. } => true,
            Event::PodAdd(other) => all(near, other),
            Event::PodUpdate { old, new } => {
                (!all(near, old) && all(near, new)) || (all(apart, old) && !all(apart, new))
            }
            Event::PodDelete(other) => {
                let others = other.affinity.as_deref().map(|a| a.required_anti.as_slice()).unwrap_or_default();
                all(apart, other) || all(others, pod)
            }
            // A new node is empty: also a pod that placed ones keep away may fit there.
            Event::NodeAdd(_) => true,
            Event::NodeUpdate { old, new } => moved(near, old, new, true) || moved(apart, old, new, false),
            _ => false,
        }
    }
}

/// Whether a label that the terms name changed for the better: gained where `gained`, lost otherwise, or another value.
fn moved(terms: &[Arc<AffinityTerm>], old: &Node, new: &Node, gained: bool) -> bool {
    let keys: HashSet<&str> = terms.iter().map(|term| &*term.topology_key).collect();
    keys.into_iter().any(|key| match (old.label(key), new.label(key)) {
        (None, Some(_)) => gained,
        (Some(_), None) => !gained,
        (old, new) => old != new,
    })
}
