//! ImageLocality: prefers nodes that already hold the pod's images, the more so the more nodes hold them, so that a
//! single node with an image does not draw all its pods.

use std::collections::HashMap;

use super::{Candidate, Normalize, Plugin, SCORE_MAX, Score};
use crate::event::Event;
use crate::objects::Pod;
use crate::snapshot::{Slot, Snapshot};

const MEGABYTE: i64 = 1024 * 1024;
/// Less than this is not worth a preference.
const BYTES_MIN: i64 = 23 * MEGABYTE;
/// More than this for each container makes no difference.
const BYTES_MAX: i64 = 1000 * MEGABYTE;

pub struct ImageLocality;

fn scaled(bytes: i64, container_count: usize) -> i64 {
    let most = BYTES_MAX * container_count.max(1) as i64;
    SCORE_MAX * (bytes.clamp(BYTES_MIN, most) - BYTES_MIN) / (most - BYTES_MIN)
}

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }

    fn score<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot, _: &'a [Slot]) -> Score<'a> {
        let held: Vec<&HashMap<Slot, i64>> = pod.images.iter().filter_map(|image| snapshot.image(image)).collect();
        if held.is_empty() {
            return Score::Skip;
        }
        let nodes = snapshot.len() as f64;
        let score = move |candidate: Candidate<'_>| {
            let part = |holders: &&HashMap<Slot, i64>| {
                let size = holders.get(&candidate.slot).copied().unwrap_or(0);
                (size as f64 * (holders.len() as f64 / nodes)) as i64
            };
            scaled(held.iter().map(part).sum(), pod.container_count)
        };
        Score::Run { score: Box::new(score), normalize: Normalize::AsIs }
    }

    fn wakes(&self, _: &Pod, _: &Event<'_>, _: &Snapshot) -> bool {
        false
    }
}
