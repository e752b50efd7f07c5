//! Tells all watchers of a resource that something has happened.
//!
//! A hundred watchers wait anew after each event, so that waiting is most of what an event costs: here it is a waker put
//! down and a number compared. Enter at [`Bell::listen`] and [`Bell::ring`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;

#[derive(Default)]
pub(super) struct Bell {
    rung: Arc<AtomicU64>,
    /// Of those who are gone too, until the list is full or most of it is theirs.
    listeners: Mutex<Vec<Arc<AtomicWaker>>>,
}

impl Bell {
    pub(super) fn listen(&self) -> Listener {
        let waker = Arc::default();
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        if listeners.len() == listeners.capacity() {
            listeners.retain(is_there);
        }
        listeners.push(Arc::clone(&waker));
        Listener { rung: self.rung.clone(), heard: self.rung.load(Ordering::SeqCst), waker }
    }

    pub(super) fn ring(&self) {
        self.rung.fetch_add(1, Ordering::SeqCst);
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gone = 0;
        for listener in listeners.iter() {
            listener.wake();
            gone += usize::from(!is_there(listener));
        }
        if gone > listeners.len() / 2 {
            listeners.retain(is_there);
            let room = listeners.len() * 2;
            listeners.shrink_to(room);
        }
    }
}

fn is_there(listener: &Arc<AtomicWaker>) -> bool {
    Arc::strong_count(listener) > 1
}

/// Who hears one bell. It is waited for by one task at a time.
pub(super) struct Listener {
    rung: Arc<AtomicU64>,
    heard: u64,
    waker: Arc<AtomicWaker>,
}

impl Listener {
    /// Whether it has rung since it was last heard.
    pub(super) fn has_rung(&self) -> bool {
        self.rung.load(Ordering::SeqCst) != self.heard
    }

    /// What comes from now on is new. To be called before looking at what has happened.
    pub(super) fn hear(&mut self) {
        self.heard = self.rung.load(Ordering::SeqCst);
    }

    /// Ready once it has rung, and until that is heard.
    pub(super) fn poll_rung(&self, context: &Context<'_>) -> Poll<()> {
        // Order: who rings between the two finds the waker.
        self.waker.register(context.waker());
        if self.has_rung() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Listener {
    /// The list keeps it for a while; the task that waited need not stay as long.
    fn drop(&mut self) {
        self.waker.take();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::task::{Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn it_is_heard_once_by_each() {
        let bell = Bell::default();
        let (mut one, two) = (bell.listen(), bell.listen());
        assert!(!one.has_rung() && !two.has_rung());
        bell.ring();
        assert!(one.has_rung() && two.has_rung());
        one.hear();
        assert!(!one.has_rung() && two.has_rung());
        assert!(!bell.listen().has_rung(), "it rang before");
    }

    #[test]
    fn who_waits_is_woken_and_who_is_gone_is_let_go() {
        let bell = Bell::default();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let listener = bell.listen();
        assert!(listener.poll_rung(&Context::from_waker(&waker)).is_pending());
        assert!(!woken.0.load(Ordering::SeqCst));
        bell.ring();
        assert!(woken.0.load(Ordering::SeqCst));
        assert!(listener.poll_rung(&Context::from_waker(&waker)).is_ready());
        drop((listener, waker));
        assert_eq!(Arc::strong_count(&woken), 1);
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let bell = Bell::default();
        let listener = bell.listen();
        for _ in 0..1000 {
            bell.listen();
        }
        assert!(bell.listeners.lock().unwrap().len() < 100);
        let many: Vec<Listener> = (0..100).map(|_| bell.listen()).collect();
        drop(many);
        bell.ring();
        assert_eq!(bell.listeners.lock().unwrap().len(), 1);
        assert!(listener.has_rung());
    }
}
