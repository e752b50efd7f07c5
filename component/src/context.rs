//! What every component's `run` is handed: the seams in one value.

use tokio::net::TcpListener;

use crate::{
    clock::Clock,
    informer::Informers,
    pipes::Pipes,
    random::Random,
    recorder::{Recorder, Source},
    shutdown::Shutdown,
};

/// What a component with one secure port does not take from flags.
pub struct Seams {
    pub shutdown: Shutdown,
    pub clock: Clock,
    pub random: Random,
    /// The secure port; `None`: the one that the flags name is opened.
    pub listener: Option<TcpListener>,
    /// The way to the API server; `None`: the one that the flags name.
    pub client: Option<kube::Client>,
    /// To an API server in this process, where the flags name it.
    pub pipes: Pipes,
}

impl Seams {
    /// Real time and randomness, and the port and the server of the flags.
    pub fn system(shutdown: Shutdown) -> Self {
        let (clock, random) = (Clock::system(), Random::from_os());
        Self { shutdown, clock, random, listener: None, client: None, pipes: Pipes::default() }
    }
}

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
        let informers = Informers::new(client.clone(), random.clone(), shutdown.clone());
        let recorder = Recorder::start(client.clone(), source, clock, random.clone(), shutdown.clone());
        Self { client, informers, recorder, clock, random, shutdown }
    }
}
