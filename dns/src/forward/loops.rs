//! Resolvers that lead back to this server, by their own or through others.
//!
//! Each gets a question with a random name. One that comes back as a question to us marks its resolver; from then on it
//! is not asked, and a log line says what to change. Without this, one unknown name would go round until the sockets are
//! used up.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use component::random::Random;
use hickory_proto::rr::Name;

use crate::metrics;

#[derive(Default)]
pub(super) struct Loops(Mutex<State>);

#[derive(Default)]
struct State {
    probes: HashMap<Name, SocketAddr>,
    found: HashSet<SocketAddr>,
}

impl Loops {
    /// Forgets what was found: the resolvers are others now.
    pub(super) fn clear(&self) {
        *self.state() = State::default();
        metrics::loops(0);
    }

    /// The name to ask a resolver for.
    pub(super) fn probe(&self, resolver: SocketAddr, random: &Random) -> Option<Name> {
        let word = || format!("{:016x}", random.u64());
        let name = Name::from_labels([word(), word()]).ok()?;
        self.state().probes.insert(name.clone(), resolver);
        Some(name)
    }

    /// Whether a question's name is one that we sent out.
    pub(super) fn came_back(&self, name: &Name) -> bool {
        let mut state = self.state();
        let Some(resolver) = state.probes.get(name).copied() else { return false };
        if state.found.insert(resolver) {
            tracing::error!(%resolver, "the resolver leads back to this server and is not asked any more: name another in resolv.conf");
            metrics::loops(state.found.len());
        }
        true
    }

    pub(super) fn contains(&self, resolver: &SocketAddr) -> bool {
        self.state().found.contains(resolver)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
