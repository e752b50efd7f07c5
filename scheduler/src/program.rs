//! Starts everything: the secure port, the election, and then scheduling.

use component::context::{Context, Seams};
use component::leader::{self, Identity};
use component::recorder::Source;
use component::shutdown::Shutdown;
use component::{client, serve};

use crate::core::Core;
use crate::extender::{Extender, Extenders};
use crate::options::Options;
use crate::shell;

/// The program's name, as Leases, certificates and User-Agents have it.
pub(crate) const NAME: &str = "kube-scheduler";

/// Why the scheduler could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Options(String),
    #[error(transparent)]
    Configuration(#[from] component::config::Error),
    #[error("write {path}: {source}")]
    WriteConfiguration { path: String, source: std::io::Error },
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error(transparent)]
    Serving(#[from] serve::SecureError),
    #[error("failed to create listener: {0}")]
    Listen(#[from] std::io::Error),
    #[error(transparent)]
    Leader(#[from] leader::Error),
}

/// Runs until shutdown. An error after the election was won means that the process should end.
pub async fn run(mut options: Options, seams: Seams) -> Result<(), Error> {
    if let Some(path) = &options.write_config_to {
        let shown = path.display().to_string();
        return std::fs::write(path, options.configuration.to_yaml())
            .map_err(|source| Error::WriteConfiguration { path: shown, source });
    }
    options.idle.iter().for_each(|what| tracing::warn!("{what}"));
    options.client.pipes = seams.pipes.clone();
    let client = seams.client.map_or_else(|| client::connect(options.client.clone()), Ok)?;
    let source = Source::new("default-scheduler");
    let context = Context::with(client, source, seams.clock, seams.random, seams.shutdown.clone());
    let listener = serve::secure_listener(seams.listener, &options.values)?;
    let identity = Identity::of_program(NAME, listener.as_ref(), &context.random)?;
    let election = options.configuration.leader_election.settings(&options.values, identity)?;
    let endpoints = || {
        let (values, informers) = (&options.values, &context.informers);
        let endpoints = serve::secure_endpoints(NAME, values, &context.client, informers, context.clock, seams.pipes)?;
        Ok(endpoints.with_configz(serde_json::json!({ "componentconfig": options.configuration.whole() })))
    };
    let serving = serve::serve_secure(NAME, listener, &options.values, endpoints, seams.shutdown.clone())?;
    let serving = tokio::spawn(serving);
    let extenders = Extenders::new(options.extenders.clone())?;
    let result = leader::run(election, &context, |leading| lead(&context, &options, extenders, leading)).await;
    // What ends leading ends the process: the port goes with it.
    context.shutdown.trigger();
    if serving.await.is_err() {
        tracing::error!("the secure port's task panicked");
    }
    Ok(result.map(drop)?)
}

async fn lead(context: &Context, options: &Options, extenders: Extenders, leading: Shutdown) {
    let seed = context.random.u64();
    let interests = options.extenders.iter().map(Extender::interest).collect();
    let core = Core::new(options.profiles.clone(), options.pauses, context.clock, seed).with_extenders(interests);
    shell::run(core, extenders, Context { shutdown: leading, ..context.clone() }).await;
}
