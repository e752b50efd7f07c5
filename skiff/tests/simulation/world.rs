//! One run: everything is started, things go wrong for some minutes, then all is calm and must converge.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use component::clock::Clock;
use component::random::Random;
use kube::Client;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::breaks::Fault;
use crate::dice::Dice;
use crate::entropy;
use crate::kubelet::{self, Fate};
use crate::programs::{Life, Program};
use crate::server::Server;
use crate::trace::Trace;
use crate::truth::{Truth, text};
use crate::user;

/// Turns while things go wrong.
const TURNS: u64 = 400;
/// How long everything may take to converge; a key that failed often waits up to 1000 s, and a lost pod 5 minutes.
const PATIENCE: Duration = Duration::from_secs(2 * 3600);

/// What a run was made of.
pub(crate) struct Report {
    accidents: BTreeMap<&'static str, u64>,
    revisions: u64,
    simulated: Duration,
    trace: u64,
}

/// In one line what a run came to, and below it what happened in it.
impl Display for Report {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let (trace, minutes) = (self.trace, self.simulated.as_secs_f64() / 60.0);
        let accidents: u64 = self.accidents.values().sum();
        let revisions = self.revisions;
        write!(out, "trace {trace:016x}, {accidents} accidents and {revisions} revisions in {minutes:.1} minutes")?;
        self.accidents.iter().try_for_each(|(accident, count)| write!(out, "\n{count:>8}  {accident}"))
    }
}

/// Runs a seed; an error tells the rule that was broken and what happened before. It replays exactly as the first run of its process.
pub(crate) fn run(seed: u64) -> Result<Report, String> {
    run_in_thread(seed, None)
}

/// The same with something broken on purpose.
pub(crate) fn run_broken(seed: u64, fault: Fault) -> Result<Report, String> {
    run_in_thread(seed, Some(fault))
}

