//! The controller manager and the scheduler: one life of each after the other.

use component::clock::Clock;
use component::context::Seams;
use component::pipes::Pipes;
use component::random::Random;
use component::shutdown::Shutdown;
use tokio::task::JoinHandle;

use crate::dice::Dice;
use crate::network::{Line, Process};
use crate::server::Server;
use crate::trace::Trace;

const CONTROLLER_FLAGS: [&str; 3] = [
    "--leader-elect=false",
    "--secure-port=0",
    "--controllers=deployment-controller,replicaset-controller,job-controller,statefulset-controller,daemonset-controller",
];
const SCHEDULER_FLAGS: [&str; 2] = ["--leader-elect=false", "--secure-port=0"];

/// Who may die and be started again.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Program {
    Controllers,
    Scheduler,
}

impl Program {
    pub(crate) const ALL: [Self; 2] = [Self::Controllers, Self::Scheduler];

    /// What its death is counted as.
    pub(crate) fn death(self) -> &'static str {
        match self {
            Self::Controllers => "controllers killed",
            Self::Scheduler => "scheduler killed",
        }
    }

    /// Runs until it is told to end, or cannot go on.
    async fn run(self, seams: Seams) -> Result<(), String> {
        match self {
            Self::Controllers => {
                let values = controllers::flags().parse(CONTROLLER_FLAGS).unwrap();
                let options = controllers::Options::from_flags(&values).unwrap();
                controllers::run(options, seams).await.map_err(|error| error.to_string())
            }
            Self::Scheduler => {
                let values = scheduler::flags().parse(SCHEDULER_FLAGS).unwrap();
                let options = scheduler::Options::from_flags(values).unwrap();
                scheduler::run(options, seams).await.map_err(|error| error.to_string())
            }
        }
    }
}

/// A life of a program; it ends with this value.
pub(crate) struct Life {
    pub(crate) process: Process,
    task: JoinHandle<Result<(), String>>,
}

impl Life {
    pub(crate) fn start(program: Program, server: &Server, dice: &Dice, trace: &Trace, clock: Clock) -> Self {
        let shutdown = Shutdown::new();
        let process = Process::new(shutdown.clone());
        let line = Line { server: server.clone(), process: process.clone(), dice: dice.clone(), trace: trace.clone() };
        let random = Random::seeded(dice.random().u64());
        let client = Some(kube::Client::new(line, "default"));
        let seams = Seams { shutdown, clock, random, listener: None, client, pipes: Pipes::default() };
        Self { process, task: tokio::spawn(program.run(seams)) }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.process.kill();
        self.task.abort();
    }
}
