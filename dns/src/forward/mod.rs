//! Names outside the cluster: asked of the node's resolvers, and kept for a while.
//!
//! Enter at [`Forward::ask`]. `resolv_conf` reads who the resolvers are, `exchange` asks one of them, `cache` keeps
//! answers (pure), `loops` finds resolvers that lead back here.

mod cache;
mod exchange;
mod loops;
mod resolv_conf;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use component::random::Random;
use component::shutdown::Shutdown;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, Record, RecordType};
use tokio::time::Instant;

use crate::metrics;
use crate::options::ForwardOptions;
use cache::Cache;
use loops::Loops;
pub(crate) use resolv_conf::ResolvConf;

/// What the resolvers say to a question.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) code: ResponseCode,
    pub(crate) answers: Vec<Record>,
    pub(crate) authorities: Vec<Record>,
    pub(crate) additionals: Vec<Record>,
    pub(crate) authentic_data: bool,
}

/// A question as it is asked of others, and kept by. Names compare without case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    pub(crate) name: Name,
    pub(crate) kind: RecordType,
    /// Without it the resolver is told to answer from what it knows.
    pub(crate) recursion_desired: bool,
    pub(crate) checking_disabled: bool,
    pub(crate) dnssec_ok: bool,
}

/// Why no resolver answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForwardError {
    #[error("there is no resolver to ask for names outside the cluster")]
    NoResolver,
    #[error("no resolver answers for {name}: {source}")]
    Failed { name: String, source: exchange::ExchangeError },
}

/// The way to the resolvers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Forward(Arc<Inner>);

struct Inner {
    options: ForwardOptions,
    /// Our own: a resolver among them is left out.
    own_addresses: Vec<IpAddr>,
    random: Random,
    shutdown: Shutdown,
    known: Mutex<Known>,
    cache: Mutex<Cache>,
    loops: Loops,
    /// The resolver that answered last is asked first.
    first: AtomicUsize,
}

/// The resolvers' file as read last.
#[derive(Default)]
struct Known {
    modified: Option<SystemTime>,
    conf: Arc<ResolvConf>,
}

impl Forward {
    pub(crate) fn new(
        options: ForwardOptions,
        own_addresses: Vec<IpAddr>,
        random: Random,
        shutdown: Shutdown,
    ) -> Forward {
        let cache = Mutex::new(Cache::new(options.cache_size, options.cache_ttl));
        let (known, loops, first) = (Mutex::default(), Loops::default(), AtomicUsize::new(0));
        Forward(Arc::new(Inner { options, own_addresses, random, shutdown, known, cache, loops, first }))
    }

    /// The resolvers and the search path, as the file says now. A new set of resolvers is looked at for loops. Must be
    /// called on a runtime.
    pub(crate) fn conf(&self) -> Arc<ResolvConf> {
        let path = &self.0.options.resolv_conf;
        let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        let mut known = lock(&self.0.known);
        if modified.is_none() || modified == known.modified {
            return known.conf.clone();
        }
        known.modified = modified;
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let (conf, left_out) =
                    ResolvConf::parse(&text, self.0.options.resolver_port).without(&self.0.own_addresses);
                for resolver in left_out {
                    tracing::warn!(%resolver, "the resolver is this server itself, and not asked");
                }
                if conf != *known.conf {
                    known.conf = Arc::new(conf);
                    self.look_for_loops(&known.conf);
                }
            }
            Err(error) => tracing::warn!(path = %path.display(), %error, "the resolvers stay as they were"),
        }
        known.conf.clone()
    }

    /// Whether a question is one of our own, sent to find loops; then the resolver it went to is not asked again.
    pub(crate) fn is_looped(&self, name: &Name) -> bool {
        self.0.loops.came_back(name)
    }

    /// The resolvers' answer: kept, or asked for. Each resolver is tried, the last good one first.
    pub(crate) async fn ask(&self, question: &Question) -> Result<Answer, ForwardError> {
        if let Some(answer) = lock(&self.0.cache).get(question, Instant::now()) {
            metrics::cache_hit(answer.answers.is_empty());
            return Ok(answer);
        }
        metrics::cache_miss();
        let conf = self.conf();
        let resolvers: Vec<SocketAddr> =
            conf.resolvers.iter().filter(|resolver| !self.0.loops.contains(resolver)).copied().collect();
        let first = self.0.first.load(Ordering::Relaxed);
        let mut failure = None;
        for at in (0..resolvers.len()).map(|offset| (first + offset) % resolvers.len()) {
            match self.ask_one(question, resolvers[at]).await {
                Ok(answer) => {
                    self.0.first.store(at, Ordering::Relaxed);
                    lock(&self.0.cache).put(question, &answer, Instant::now());
                    return Ok(answer);
                }
                Err(error) => failure = Some(error),
            }
        }
        metrics::forwarding_failed();
        let failed = |source| ForwardError::Failed { name: question.name.to_ascii(), source };
        Err(failure.map_or(ForwardError::NoResolver, failed))
    }

    async fn ask_one(&self, question: &Question, resolver: SocketAddr) -> Result<Answer, exchange::ExchangeError> {
        let start = Instant::now();
        let message = exchange::message(question, &self.0.random);
        let reply = exchange::exchange(&message, resolver, self.0.options.timeout).await?;
        metrics::forwarded(&resolver.to_string(), reply.metadata.response_code, start.elapsed());
        match reply.metadata.response_code {
            // Another may know; these say that this one does not.
            code @ (ResponseCode::ServFail | ResponseCode::Refused | ResponseCode::NotImp) => {
                Err(exchange::ExchangeError::Refused { resolver, code })
            }
            _ => Ok(Answer::from(reply)),
        }
    }

    /// Sends each resolver a name that nobody else asks for. If it comes back, the resolver (or one behind it) asks us.
    fn look_for_loops(&self, conf: &ResolvConf) {
        self.0.loops.clear();
        for resolver in conf.resolvers.clone() {
            let Some(name) = self.0.loops.probe(resolver, &self.0.random) else { continue };
            let question = Question {
                name,
                kind: RecordType::HINFO,
                recursion_desired: true,
                checking_disabled: false,
                dnssec_ok: false,
            };
            let message = exchange::message(&question, &self.0.random);
            let (timeout, shutdown) = (self.0.options.timeout, self.0.shutdown.clone());
            tokio::spawn(async move {
                // Whatever it answers: only the question's coming back counts.
                let _ = shutdown.run_until(exchange::exchange(&message, resolver, timeout)).await;
            });
        }
    }
}

impl From<Message> for Answer {
    fn from(reply: Message) -> Answer {
        Answer {
            code: reply.metadata.response_code,
            answers: reply.answers,
            authorities: reply.authorities,
            additionals: reply.additionals,
            authentic_data: reply.metadata.authentic_data,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
