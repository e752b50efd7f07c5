//! A Job in a world where events are late, lost or repeated and the controller dies between any two writes.
//!
//! Deterministic for a seed. The syncs are the controller's own; only caches, kubelet and API are played here. Whatever
//! happens, no pod is counted twice, and no more pods succeed than the Job asks for.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use component::informer::Event;
use component::key::Key;
use component::random::Random;
use component::recorder::Type;
use futures::executor::block_on;
use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::JobStatus;
use k8s_openapi::api::core::v1 as api;
use kube::ResourceExt;
use serde_json::json;

use super::super::facts::{self, TRACKING_FINALIZER};
use super::super::memory::Memory;
use super::super::sync::{When, Writes, sync};
use super::*;
use crate::common::error::Error;
use crate::common::pods;

/// The API's truth.
struct Server {
    job: Job,
    pods: BTreeMap<String, Pod>,
    revision: u64,
    made: u64,
    /// Writes until the controller dies; None: it lives on.
    lives: Option<u32>,
    /// What the watches have yet to tell: names of pods, with what they became.
    pod_news: VecDeque<(String, Option<Pod>)>,
    job_news: VecDeque<Job>,
    /// UIDs of the pods that really succeeded, with their index, and of those that failed or were deleted by a user.
    succeeded: BTreeMap<String, Option<i32>>,
    failed: BTreeSet<String>,
}

impl Server {
    fn put(&mut self, mut pod: Pod) {
        self.revision += 1;
        pod.metadata.resource_version = Some(self.revision.to_string());
        let name = pod.name_any();
        // As the API: what is deleted and has no finalizer goes when its kubelet is done with it.
        let gone = pod.metadata.deletion_timestamp.is_some() && !facts::is_tracked(&pod) && pods::is_terminal(&pod);
        if gone {
            self.pods.remove(&name);
        } else {
            self.pods.insert(name.clone(), pod.clone());
        }
        self.pod_news.push_back((name, (!gone).then_some(pod)));
    }

