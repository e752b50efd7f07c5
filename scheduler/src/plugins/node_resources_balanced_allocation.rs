//! NodeResourcesBalancedAllocation: prefers nodes where the pod makes the use of resources more even.

use super::node_resources_fit::{Behind, WeightedResource};
use super::{Candidate, Normalize, Plugin, SCORE_MAX, Score};
use crate::event::Event;
use crate::objects::{Pod, ResourceName};
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
fn evenness(wanted: &[Wanted<'_>], fraction: impl Fn(&Wanted<'_>) -> Option<f64>) -> i64 {
    let (mut count, mut sum, mut first, mut last) = (0.0, 0.0, 0.0, 0.0);
    for fraction in wanted.iter().filter_map(&fraction) {
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
        let squares = wanted.iter().filter_map(&fraction).map(|f| (f - mean) * (f - mean));
        (squares.sum::<f64>() / count).sqrt()
    };
    ((1.0 - deviation) * SCORE_MAX as f64) as i64
}

/// A resource, and how much of it the pod asks for.
struct Wanted<'a> {
    name: ResourceName<'a>,
    amount: i64,
}

impl<'a> Wanted<'a> {
    fn of(resource: &'a WeightedResource, pod: &Pod) -> Self {
        let name = ResourceName::from(&*resource.name);
        Self { name, amount: pod.requests.get(name) }
    }

    fn fraction(&self, candidate: Candidate<'_>, behind: &Behind<'_>, with_pod: bool) -> Option<f64> {
        use ResourceName::{Cpu, EphemeralStorage, Memory, Pods, Scalar};
        let (used, capacity) = match self.name {
            Cpu | Memory | EphemeralStorage => {
                (candidate.info.requested.get(self.name), candidate.node.allocatable.get(self.name))
            }
            Scalar(name) if self.amount != 0 => behind.scalar(name, candidate),
            Scalar(_) | Pods => return None,
        };
        if capacity == 0 {
            return None;
        }
        let amount = used + if with_pod { self.amount } else { 0 };
        Some((amount as f64 / capacity as f64).min(1.0))
    }
}

fn node_score(wanted: &[Wanted<'_>], candidate: Candidate<'_>, behind: &Behind<'_>) -> i64 {
    let with = evenness(wanted, |resource| resource.fraction(candidate, behind, true));
    let without = evenness(wanted, |resource| resource.fraction(candidate, behind, false));
    SCORE_MAX / 2 + (SCORE_MAX / 2 + with - without) / 2
}

impl Plugin for NodeResourcesBalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn score<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot, _: &'a [Slot]) -> Score<'a> {
        let wanted: Vec<_> = self.resources.iter().map(|resource| Wanted::of(resource, pod)).collect();
        if wanted.iter().all(|resource| resource.amount == 0) {
            return Score::Skip;
        }
        let behind = Behind::new(&self.resources, &snapshot.devices);
        let score = move |candidate: Candidate<'_>| node_score(&wanted, candidate, &behind);
        Score::Run { score: Box::new(score), normalize: Normalize::AsIs }
    }

    fn wakes(&self, _: &Pod, _: &Event<'_>, _: &Snapshot) -> bool {
        false
    }
}
