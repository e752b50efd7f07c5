//! The worker's part in resizes: the wish judged, what runs brought in line, both told. Part of [`super::worker`].

use std::sync::Arc;

use component::recorder::Type;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::{
    allocation::Settled,
    backoff::after,
    memory::InProgress,
    node::Node,
    resize::{self, Due, Having, Update},
    spec,
    wishes::{Grant, Told, Wish},
    worker::{Done, Worker},
};

/// A resize that failed is tried again after a while, as upstream's next sync would.
const RETRY: std::time::Duration = std::time::Duration::from_secs(10);

/// What a step of a resize came to: the containers that were updated, and what went wrong after them.
pub(super) struct Resized {
    updated: Vec<(String, Having)>,
    result: Result<(), String>,
}

impl Worker {
    /// Judges the object's resources, and takes as the pod what was granted.
    pub(super) fn settle_resources(&mut self) {
        let node = self.node.clone();
        let since = self.memory.resize.pending.as_ref().map(|pending| pending.since);
        let wish = Wish { pod: self.desired.clone(), given: self.memory.allocation.clone(), since };
        let Told { earlier, settled } = node.wishes.settle(wish, &node.running, &node.facts, self.now());
        if let Some(grant) = earlier {
            self.granted(grant);
        }
        let generation = self.desired.metadata.generation.unwrap_or(0);
        self.memory.resize.has_wish = matches!(settled, Settled::Waits(_) | Settled::Unjudged);
        match settled {
            Settled::Unjudged => {}
            Settled::Same => self.memory.resize.pending = None,
            Settled::Granted(given) => self.granted(Grant { given, generation }),
            Settled::Waits(pending) => {
                let resize = &mut self.memory.resize;
                let is_new = resize.pending.as_ref().is_none_or(|it| it.generation != generation);
                resize.pending = Some(pending.clone());
                if is_new {
                    let title = "Pod resize Deferred";
                    self.tell_resize(Type::Warning, "ResizeDeferred", title, generation, &pending.message);
                }
            }
        }
        self.pod = self.memory.allocation.apply(&self.desired);
    }

    fn granted(&mut self, Grant { given, generation }: Grant) {
        self.memory.allocation = given;
        let resize = &mut self.memory.resize;
        resize.pending = None;
        resize.is_cgroup_due = true;
        resize.retry_at = None;
        resize.in_progress = Some(InProgress { generation, error: None });
        self.tell_resize(Type::Normal, "ResizeStarted", "Pod resize started", generation, "");
    }

    fn tell_resize(&self, kind: Type, reason: &str, title: &str, generation: i64, error: &str) {
        let message = resize::event_message(title, &self.desired, generation, error);
        self.node.reporter.pod(&self.desired, kind, reason, message);
    }

    /// What is due now; the restarts among it are noted for the plan. Nothing while a step of a resize runs.
    pub(super) fn due_resizes(&mut self) -> Due {
        let resize = &mut self.memory.resize;
        if self.stop.is_some() || resize.is_updating || resize.retry_at.is_some_and(|at| self.node.clock.now() < at) {
            return Due::default();
        }
        let due = resize::due(&self.pod, &self.observed, &mut resize.actuated, &self.node.facts);
        resize.restarts = due.restarts.iter().cloned().collect();
        if due.is_empty()
            && !resize.is_cgroup_due
            && let Some(done) = resize.in_progress.take()
        {
            self.tell_resize(Type::Normal, "ResizeCompleted", "Pod resize completed", done.generation, "");
        }
        due
    }

    pub(super) fn begin_resize(&mut self, due: Due) -> Option<Timestamp> {
        let resize = &mut self.memory.resize;
        if resize.is_updating || self.stop.is_some() {
            return None;
        }
        if let Some(at) = resize.retry_at.filter(|at| self.node.clock.now() < *at) {
            return Some(at);
        }
        if due.updates.is_empty() && !resize.is_cgroup_due {
            return None;
        }
        if !due.updates.is_empty() {
            let generation = self.desired.metadata.generation.unwrap_or(0);
            resize.in_progress.get_or_insert(InProgress { generation, error: None });
        }
        resize.is_updating = true;
        let (node, pod) = (self.node.clone(), self.pod.clone());
        self.steps.spawn(async move { Done::Resized(actuate(node, pod, due.updates).await) });
        None
    }

    pub(super) fn resized(&mut self, done: Resized) {
        done.updated.iter().for_each(|(id, _)| self.look.add_id(id, &self.observed));
        let now = self.now();
        let resize = &mut self.memory.resize;
        resize.is_updating = false;
        resize.actuated.extend(done.updated);
        match done.result {
            Ok(()) => {
                resize.is_cgroup_due = false;
                resize.retry_at = None;
            }
            Err(error) => {
                resize.is_cgroup_due = true;
                resize.retry_at = Some(after(now, RETRY));
                let Some(progress) = &mut resize.in_progress else { return };
                let generation = progress.generation;
                let is_new = progress.error.as_ref() != Some(&error);
                progress.error = Some(error.clone());
                if is_new {
                    self.tell_resize(Type::Warning, "ResizeError", "Pod resize error", generation, &error);
                }
            }
        }
    }
}

/// The pod's cgroup is widened before its containers grow and narrowed after they have shrunk: a child may never ask for
/// more than its parent has.
async fn actuate(node: Arc<Node>, pod: Arc<Pod>, updates: Vec<Update>) -> Resized {
    let mut updated = Vec::new();
    let result = async {
        refuse_too_tight(&node, &updates).await?;
        if let Some(cgroups) = &node.cgroups {
            cgroups.widen_pod(&pod).await.map_err(|error| error.to_string())?;
        }
        for update in updates {
            match node.runtime.update_container_resources(&update.id, update.resources).await {
                Err(error) if !error.is_not_found() => return Err(error.to_string()),
                _ => updated.push((update.id, update.wanted)),
            }
        }
        match &node.cgroups {
            Some(cgroups) => cgroups.ensure_pod(&pod, node.pod_pids_limit).await.map_err(|error| error.to_string()),
            None => Ok(()),
        }
    };
    let result = result.await;
    if let Err(error) = &result {
        tracing::warn!(pod = %spec::identity(&pod), error, "a resize failed; it is tried again");
    }
    Resized { updated, result }
}

/// The kernel would kill, or refuse, a container whose new limit lies below what it uses.
async fn refuse_too_tight(node: &Node, updates: &[Update]) -> Result<(), String> {
    if updates.iter().all(|update| update.tighter_memory_bytes.is_none()) {
        return Ok(());
    }
    let stats = node.runtime.list_container_stats().await.map_err(|error| error.to_string())?;
    let used = |id: &str| {
        let own = stats.iter().find(|it| it.attributes.as_ref().is_some_and(|it| it.id == id))?;
        let memory = own.memory.as_ref()?;
        memory.usage_bytes.as_ref().or(memory.working_set_bytes.as_ref()).map(|it| it.value)
    };
    let problems: Vec<String> = updates
        .iter()
        .filter_map(|update| {
            let (limit, used) = (update.tighter_memory_bytes?, used(&update.id)?);
            (used >= u64::try_from(limit).unwrap_or(0)).then(|| {
                let name = &update.name;
                format!("attempting to set container {name:?} memory limit ({limit}) below current usage ({used})")
            })
        })
        .collect();
    match problems.as_slice() {
        [] => Ok(()),
        [one] => Err(format!("cannot decrease memory limits: {one}")),
        several => Err(format!("cannot decrease memory limits: [{}]", several.join(", "))),
    }
}
