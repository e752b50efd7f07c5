//! What every component's `run` is handed: the seams in one value.

use crate::{
    clock::Clock,
    informer::Informers,
    random::Random,
    recorder::{Recorder, Source},
    shutdown::Shutdown,
};

/// The seams of one component in one process. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    pub client: kube::Client,
    pub informers: Informers,
    pub recorder: Recorder,
    pub clock: Clock,
    pub random: Random,
    pub shutdown: Shutdown,
}

impl Context {
    /// Over `client`, with real time and real randomness. Starts the recorder's writer task on the current runtime.
    pub fn new(client: kube::Client, source: Source, shutdown: Shutdown) -> Self {
        Self::with(client, source, Clock::system(), Random::from_os(), shutdown)
    }

    /// As [`Context::new`], with time and randomness given.
    pub fn with(client: kube::Client, source: Source, clock: Clock, random: Random, shutdown: Shutdown) -> Self {
        let informers = Informers::new(client.clone(), shutdown.clone());
        let recorder = Recorder::start(client.clone(), source, clock, shutdown.clone());
        Self { client, informers, recorder, clock, random, shutdown }
    }
}
