//! NodeResourcesBalancedAllocation: prefers nodes where the pod makes the use of resources more even.

use super::node_resources_fit::{Behind, WeightedResource};
use super::{Candidate, Normalize, Plugin, SCORE_MAX, Score};
use crate::event::Event;
use crate::objects::Pod;
use crate::snapshot::{Slot, Snapshot};

pub struct NodeResourcesBalancedAllocation {
    /// Their weights are not used.
    pub resources: Vec<WeightedResource>,
}

impl Default for NodeResourcesBalancedAllocation {
    fn default() -> Self {
        Self { resources: WeightedResource::defaults() }
    }
}

/// 100 when all used fractions of a node are equal, less the more they differ. `fraction` is asked twice for each
/// resource rather than kept: this runs for every feasible node.
fn evenness(resources: &[WeightedResource], fraction: impl Fn(&WeightedResource) -> Option<f64>) -> i64 {
    let (mut count, mut sum, mut first, mut last) = (0.0, 0.0, 0.0, 0.0);
    for fraction in resources.iter().filter_map(&fraction) {
        if count == 0.0 {
            first = fraction;
        }
        (count, sum, last) = (count + 1.0, sum + fraction, fraction);
    }
    let deviation = if count < 2.0 {
        0.0
    } else if count == 2.0 {
        f64::abs((first - last) / 2.0)
    } else {
        let mean = sum / count;
        let squares = resources.iter().filter_map(&fraction).map(|f| (f - mean) * (f - mean));
        (squares.sum::<f64>() / count).sqrt()
    };
    ((1.0 - deviation) * SCORE_MAX as f64) as i64
}

impl NodeResourcesBalancedAllocation {
    fn node_score(&self, pod: &Pod, candidate: Candidate<'_>, behind: &Behind<'_>) -> i64 {
        let used = |resource: &WeightedResource, with_pod: bool| {
            let name = &*resource.name;
            let wanted = pod.requests.get(name);
            let native = matches!(name, "cpu" | "memory" | "ephemeral-storage");
            let (used, capacity) = match native {
                true => (candidate.info.requested.get(name), candidate.node.allocatable.get(name)),
                false if wanted == 0 => return None,
                false => behind.scalar(name, candidate),
            };
            if capacity == 0 {
                return None;
            }
            let amount = used + if with_pod { wanted } else { 0 };
            Some((amount as f64 / capacity as f64).min(1.0))
        };
        let with = evenness(&self.resources, |resource| used(resource, true));
        let without = evenness(&self.resources, |resource| used(resource, false));
        SCORE_MAX / 2 + (SCORE_MAX / 2 + with - without) / 2
    }
}

impl Plugin for NodeResourcesBalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn score<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot, _: &'a [Slot]) -> Score<'a> {
        if self.resources.iter().all(|resource| pod.requests.get(&resource.name) == 0) {
            return Score::Skip;
        }
        let behind = Behind::new(&self.resources, &snapshot.devices);
        let score = move |candidate: Candidate<'_>| self.node_score(pod, candidate, &behind);
        Score::Run { score: Box::new(score), normalize: Normalize::AsIs }
    }

    fn wakes(&self, _: &Pod, _: &Event<'_>, _: &Snapshot) -> bool {
        false
    }
}
