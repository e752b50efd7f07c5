//! The two strategies, and proportional scaling: which ReplicaSet gets how many pods next.
//!
//! Pure; steps of [`super::plan::Rollout`]. Concepts: "Deployments", "Strategy", "Proportional scaling".

use super::annotations::{self, DESIRED_REPLICAS, MAX_REPLICAS};
use super::facts;
use super::plan::{Rollout, RunningPods};

impl Rollout<'_> {
    /// One step of `RollingUpdate`: either more new pods, or fewer old ones, or tidy up.
    pub(super) fn roll(&mut self) {
        self.sync_revision(true);
        if self.grow_new() || self.shrink_old() {
            return;
        }
        if super::status::is_complete(&self.d, self.d.status.as_ref()) {
            self.clean_up();
        }
    }

    fn grow_new(&mut self) -> bool {
        let Some(new) = self.new else { return false };
        let desired = facts::desired(&self.d);
        let size = if self.replicas(new) > desired { desired } else { self.surged_size(new) };
        self.resize(new, size)
    }

    /// The size that the new ReplicaSet may have now without the total exceeding the surge.
    pub(super) fn surged_size(&self, new: usize) -> i32 {
        let desired = facts::desired(&self.d);
        let size = self.replicas(new);
        let room = desired + facts::max_surge(&self.d) - self.total_replicas();
        if room <= 0 { size } else { size + room.min(desired - size) }
    }

    fn shrink_old(&mut self) -> bool {
        let Some(new) = self.new else { return false };
        let old: Vec<usize> = self.old().filter(|i| self.replicas(*i) > 0).collect();
        // A status from before a change of size says nothing of the pods that are there now: of a ReplicaSet that went to
        // nothing and is asked for again, the old status still tells of all its pods.
        let mut counted = old.iter().chain([&new]).filter(|i| self.replicas(**i) > 0);
        if old.is_empty() || counted.any(|i| !facts::is_status_current(&self.sets[*i].rs)) {
            return false;
        }
        let min_available = facts::desired(&self.d) - facts::max_unavailable(&self.d);
        let new_unavailable = self.replicas(new) - self.kept_available(new);
        // New pods that are not available yet are left out of the count: they must not push out old
        // ones that are.
        let budget = self.total_replicas() - min_available - new_unavailable;
        if budget <= 0 {
            return false;
        }
        let removed = self.drop_unhealthy(&old, budget);
        let available: i32 = old.iter().chain([&new]).map(|i| self.kept_available(*i)).sum();
        removed + self.drop_oldest(&old, available - min_available) > 0
    }

    /// The available pods that stay. A ReplicaSet that was just made smaller still tells of those that are about to go;
    /// they must not count twice.
    fn kept_available(&self, index: usize) -> i32 {
        facts::available(&self.sets[index].rs).min(self.replicas(index))
    }

    /// Pods that are not available can go at once: that costs no availability.
    fn drop_unhealthy(&mut self, old: &[usize], budget: i32) -> i32 {
        let mut removed = 0;
        for index in old {
            let size = self.replicas(*index);
            let unhealthy = size - self.kept_available(*index);
            let count = unhealthy.min(budget - removed);
            if count > 0 {
                self.resize(*index, size - count);
                removed += count;
            }
        }
        removed
    }

    fn drop_oldest(&mut self, old: &[usize], budget: i32) -> i32 {
        let mut removed = 0;
        for index in old {
            let size = self.replicas(*index);
            let count = size.min(budget - removed);
            if count > 0 {
                self.resize(*index, size - count);
                removed += count;
            }
        }
        removed
    }

    /// `Recreate`: all old pods go, and only when none of them runs any more come the new ones.
    pub(super) fn recreate(&mut self, running: &RunningPods) {
        self.sync_revision(false);
        let mut scaled_down = false;
        for index in self.old() {
            scaled_down |= self.resize(index, 0);
        }
        if scaled_down || self.old_pods_run(running) {
            return;
        }
        self.sync_revision(true);
        if let Some(new) = self.new {
            self.resize(new, facts::desired(&self.d));
        }
        if super::status::is_complete(&self.d, self.d.status.as_ref()) {
            self.clean_up();
        }
    }

    fn old_pods_run(&self, running: &RunningPods) -> bool {
        let new_uid = self.new.and_then(|i| self.sets[i].rs.metadata.uid.as_ref());
        self.old().map(|i| facts::actual(&self.sets[i].rs)).sum::<i32>() > 0
            || running.replica_sets.iter().any(|uid| Some(uid) != new_uid)
    }

    /// Answers a change of the Deployment's size. In the middle of a rollout the difference is spread
    /// over all active ReplicaSets, so that a broken new template gets no larger share by it.
    pub(super) fn scale(&mut self) {
        let desired = facts::desired(&self.d);
        if let Some(only) = self.active_or_latest() {
            self.resize(only, desired);
        } else if self.new.is_some_and(|new| self.is_saturated(new)) {
            for index in self.old() {
                self.resize(index, 0);
            }
        } else if !facts::is_recreate(&self.d) {
            self.scale_proportionally();
        }
    }

    /// The one active ReplicaSet, or, with none active, the newest; None when several are.
    fn active_or_latest(&self) -> Option<usize> {
        let active: Vec<usize> = (0..self.sets.len()).filter(|i| self.replicas(*i) > 0).collect();
        match active[..] {
            [] => self.new.or_else(|| self.old().last()),
            [one] => Some(one),
            _ => None,
        }
    }

    fn is_saturated(&self, new: usize) -> bool {
        let desired = facts::desired(&self.d);
        let rs = &self.sets[new].rs;
        annotations::size(rs, DESIRED_REPLICAS) == Some(desired)
            && facts::replicas(rs) == desired
            && facts::available(rs) == desired
    }

    fn scale_proportionally(&mut self) {
        let desired = facts::desired(&self.d);
        let allowed = if desired > 0 { desired + facts::max_surge(&self.d) } else { 0 };
        let mut active: Vec<usize> = (0..self.sets.len()).filter(|i| self.replicas(*i) > 0).collect();
        let to_add = allowed - active.iter().map(|i| self.replicas(*i)).sum::<i32>();
        // Largest first; among equals the newest when growing, the oldest when shrinking.
        if to_add > 0 {
            active.reverse();
        }
        active.sort_by_key(|i| std::cmp::Reverse(self.replicas(*i)));
        let mut added = 0;
        let mut sizes: Vec<i32> = Vec::with_capacity(active.len());
        for index in &active {
            let share = self.share(*index, to_add, added);
            added += share;
            sizes.push(self.replicas(*index) + share);
        }
        if let Some(first) = sizes.first_mut() {
            *first = (*first + to_add - added).max(0);
        }
        for (index, size) in active.into_iter().zip(sizes) {
            self.resize(index, size);
            annotations::set_sizes(&self.d, &mut self.sets[index].rs);
        }
    }

    /// How many of the `to_add` pods (negative: to remove) fall to this ReplicaSet.
    fn share(&self, index: usize, to_add: i32, added: i32) -> i32 {
        let left = to_add - added;
        if left == 0 || to_add == 0 {
            return 0;
        }
        let fraction = self.fraction(index);
        if to_add > 0 { fraction.min(left) } else { fraction.max(left) }
    }

    /// The change that keeps this ReplicaSet's part of the whole as it was.
    fn fraction(&self, index: usize) -> i32 {
        let desired = facts::desired(&self.d);
        let size = self.replicas(index);
        if desired == 0 {
            return -size;
        }
        let before = annotations::size(&self.sets[index].rs, MAX_REPLICAS).filter(|n| *n > 0);
        let before = before.or_else(|| self.d.status.as_ref().and_then(|s| s.replicas));
        let Some(before) = before.filter(|n| *n != 0) else { return 0 };
        let after = f64::from(size) * f64::from(desired + facts::max_surge(&self.d)) / f64::from(before);
        // Saturates; sizes are far below what a double holds exactly.
        after.round() as i32 - size
    }
}
