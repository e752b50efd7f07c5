//! logind as a test says.

use std::{
    io::PipeWriter,
    sync::{Arc, Mutex},
};

use component::testing::Descriptor;
use futures::channel::mpsc;

use super::*;

/// What was asked and done, in order; the other end of the lock tells whether it is held.
struct Fake {
    log: Arc<Mutex<Vec<String>>>,
    /// What is told of the delay, the last again and again.
    delays: Mutex<Vec<u64>>,
    words: Mutex<Option<mpsc::UnboundedReceiver<bool>>>,
    held: Mutex<Vec<PipeWriter>>,
}

impl Fake {
    fn new(delays: &[u64]) -> (Arc<Self>, mpsc::UnboundedSender<bool>) {
        let (sender, receiver) = mpsc::unbounded();
        let delays = Mutex::new(delays.iter().rev().copied().collect());
        let (log, words) = (Arc::default(), Mutex::new(Some(receiver)));
        (Arc::new(Self { log, delays, words, held: Mutex::default() }), sender)
    }

    fn note(&self, what: impl Into<String>) {
        self.log.lock().expect("a lock").push(what.into());
    }

    fn log(&self) -> Vec<String> {
        self.log.lock().expect("a lock").clone()
    }

    /// Whether each lock that was given is still held, in their order.
    fn held(&self) -> Vec<bool> {
        self.held.lock().expect("a lock").iter().map(|end| Descriptor::of(end).count() == 2).collect()
    }
}

#[async_trait]
impl Logind for Fake {
    async fn delay_max(&self) -> Result<Duration, Error> {
        let mut delays = self.delays.lock().expect("a lock");
        let now = if delays.len() > 1 { delays.pop() } else { delays.last().copied() };
        Ok(Duration::from_secs(now.unwrap_or(0)))
    }

    async fn reload(&self) -> Result<(), Error> {
        self.note("reload");
        Ok(())
    }

    async fn inhibit(&self) -> Result<OwnedFd, Error> {
        self.note("inhibit");
        let (reader, writer) = io::pipe().expect("a pipe");
        self.held.lock().expect("a lock").push(writer);
        Ok(reader.into())
    }

    async fn going_down(&self) -> Result<BoxStream<'static, bool>, Error> {
        let words = self.words.lock().expect("a lock").take();
        Ok(words.map(futures::StreamExt::boxed).expect("followed once"))
    }
}

/// Notes what it is told, and which locks are held meanwhile.
fn noting(logind: &Arc<Fake>) -> OnWord {
    let logind = logind.clone();
    Box::new(move |word| {
        logind.note(format!("word {word} {:?}", logind.held()));
        Box::pin(async {})
    })
}

#[tokio::test]
async fn the_machine_is_held_until_the_pods_have_ended() {
    let root = tempfile::tempdir().expect("a folder");
    let (logind, words) = Fake::new(&[60]);
    for word in [true, false, true] {
        words.unbounded_send(word).expect("sent");
    }
    drop(words);
    follow(&*logind, Duration::from_secs(30), root.path(), &noting(&logind)).await.expect("the bus ended");
    let wanted = ["inhibit", "word true [true]", "word false [false]", "inhibit", "word true [false, true]"];
    assert_eq!(logind.log(), wanted);
    assert_eq!(logind.held(), [false, false], "nothing is held in the end");
    assert!(!root.path().join(DROP_IN).exists(), "logind waits long enough");
}

#[tokio::test(start_paused = true)]
async fn logind_is_made_to_wait_long_enough() {
    let root = tempfile::tempdir().expect("a folder");
    let (logind, words) = Fake::new(&[5, 5, 5, 30]);
    drop(words);
    follow(&*logind, Duration::from_secs(30), root.path(), &noting(&logind)).await.expect("the bus ended");
    assert_eq!(logind.log(), ["reload", "inhibit"]);
    let text = fs::read_to_string(root.path().join(DROP_IN)).expect("a drop-in");
    assert_eq!(text, "# Kubelet logind override\n[Login]\nInhibitDelayMaxSec=30\n");
}

#[tokio::test(start_paused = true)]
async fn a_logind_that_does_not_listen_is_told_of() {
    let root = tempfile::tempdir().expect("a folder");
    let (logind, _words) = Fake::new(&[5]);
    let begun = tokio::time::Instant::now();
    let error = follow(&*logind, Duration::from_secs(30), root.path(), &noting(&logind)).await.expect_err("too short");
    assert!(error.to_string().contains("update to 30s (ShutdownGracePeriod), current value is 5s"), "{error}");
    assert_eq!(
        begun.elapsed(),
        Duration::from_millis(100 + 200 + 400 + 800),
        "nothing is waited for after the last look"
    );
    assert_eq!(logind.log(), ["reload"], "no lock is taken that would not hold");
}
