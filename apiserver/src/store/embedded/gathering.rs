//! Commits gather before they are written: a group waits, for a moment, until it is as large as the one before.
//!
//! A synchronous write costs the same CPU for one commit as for ten (measured: 80 to 100 µs), so a disk that answers
//! quickly would make commits dear: few arrive meanwhile. Who commits alone never waits, as the group before was one;
//! many clients find each other after a few writes. When they stop, one group waits in vain and the next does not.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How long commits wait for others to be written with.
pub(super) const WAIT_MAX: Duration = Duration::from_millis(1);
/// A group as large as this waits for nobody: its write's cost is shared well enough.
const ENOUGH: usize = 8;

/// What the writer's thread waits for, known to those who commit.
#[derive(Debug)]
pub(super) struct Gathering {
    wait_max: Duration,
    /// How many must wait before the writer is woken; 0 while it waits for none.
    wanted: AtomicUsize,
    writer: OnceLock<Thread>,
}

impl Gathering {
    pub(super) fn new(wait_max: Duration) -> Self {
        Self { wait_max, wanted: AtomicUsize::new(0), writer: OnceLock::new() }
    }

    /// Blocks the writer's thread until as many wait as the last group had, or the time is over.
    pub(super) fn gather(&self, last: usize, waiting: impl Fn() -> usize) {
        let wanted = last.min(ENOUGH);
        if wanted < 2 {
            return;
        }
        self.writer.get_or_init(thread::current);
        let begun = Instant::now();
        self.wanted.store(wanted, Ordering::Relaxed);
        // Whoever does not see what is wanted is seen to wait.
        fence(Ordering::SeqCst);
        while waiting() < wanted {
            let Some(left) = self.wait_max.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) else { break };
            thread::park_timeout(left);
        }
        self.wanted.store(0, Ordering::Relaxed);
    }

    /// Tells the writer, where it waits for so many.
    pub(super) fn arrived(&self, waiting: impl Fn() -> usize) {
        fence(Ordering::SeqCst);
        let wanted = self.wanted.load(Ordering::Relaxed);
        if wanted != 0
            && waiting() >= wanted
            && let Some(writer) = self.writer.get()
        {
            writer.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc;

    use super::*;

    const SAFETY: Duration = Duration::from_secs(60);

    /// A group of `last` was written: the next is gathered, by a thread that tells when it is done.
    fn gather(gathering: &Arc<Gathering>, last: usize, waiting: &Arc<AtomicUsize>) -> mpsc::Receiver<()> {
        let (done, told) = mpsc::channel();
        let (gathering, waiting) = (gathering.clone(), waiting.clone());
        thread::spawn(move || {
            gathering.gather(last, || waiting.load(Ordering::SeqCst));
            let _ = done.send(());
        });
        told
    }

    #[test]
    fn waits_for_as_many_as_there_were() {
        for (last, enough) in [(2, 2), (5, 5), (200, ENOUGH)] {
            let (gathering, waiting) = (Arc::new(Gathering::new(Duration::MAX)), Arc::default());
            let done = gather(&gathering, last, &waiting);
            for arrived in 1..=enough {
                assert!(done.try_recv().is_err(), "did not wait for the {arrived}. of {enough}");
                waiting.store(arrived, Ordering::SeqCst);
                gathering.arrived(|| waiting.load(Ordering::SeqCst));
            }
            assert!(done.recv_timeout(SAFETY).is_ok(), "waits on, though {enough} are there");
        }
    }

    #[test]
    fn who_commits_alone_never_waits() {
        for last in [0, 1] {
            let gathering = Arc::new(Gathering::new(Duration::MAX));
            assert!(gather(&gathering, last, &Arc::default()).recv_timeout(SAFETY).is_ok());
        }
    }

    #[test]
    fn nobody_is_waited_for_longer_than_said() {
        let gathering = Arc::new(Gathering::new(Duration::from_millis(5)));
        assert!(gather(&gathering, 2, &Arc::default()).recv_timeout(SAFETY).is_ok());
    }
}
