//! How long nodes may go on using a Secret or ConfigMap that they read, by the size of the cluster.
//!
//! Pure. The steps overlap, so that a cluster at an edge does not go to and fro.

/// From and up to how many nodes a step holds, and its seconds.
const STEPS: [(usize, usize, u32); 5] =
    [(0, 100, 0), (90, 500, 15), (450, 1000, 30), (900, 2000, 60), (1800, usize::MAX, 300)];

#[derive(Debug, Default)]
pub(super) struct Size {
    nodes: usize,
    step: usize,
}

impl Size {
    /// Whether the time has changed.
    pub(super) fn grow(&mut self) -> bool {
        self.nodes += 1;
        let over = self.nodes > STEPS[self.step].1;
        self.step += usize::from(over);
        over
    }

    /// Whether the time has changed.
    pub(super) fn shrink(&mut self) -> bool {
        self.nodes = self.nodes.saturating_sub(1);
        let under = self.nodes < STEPS[self.step].0;
        self.step -= usize::from(under);
        under
    }

    pub(super) fn ttl_seconds(&self) -> u32 {
        STEPS[self.step].2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn larger_clusters_wait_longer() {
        let mut size = Size::default();
        let mut to = |nodes: usize| {
            while size.nodes < nodes {
                size.grow();
            }
            while size.nodes > nodes {
                size.shrink();
            }
            size.ttl_seconds()
        };
        let rows = [
            (1, 0),
            (100, 0),
            (101, 15),
            (90, 15),
            (89, 0),
            (500, 15),
            (501, 30),
            (450, 30),
            (449, 15),
            (1001, 60),
            (899, 30),
            (2001, 300),
            (1800, 300),
            (1799, 60),
            (0, 0),
        ];
        for (nodes, seconds) in rows {
            assert_eq!(to(nodes), seconds, "{nodes}");
        }
    }

    #[test]
    fn only_a_step_is_news() {
        let mut size = Size::default();
        assert_eq!((0..101).filter(|_| size.grow()).count(), 1);
        assert_eq!((0..12).filter(|_| size.shrink()).count(), 1);
    }
}