    fn alive(&mut self) -> Result<(), Error> {
        match &mut self.lives {
            Some(0) => Err(Error::refused("write", "anything", "the controller is dead")),
            Some(lives) => {
                *lives -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn not_found(name: &str) -> Error {
        let status = kube::core::Status { code: 404, reason: "NotFound".into(), ..Default::default() };
        Error::Api { operation: "write", object: name.into(), source: Box::new(kube::Error::Api(status.boxed())) }
    }
}

struct World(RefCell<Server>);

impl Writes for World {
    async fn create(&self, _: &Job, pod: &api::Pod) -> Result<(), Error> {
        let mut server = self.0.borrow_mut();
        server.alive()?;
        server.made += 1;
        let mut pod = Pod::from(pod.clone());
        let name = format!("p{}", server.made);
        pod.metadata.uid = Some(name.clone());
        pod.metadata.name = Some(name);
        pod.metadata.namespace = Some("n".into());
        pod.status = Some(Default::default());
        server.put(pod);
        Ok(())
    }

    async fn delete(&self, _: &Job, pod: &Pod) -> Result<(), Error> {
        let mut server = self.0.borrow_mut();
        server.alive()?;
        let Some(mut pod) = server.pods.get(&pod.name_any()).cloned() else {
            return Err(Server::not_found(&pod.name_any()));
        };
        pod.metadata.deletion_timestamp.get_or_insert(crate::common::time(now()));
        server.put(pod);
        Ok(())
    }

    async fn remove_finalizer(&self, pod: &Pod, when: When) -> Result<(), Error> {
        let mut server = self.0.borrow_mut();
        server.alive()?;
        let version = &pod.metadata.resource_version;
        let current = server.pods.get(&pod.name_any()).map(|p| p.metadata.resource_version.clone());
        if when == When::Unchanged && current.is_some_and(|current| current != *version) {
            return Err(Error::refused("write", "the pod", "it has been modified"));
        }
        let Some(mut pod) = server.pods.get(&pod.name_any()).cloned() else {
            return Err(Server::not_found(&pod.name_any()));
        };
        pod.metadata.finalizers.get_or_insert_default().retain(|f| f != TRACKING_FINALIZER);
        server.put(pod);
        Ok(())
    }

    async fn write_status(&self, job: &Job) -> Result<Job, Error> {
        let mut server = self.0.borrow_mut();
        server.alive()?;
        if job.metadata.resource_version != server.job.metadata.resource_version {
            return Err(Error::refused("write", "the job", "it has been modified"));
        }
        server.revision += 1;
        server.job.metadata.resource_version = Some(server.revision.to_string());
        server.job.status = job.status.clone();
        let job = server.job.clone();
        server.job_news.push_back(job.clone());
        Ok(job)
    }

    fn tell(&self, _: &Job, _: Type, _: &str, _: &str) {}
}

struct Simulation {
    world: World,
    random: Random,
    key: Key,
    memory: Memory,
    job: Arc<Job>,
    pods: BTreeMap<String, Arc<Pod>>,
    seconds: i64,
}

impl Simulation {
    fn new(seed: u64, spec: serde_json::Value) -> Self {
        let job = job(spec, json!({}));
        let server = Server {
            job: job.clone(),
            pods: BTreeMap::new(),
            revision: 1,
            made: 0,
            lives: None,
            pod_news: VecDeque::new(),
            job_news: VecDeque::new(),
            succeeded: BTreeMap::new(),
            failed: BTreeSet::new(),
        };
        Simulation {
            world: World(RefCell::new(server)),
            random: Random::seeded(seed),
            key: Key::new("n", "j"),
            memory: Memory::default(),
            job: Arc::new(job),
            pods: BTreeMap::new(),
            seconds: 0,
        }
    }

    /// One of many things happens.
    fn step(&mut self, restless: bool) {
        match self.random.below(if restless { 13 } else { 11 }) {
            0..=2 => self.tell_pods(1 + self.random.below(4)),
            3 => self.tell_job(),
            4 => self.relist(),
            5 => self.repeat(),
            6..=8 => self.kubelet(self.random.below(4) == 0),
            9 => self.sync(Some(u32::try_from(self.random.below(6)).unwrap())),
            10 => self.sync(None),
            11 => self.user_deletes(),
            _ => self.user_changes(),
        }
        // All within the time after which expected events are taken to be lost.
        self.seconds += i64::try_from(self.random.below(2)).unwrap();
    }

    fn sync(&mut self, lives: Option<u32>) {
        if facts::is_finished(&self.job) || self.memory.is_stale(&self.key, &self.job) {
            return;
        }
        let now = now() + SignedDuration::from_secs(self.seconds);
        let input = Input {
            job: self.job.clone(),
            pods: self.pods.values().cloned().collect(),
            expected_removals: self.memory.expected_removals(&self.key),
            record: self.memory.record(&self.key),
            caught_up: self.memory.expectations.satisfied(&self.key, now),
            now,
        };
        self.world.0.borrow_mut().lives = lives;
        // An error is what the queue would try again.
        let _ = block_on(sync(&self.memory, &self.world, &self.key, input));
        let died = self.world.0.borrow_mut().lives.take() == Some(0);
        if died {
            self.memory = Memory::default();
            self.relist();
        }
    }

    fn tell_pods(&mut self, count: u64) {
        for _ in 0..count {
            let Some((name, pod)) = self.world.0.borrow_mut().pod_news.pop_front() else { return };
            self.pod_event(&name, pod.map(Arc::new));
        }
    }

    fn pod_event(&mut self, name: &str, pod: Option<Arc<Pod>>) {
        let old = match &pod {
            Some(pod) => self.pods.insert(name.to_owned(), pod.clone()),
            None => self.pods.remove(name),
        };
        let event = match (old, pod) {
            (Some(old), Some(new)) => Event::Updated { old, new },
            (None, Some(new)) => Event::Added(new),
            (Some(old), None) => Event::Deleted(old),
            (None, None) => return,
        };
        self.memory.pod_event(&self.key, &event);
    }

    fn tell_job(&mut self) {
        if let Some(job) = self.world.0.borrow_mut().job_news.pop_front() {
            self.job = Arc::new(job);
        }
    }

    /// The watches broke: what was under way is lost, and the lists tell how things are now.
    fn relist(&mut self) {
        let (job, pods) = {
            let mut server = self.world.0.borrow_mut();
            server.pod_news.clear();
            server.job_news.clear();
            (server.job.clone(), server.pods.clone())
        };
        self.job = Arc::new(job);
        let gone: Vec<_> = self.pods.keys().filter(|name| !pods.contains_key(*name)).cloned().collect();
        gone.iter().for_each(|name| self.pod_event(name, None));
        pods.into_iter().for_each(|(name, pod)| self.pod_event(&name, Some(Arc::new(pod))));
    }

    fn repeat(&mut self) {
        if let Some(name) = self.pick(&self.pods.keys().cloned().collect::<Vec<_>>()) {
            let same = self.pods.get(&name).cloned();
            self.pod_event(&name, same);
        }
    }

    fn pick(&self, names: &[String]) -> Option<String> {
        let at = usize::try_from(self.random.below(names.len() as u64)).ok()?;
        names.get(at).cloned()
    }

    /// Some pod comes a step further. What is being deleted ends badly.
    fn kubelet(&mut self, failing: bool) {
        let now = now() + SignedDuration::from_secs(self.seconds);
        let mut server = self.world.0.borrow_mut();
        let open: Vec<_> = server.pods.iter().filter(|(_, p)| !pods::is_terminal(p)).map(|(n, _)| n.clone()).collect();
        let Some(mut pod) = self.pick(&open).and_then(|name| server.pods.get(&name).cloned()) else { return };
        let status = pod.status.get_or_insert_default();
        let deleting = pod.metadata.deletion_timestamp.is_some();
        let phase = match status.phase.as_deref() {
            None if !deleting => "Running",
            _ if deleting || failing => "Failed",
            _ => "Succeeded",
        };
        status.phase = Some(phase.into());
        let ready = if phase == "Running" { "True" } else { "False" };
        status.conditions =
            serde_json::from_value(json!([{"type": "Ready", "status": ready, "lastTransitionTime": now.to_string()}]))
                .unwrap();
        let uid = pod.uid().unwrap();
        match phase {
            "Succeeded" if facts::is_tracked(&pod) => drop(server.succeeded.insert(uid, facts::completion_index(&pod))),
            "Failed" if facts::is_tracked(&pod) => drop(server.failed.insert(uid)),
            _ => {}
        }
        server.put(pod);
    }

    fn user_deletes(&mut self) {
        let mut server = self.world.0.borrow_mut();
        let running: Vec<_> = server.pods.iter().filter(|(_, p)| pods::is_active(p)).map(|(n, _)| n.clone()).collect();
        if let Some(mut pod) = self.pick(&running).and_then(|name| server.pods.get(&name).cloned()) {
            pod.metadata.deletion_timestamp = Some(crate::common::time(now()));
            if facts::is_tracked(&pod) {
                server.failed.insert(pod.name_any());
            }
            server.put(pod);
        }
    }

    fn user_changes(&mut self) {
        let mut server = self.world.0.borrow_mut();
        let (parallelism, suspend) = (self.random.below(5), self.random.below(3) == 0);
        let spec = server.job.spec.as_mut().unwrap();
        spec.parallelism = i32::try_from(parallelism).ok();
        spec.suspend = Some(suspend);
        server.revision += 1;
        server.job.metadata.resource_version = Some(server.revision.to_string());
        let job = server.job.clone();
        server.job_news.push_back(job);
    }

    /// Everything goes well from now on.
    fn settle(&mut self) {
        {
            let mut server = self.world.0.borrow_mut();
            let spec = server.job.spec.as_mut().unwrap();
            (spec.parallelism, spec.suspend) = (Some(3), Some(false));
            server.revision += 1;
            server.job.metadata.resource_version = Some(server.revision.to_string());
        }
        for _ in 0..200 {
            self.relist();
            self.seconds += 601;
            self.sync(None);
            (0..5).for_each(|_| self.kubelet(false));
            self.check();
            if facts::is_finished(&self.world.0.borrow().job) {
                return;
            }
        }
        panic!("never finished: {:?}", self.world.0.borrow().job.status);
    }

    fn check(&self) {
        let server = self.world.0.borrow();
        let spec = server.job.spec.as_ref().unwrap();
        let status: JobStatus = server.job.status.clone().unwrap_or_default();
        let lists = status.uncounted_terminated_pods.unwrap_or_default();
        let succeeded = status.succeeded.unwrap_or(0) as usize;
        let listed = lists.succeeded.iter().flatten().collect::<BTreeSet<_>>();
        assert!(succeeded <= server.succeeded.len(), "counted {succeeded} of {:?}", server.succeeded);
        assert!(listed.iter().all(|uid| server.succeeded.contains_key(*uid)), "{listed:?}");
        let failed = status.failed.unwrap_or(0) as usize;
        assert!(failed <= server.failed.len(), "counted {failed} of {:?}", server.failed);
        let active = server.pods.values().filter(|p| pods::is_active(p) && facts::is_tracked(p)).count();
        let wanted = spec.completions.unwrap() as usize;
        assert!(server.succeeded.len() + active <= wanted, "{} succeeded, {active} more run", server.succeeded.len());
        let indexes: BTreeSet<_> = server.succeeded.values().flatten().collect();
        assert!(!facts::is_indexed(spec) || indexes.len() == server.succeeded.len(), "{:?}", server.succeeded);
    }
}

/// The seeds of a run; a failure's message names its own.
const SEEDS: u64 = 400;

fn run(restless: bool, mode: &str) {
    for seed in 0..SEEDS {
        let spec = json!({"completionMode": mode, "completions": 7, "parallelism": 3, "backoffLimit": 100_000});
        let mut simulation = Simulation::new(seed, spec);
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..300 {
                simulation.step(restless);
                simulation.check();
            }
            simulation.settle();
            let server = simulation.world.0.borrow();
            let status = server.job.status.as_ref().unwrap();
            assert_eq!(status.succeeded, Some(7));
            assert_eq!(server.succeeded.len(), 7, "{:?}", server.succeeded);
            assert_eq!(status.failed.unwrap_or(0) as usize, server.failed.len(), "{:?}", server.failed);
            assert!(server.pods.values().all(|p| !facts::is_tracked(p)), "finalizers are left");
            assert_eq!(status.uncounted_terminated_pods, Some(Default::default()));
        }));
        assert!(checked.is_ok(), "seed {seed}, restless {restless}, {mode}");
    }
}

#[test]
fn pods_that_only_come_and_go() {
    run(false, "NonIndexed");
}

#[test]
fn indexes_that_only_come_and_go() {
    run(false, "Indexed");
}

/// Users delete pods, suspend the Job and change its parallelism meanwhile.
#[test]
fn pods_that_users_play_with() {
    run(true, "NonIndexed");
}

#[test]
fn indexes_that_users_play_with() {
    run(true, "Indexed");
}
