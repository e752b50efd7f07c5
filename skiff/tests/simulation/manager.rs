//! The controller manager: one life of it after the other.

use component::clock::Clock;
use component::random::Random;
use component::shutdown::Shutdown;
use tokio::task::JoinHandle;

use crate::dice::Dice;
use crate::network::{Line, Process};
use crate::server::Server;
use crate::trace::Trace;

const FLAGS: [&str; 3] = [
    "--leader-elect=false",
    "--secure-port=0",
    "--controllers=deployment-controller,replicaset-controller,job-controller",
];

pub(crate) struct Manager {
    pub(crate) process: Process,
    task: JoinHandle<Result<(), controllers::Error>>,
}

impl Manager {
    pub(crate) fn start(server: &Server, dice: &Dice, trace: &Trace, clock: Clock) -> Self {
        let shutdown = Shutdown::new();
        let process = Process::new(shutdown.clone());
        let line = Line { server: server.clone(), process: process.clone(), dice: dice.clone(), trace: trace.clone() };
        let options = controllers::Options::from_flags(&controllers::flags().parse(FLAGS).unwrap()).unwrap();
        let seams = controllers::Seams {
            shutdown,
            clock,
            random: Random::seeded(dice.random().u64()),
            listener: None,
            client: Some(kube::Client::new(line, "default")),
        };
        Self { process, task: tokio::spawn(controllers::run(options, seams)) }
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.process.kill();
        self.task.abort();
    }
}
