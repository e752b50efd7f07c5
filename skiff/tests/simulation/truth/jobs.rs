//! Jobs: each pod that ends is counted once, and none is forgotten.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{World, controller, is_terminal, number, text};
use crate::doubts::Pods;

const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
const INDEX: &str = "/metadata/annotations/batch.kubernetes.io~1job-completion-index";

#[derive(Default)]
pub(super) struct Jobs(BTreeMap<String, Counts>);

/// What really happened to the pods of one Job.
#[derive(Default)]
struct Counts {
    /// UIDs of those that ended while they had the finalizer, and their completion indexes.
    succeeded: BTreeMap<String, String>,
    /// Those that failed, and those that were deleted before they ended: they may count as failed.
    failed: BTreeMap<String, String>,
    /// Those that had the finalizer at the last revision.
    tracked: BTreeSet<String>,
    /// Whom the Job's status has ever listed or counted by listing.
    listed: BTreeSet<String>,
    told: [i64; 2],
}

impl Jobs {
    pub(super) fn check(&mut self, world: &World, doubts: &Pods) -> Result<(), String> {
        for (name, job) in &world.jobs {
            let uid = text(job, "/metadata/uid");
            let counts = self.0.entry(uid.to_owned()).or_default();
            counts.see(world, job);
            counts
                .check(world, job, doubts.of(uid))
                .map_err(|broken| format!("Job {name}: {broken}: {}", job["status"]))?;
        }
        Ok(())
    }

    pub(super) fn unsettled(&self, world: &World) -> Vec<String> {
        let open = world.jobs.values().filter(|job| !has_condition(job, &["Complete", "Failed"]));
        let open = open.map(|job| format!("Job {}: {}", job["metadata"]["name"], job["status"]));
        let tracked = world.pods.values().filter(|pod| is_tracked(pod));
        open.chain(tracked.map(|pod| format!("pod {} has its finalizer", pod["metadata"]["name"]))).collect()
    }

    pub(super) fn check_end(&self, world: &World, doubts: &Pods) -> Result<(), String> {
        for (name, job) in &world.jobs {
            let uid = text(job, "/metadata/uid");
            let (really, doubted) = (self.0[uid].succeeded.len() as i64, doubts.of(uid) > 0);
            let (told, wanted) = (number(job, "/status/succeeded"), number(job, "/spec/completions"));
            if told < wanted || (!doubted && (told != wanted || told != really)) {
                return Err(format!("Job {name}: {told} succeeded by its status, {really} really, of {wanted}"));
            }
        }
        Ok(())
    }
}

impl Counts {
    fn see(&mut self, world: &World, job: &Value) {
        for pod in world.pods_of(text(job, "/metadata/uid")).filter(|pod| is_tracked(pod)) {
            let uid = text(pod, "/metadata/uid").to_owned();
            match text(pod, "/status/phase") {
                "Succeeded" => drop(self.succeeded.insert(uid, text(pod, INDEX).to_owned())),
                "Failed" => drop(self.failed.insert(uid, String::new())),
                _ if pod.pointer("/metadata/deletionTimestamp").is_some() => {
                    drop(self.failed.insert(uid, String::new()))
                }
                _ => {}
            }
        }
    }

    fn check(&mut self, world: &World, job: &Value, doubts: u64) -> Result<(), String> {
        let lists = ["succeeded", "failed"].map(|kind| listed(job, kind));
        let told = ["succeeded", "failed"].map(|kind| number(job, &format!("/status/{kind}")));
        for ((list, told), (before, really)) in
            lists.iter().zip(told).zip(self.told.iter().zip([&self.succeeded, &self.failed]))
        {
            if told < *before {
                return Err(format!("{before} were counted, and now {told}"));
            }
            if let Some(uid) = list.iter().find(|uid| !really.contains_key(*uid)) {
                return Err(format!("pod {uid} is listed and did not end so"));
            }
            if list.iter().collect::<BTreeSet<_>>().len() != list.len() {
                return Err("a pod is listed twice".to_owned());
            }
            if told as usize + list.len() > really.len() {
                return Err(format!("{told} are counted and {} listed, but {} ended so", list.len(), really.len()));
            }
        }
        self.told = told;
        self.listed.extend(lists.iter().flatten().cloned());
        self.check_released(world, job)?;
        let active = world.pods_of(text(job, "/metadata/uid")).filter(|pod| is_active(pod)).count() as u64;
        let (succeeded, completions) = (self.succeeded.len() as u64, number(job, "/spec/completions") as u64);
        if active > 0 && succeeded + active > completions + doubts && !is_finished(job) {
            return Err(format!(
                "{succeeded} succeeded and {active} more run, of {completions} (and {doubts} in doubt)"
            ));
        }
        Ok(())
    }

    /// A pod that succeeded is let go only when the Job's status has told of it.
    fn check_released(&mut self, world: &World, job: &Value) -> Result<(), String> {
        let uid = text(job, "/metadata/uid");
        let uids = |pods: &mut dyn Iterator<Item = &Value>| -> BTreeSet<String> {
            pods.map(|pod| text(pod, "/metadata/uid").to_owned()).collect()
        };
        let tracked = uids(&mut world.pods_of(uid).filter(|pod| is_tracked(pod)));
        let released = self.tracked.difference(&tracked).filter(|uid| self.succeeded.contains_key(*uid));
        let indexes = text(job, "/status/completedIndexes");
        // Of an Indexed Job the completed indexes are the count, and nobody is listed.
        let is_told = |uid: &String| self.listed.contains(uid) || covers(indexes, &self.succeeded[uid]);
        let forgotten = released.into_iter().find(|uid| !is_told(uid)).cloned();
        self.tracked = tracked;
        match forgotten.filter(|_| !is_finished(job)) {
            Some(uid) => Err(format!("pod {uid} succeeded and was let go uncounted")),
            None => Ok(()),
        }
    }
}

/// Whether intervals such as `0-2,5` have the index.
fn covers(intervals: &str, index: &str) -> bool {
    let Ok(index) = index.parse::<u64>() else { return false };
    intervals.split(',').filter(|interval| !interval.is_empty()).any(|interval| {
        let (first, last) = interval.split_once('-').unwrap_or((interval, interval));
        (first.parse().unwrap_or(u64::MAX)..=last.parse().unwrap_or_default()).contains(&index)
    })
}

fn listed(job: &Value, kind: &str) -> Vec<String> {
    let list = job.pointer(&format!("/status/uncountedTerminatedPods/{kind}")).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn is_tracked(pod: &Value) -> bool {
    let finalizers = pod.pointer("/metadata/finalizers").and_then(Value::as_array);
    finalizers.into_iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

fn is_active(pod: &Value) -> bool {
    !is_terminal(pod) && pod.pointer("/metadata/deletionTimestamp").is_none() && !controller(pod).is_empty()
}

/// Whether its end is decided: its last pods may have yet to go, and to be counted.
fn is_finished(job: &Value) -> bool {
    has_condition(job, &["Complete", "Failed", "SuccessCriteriaMet"])
}

fn has_condition(job: &Value, types: &[&str]) -> bool {
    let conditions = job.pointer("/status/conditions").and_then(Value::as_array);
    let mut holding = conditions.into_iter().flatten().filter(|condition| condition["status"] == "True");
    holding.any(|condition| types.contains(&text(condition, "/type")))
}
