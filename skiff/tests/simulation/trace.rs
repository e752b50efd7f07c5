//! What happened, as a number that two runs can be compared by, and the last of it as text.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};

use tokio::time::Instant;

/// Lines that a failure tells.
const KEPT: usize = 80;

/// Clones write the same trace.
#[derive(Clone)]
pub(crate) struct Trace(Arc<Mutex<Inner>>);

struct Inner {
    origin: Instant,
    hasher: DefaultHasher,
    last: VecDeque<String>,
}

impl Trace {
    pub(crate) fn new() -> Self {
        let (origin, hasher) = (Instant::now(), DefaultHasher::new());
        Self(Arc::new(Mutex::new(Inner { origin, hasher, last: VecDeque::new() })))
    }

    pub(crate) fn tell(&self, what: impl Into<String>) {
        let mut inner = self.0.lock().unwrap();
        let line = format!("{:>9} ms  {}", inner.origin.elapsed().as_millis(), what.into());
        line.hash(&mut inner.hasher);
        if std::env::var_os("SIMULATION_TRACE").is_some() {
            println!("{line}");
        }
        inner.last.push_back(line);
        if inner.last.len() > KEPT {
            inner.last.pop_front();
        }
    }

    /// Takes in what is too long to be told.
    pub(crate) fn mix(&self, what: &[u8]) {
        what.hash(&mut self.0.lock().unwrap().hasher);
    }

    pub(crate) fn hash(&self) -> u64 {
        self.0.lock().unwrap().hasher.finish()
    }

    pub(crate) fn last(&self) -> String {
        self.0.lock().unwrap().last.iter().map(|line| format!("{line}\n")).collect()
    }
}
