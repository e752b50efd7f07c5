//! What was asked for and not answered: it may have been done, unknown to who asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::network::Process;
use crate::truth::controller;

/// Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Doubts {
    pub(crate) pods: Pods,
    pub(crate) bindings: Bindings,
}

/// How many pods there may be more than their makers know of, by the UID of their controller.
#[derive(Clone, Default)]
pub(crate) struct Pods(Arc<Mutex<BTreeMap<String, u64>>>);

/// The pods whose binding was asked for, by UID: another pod may get the name before it is known that the first is gone.
#[derive(Clone, Default)]
pub(crate) struct Bindings(Arc<Mutex<BTreeMap<String, Asked>>>);

/// By a process that waits for an answer, or that got none.
enum Asked {
    By(Process),
    InVain,
}

/// One that is being asked for.
pub(crate) enum Doubt {
    Pod { all: Pods, owner: String },
    Binding(Binding),
}

pub(crate) struct Binding {
    all: Bindings,
    /// Its UID.
    pod: String,
    /// Whether an earlier one of the same pod was in doubt.
    doubtful_before: bool,
    answered: bool,
}

impl Doubts {
    /// Of a POST of this body to this path; `None` where nothing can be in doubt.
    pub(crate) fn begin(&self, path: &str, body: &[u8], by: &Process) -> Option<Doubt> {
        if path.ends_with("/pods") {
            let pod: Value = serde_json::from_slice(body).expect("a pod is JSON");
            let (all, owner) = (self.pods.clone(), controller(&pod).to_owned());
            *all.0.lock().unwrap().entry(owner.clone()).or_default() += 1;
            return Some(Doubt::Pod { all, owner });
        }
        if !path.ends_with("/binding") {
            return None;
        }
        let binding: Value = serde_json::from_slice(body).expect("a binding is JSON");
        let pod = binding["metadata"]["uid"].as_str().expect("the scheduler says which pod it means").to_owned();
        let doubtful_before = self.bindings.are_doubtful_of(&pod);
        if !doubtful_before {
            self.bindings.put(&pod, Some(Asked::By(by.clone())));
        }
        let all = self.bindings.clone();
        Some(Doubt::Binding(Binding { all, pod, doubtful_before, answered: false }))
    }
}

impl Pods {
    pub(crate) fn of(&self, owner: &str) -> u64 {
        self.0.lock().unwrap().get(owner).copied().unwrap_or_default()
    }
}

impl Bindings {
    /// Whether the scheduler may not know where this pod is.
    pub(crate) fn are_doubtful_of(&self, pod: &str) -> bool {
        match self.0.lock().unwrap().get(pod) {
            Some(Asked::By(process)) => process.is_dead(),
            Some(Asked::InVain) => true,
            None => false,
        }
    }

    /// The pod is gone.
    pub(crate) fn forget(&self, pod: &str) {
        self.put(pod, None);
    }

    fn put(&self, pod: &str, asked: Option<Asked>) {
        let mut all = self.0.lock().unwrap();
        match asked {
            Some(asked) => drop(all.insert(pod.to_owned(), asked)),
            None => drop(all.remove(pod)),
        }
    }
}

impl Doubt {
    /// The answer came: it was done, or refused. A refusal does not say where the pod is.
    pub(crate) fn resolve(self, done: bool) {
        match self {
            Self::Pod { all, owner } => *all.0.lock().unwrap().entry(owner).or_default() -= 1,
            Self::Binding(mut binding) => {
                binding.answered = true;
                if done || !binding.doubtful_before {
                    binding.all.forget(&binding.pod);
                }
            }
        }
    }
}

impl Drop for Binding {
    fn drop(&mut self) {
        if !self.answered {
            self.all.put(&self.pod, Some(Asked::InVain));
        }
    }
}
