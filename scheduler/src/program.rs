//! Starts everything: the secure port, the election, and then scheduling.

use component::clock::Clock;
use component::context::Context;
use component::leader::{self, Identity};
use component::random::Random;
use component::recorder::Source;
use component::shutdown::Shutdown;
use component::{client, serve};
use futures::future::FutureExt;
use tokio::net::TcpListener;

use crate::core::Core;
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

/// What the scheduler does not take from flags.
pub struct Seams {
    pub shutdown: Shutdown,
    pub clock: Clock,
    pub random: Random,
    /// The secure port; `None`: the one that the flags name is opened.
    pub listener: Option<TcpListener>,
}

impl Seams {
    /// Real time and randomness, and the port of the flags.
    pub fn system(shutdown: Shutdown) -> Self {
        Self { shutdown, clock: Clock::system(), random: Random::from_os(), listener: None }
    }
}

/// Runs until shutdown. An error after the election was won means that the process should end.
pub async fn run(options: Options, seams: Seams) -> Result<(), Error> {
    if let Some(path) = &options.write_config_to {
        let shown = path.display().to_string();
        return std::fs::write(path, options.configuration.to_yaml())
            .map_err(|source| Error::WriteConfiguration { path: shown, source });
    }
    let client = client::connect(options.client.clone())?;
    let source = Source::new("default-scheduler");
    let context = Context::with(client, source, seams.clock, seams.random, seams.shutdown.clone());
    let listener = match (seams.listener, serve::secure_address(&options.values)?) {
        (Some(given), _) => Some(given),
        (None, Some(address)) => Some(serve::bind(address)?),
        (None, None) => None,
    };
    let identity = identity(listener.as_ref(), &context.random)?;
    let election = options.configuration.leader_election.settings(&options.values, identity)?;
    let serving = match listener {
        Some(listener) => {
            let endpoints =
                serve::secure_endpoints(NAME, &options.values, &context.client, &context.informers, context.clock)?
                    .with_configz(serde_json::json!({ "componentconfig": options.configuration }));
            let tls = serve::secure_tls(NAME, &options.values)?;
            serve::accept(listener, Some(tls), endpoints, seams.shutdown.clone()).boxed()
        }
        None => futures::future::ready(()).boxed(),
    };
    let serving = tokio::spawn(serving);
    let result = leader::run(election, &context, |leading| lead(&context, &options, leading)).await;
    // What ends leading ends the process: the port goes with it.
    context.shutdown.trigger();
    if serving.await.is_err() {
        tracing::error!("the secure port's task panicked");
    }
    Ok(result.map(drop)?)
}

async fn lead(context: &Context, options: &Options, leading: Shutdown) {
    let seed = context.random.u64();
    let core = Core::new(options.profiles.clone(), options.pauses, seed);
    shell::run(core, Context { shutdown: leading, ..context.clone() }).await;
}

fn identity(listener: Option<&TcpListener>, random: &Random) -> Result<Identity, Error> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    Ok(match listener {
        Some(listener) => Identity::holding(host, NAME, listener.local_addr()?, random),
        None => Identity::unique(host, random),
    })
}