fn run_in_thread(seed: u64, fault: Option<Fault>) -> Result<Report, String> {
    let ran = std::thread::spawn(move || {
        entropy::seed_this_thread(seed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(run_here(seed, fault))
    });
    ran.join().unwrap_or_else(|_| Err("it panicked".to_owned()))
}

async fn run_here(seed: u64, fault: Option<Fault>) -> Result<Report, String> {
    let start = Instant::now();
    let mut world = World::new(seed, fault);
    let ended = world.run().await;
    let (trace, simulated) = (world.trace.hash(), start.elapsed());
    let report = Report { accidents: world.dice.counts(), revisions: world.truth.revisions, simulated, trace };
    ended.map(|()| report).map_err(|broken| format!("{broken}\nwhat happened last:\n{}", world.trace.last()))
}

struct World {
    clock: Clock,
    dice: Dice,
    trace: Trace,
    server: Server,
    lives: [Option<Life>; Program::ALL.len()],
    truth: Truth,
    client: Client,
    is_full: bool,
}

impl World {
    fn new(seed: u64, fault: Option<Fault>) -> Self {
        let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().unwrap());
        let random = Random::seeded(seed);
        let (dice, trace) = (Dice::new(Random::seeded(random.u64())), Trace::new());
        let server = Server::new(clock, random, trace.clone(), fault);
        let client = Client::new(server.clone(), "default");
        Self {
            clock,
            dice,
            truth: Truth::new(trace.clone()),
            trace,
            server,
            lives: [None, None],
            client,
            is_full: false,
        }
    }

    async fn run(&mut self) -> Result<(), String> {
        self.server.start().await?;
        let (client, dice) = (self.client.clone(), self.dice.clone());
        user::begin(&client, &dice).await;
        for _ in 0..TURNS {
            sleep(Duration::from_millis(self.dice.below(400))).await;
            self.accident().await?;
            self.revive().await?;
            self.look().await?;
            match self.dice.below(10) {
                0 => user::wish(&client, &dice, &self.running_job_pods(), &self.truth.settled_sets()).await,
                _ => self.step(true).await,
            }
        }
        self.settle().await
    }

    /// What goes wrong with whole processes.
    async fn accident(&mut self) -> Result<(), String> {
        if self.dice.strikes("power failure", 80) {
            self.server.fail_at(1 + self.dice.below(60));
        }
        if self.is_full {
            self.is_full = self.dice.below(4) != 0;
            self.server.fill(self.is_full);
        } else if self.dice.strikes("disk full", 80) {
            self.is_full = true;
            self.server.fill(true);
        }
        if self.dice.strikes("API server restarted", 100) {
            self.trace.tell("the API server is restarted");
            self.server.replace()?;
        }
        for (program, life) in Program::ALL.into_iter().zip(&self.lives) {
            if let Some(life) = life.as_ref().filter(|_| self.dice.strikes(program.death(), 20)) {
                life.process.die_after(1 + self.dice.below(12));
            }
        }
        if self.dice.strikes("history compacted", 60)
            && let Some(store) = self.server.store()
        {
            self.look().await?;
            // A disk that fails meanwhile fails this too.
            let _ = store.compact(self.truth.seen()).await;
        }
        Ok(())
    }

    /// Whoever is dead begins a new life.
    async fn revive(&mut self) -> Result<(), String> {
        if self.server.has_failed() {
            self.look().await?;
            self.server.fail().await;
            sleep(Duration::from_millis(self.dice.below(3000))).await;
            self.server.start().await?;
            let store = self.server.store().ok_or("the server has just started")?;
            self.truth.check_after_failure(&*store).await?;
        }
        for (program, life) in Program::ALL.into_iter().zip(&mut self.lives) {
            if life.as_ref().is_none_or(|life| life.process.is_dead()) {
                self.trace.tell(format!("{program:?} is started"));
                *life = Some(Life::start(program, &self.server, &self.dice, &self.trace, self.clock));
            }
        }
        Ok(())
    }

    async fn look(&mut self) -> Result<(), String> {
        match self.server.store() {
            Some(store) => self.truth.catch_up(&*store, self.server.doubts()).await,
            None => Ok(()),
        }
    }

    fn running_job_pods(&self) -> Vec<String> {
        let pods = self.truth.world.pods.iter();
        let running = pods.filter(|(_, pod)| text(pod, "/spec/restartPolicy") == "Never");
        running.filter(|(_, pod)| text(pod, "/status/phase") == "Running").map(|(name, _)| name.clone()).collect()
    }

    /// Some pod comes a step further.
    async fn step(&mut self, may_fail: bool) {
        let pods: Vec<&Value> = self.truth.world.pods.values().filter(|pod| has_way_to_go(pod)).collect();
        let Some(pod) = self.dice.pick(&pods).cloned() else { return };
        let fate = if may_fail && self.dice.below(4) == 0 { Fate::Failure } else { Fate::Success };
        kubelet::step(&self.client, &self.clock, &pod, fate).await;
    }

    /// Nothing goes wrong any more.
    async fn settle(&mut self) -> Result<(), String> {
        self.trace.tell("all is calm");
        self.dice.calm_down();
        self.revive().await?;
        self.server.fail_at(u64::MAX / 2);
        self.server.fill(false);
        user::finally(&self.client).await;
        let end = Instant::now() + PATIENCE;
        loop {
            self.revive().await?;
            self.look().await?;
            let unsettled = self.truth.unsettled();
            if unsettled.is_empty() {
                break;
            }
            if Instant::now() > end {
                return Err(format!("never: {}", unsettled.join("\n")));
            }
            let pods: Vec<Value> = self.truth.world.pods.values().filter(|pod| has_way_to_go(pod)).cloned().collect();
            for pod in &pods {
                kubelet::step(&self.client, &self.clock, pod, Fate::Success).await;
            }
            sleep(Duration::from_secs(if pods.is_empty() { 5 } else { 1 })).await;
        }
        self.truth.check_end(self.server.doubts())?;
        self.check_lists().await
    }

    /// What the API server's cache tells is what the store holds.
    async fn check_lists(&self) -> Result<(), String> {
        let world = &self.truth.world;
        for (path, objects) in [
            ("/api/v1/pods", &world.pods),
            ("/apis/apps/v1/replicasets", &world.replica_sets),
            ("/apis/apps/v1/deployments", &world.deployments),
            ("/apis/batch/v1/jobs", &world.jobs),
            ("/apis/apps/v1/statefulsets", &world.stateful_sets),
            ("/apis/apps/v1/daemonsets", &world.daemon_sets),
        ] {
            let request = http::Request::get(path).body(Vec::new()).unwrap();
            let list: Value = self.client.request(request).await.map_err(|error| error.to_string())?;
            let uids = |items: &mut dyn Iterator<Item = &Value>| -> Vec<String> {
                items.map(|item| text(item, "/metadata/uid").to_owned()).collect()
            };
            let items = list["items"].as_array().ok_or_else(|| format!("{path}: no list"))?;
            if uids(&mut items.iter()) != uids(&mut objects.values()) {
                return Err(format!("{path} does not list what the store holds"));
            }
        }
        Ok(())
    }
}

/// Whether a node has something to do for the pod.
fn has_way_to_go(pod: &Value) -> bool {
    let deleting = pod.pointer("/metadata/deletionTimestamp").is_some();
    let phase = text(pod, "/status/phase");
    let runs_once = text(pod, "/spec/restartPolicy") == "Never";
    match phase {
        _ if deleting => pod.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64) != Some(0),
        "Succeeded" | "Failed" => false,
        "Running" => runs_once,
        _ => true,
    }
}
