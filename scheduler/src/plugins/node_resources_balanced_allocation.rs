//! NodeResourcesBalancedAllocation: prefers nodes where the pod makes the use of resources more even.

use super::node_resources_fit::WeightedResource;
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

/// Sums over the used fractions of a node's resources.
#[derive(Default)]
struct Spread {
    fractions: Vec<f64>,
}

impl Spread {
    /// 100 when all fractions are equal, less the more they differ.
    fn evenness(&self) -> i64 {
        let count = self.fractions.len() as f64;
        let deviation = match self.fractions.as_slice() {
            [] | [_] => 0.0,
            [a, b] => ((a - b) / 2.0).abs(),
            fractions => {
                let mean = fractions.iter().sum::<f64>() / count;
                (fractions.iter().map(|f| (f - mean) * (f - mean)).sum::<f64>() / count).sqrt()
            }
        };
        ((1.0 - deviation) * SCORE_MAX as f64) as i64
    }
}

impl NodeResourcesBalancedAllocation {
    fn node_score(&self, pod: &Pod, candidate: Candidate<'_>) -> i64 {
        let (mut with, mut without) = (Spread::default(), Spread::default());
        for resource in &self.resources {
            let wanted = pod.requests.get(&resource.name);
            let capacity = candidate.node.allocatable.get(&resource.name);
            let native = matches!(&*resource.name, "cpu" | "memory" | "ephemeral-storage");
            if capacity == 0 || (wanted == 0 && !native) {
                continue;
            }
            let used = candidate.info.requested.get(&resource.name);
            let fraction = |amount: i64| (amount as f64 / capacity as f64).min(1.0);
            with.fractions.push(fraction(used + wanted));
            without.fractions.push(fraction(used));
        }
        SCORE_MAX / 2 + (SCORE_MAX / 2 + with.evenness() - without.evenness()) / 2
    }
}

impl Plugin for NodeResourcesBalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn score<'a>(&'a self, pod: &'a Pod, _: &'a Snapshot, _: &'a [Slot]) -> Score<'a> {
        if self.resources.iter().all(|resource| pod.requests.get(&resource.name) == 0) {
            return Score::Skip;
        }
        Score::Run { score: Box::new(|candidate| self.node_score(pod, candidate)), normalize: Normalize::AsIs }
    }

    fn wakes(&self, _: &Pod, _: &Event<'_>, _: &Snapshot) -> bool {
        false
    }
}
