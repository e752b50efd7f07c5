//! How long the two steps of admission take, and each plug-in in them.

use std::sync::{LazyLock, OnceLock};
use std::time::{Duration, Instant};

use component::metrics::histogram;
use prometheus::{Histogram, HistogramVec};

use crate::admission::Operation;

const BUCKETS: [f64; 6] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5];

/// A step.
#[derive(Clone, Copy)]
pub enum Step {
    Admit,
    Validate,
}

impl Step {
    const ALL: [Self; 2] = [Self::Admit, Self::Validate];

    fn as_str(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Validate => "validate",
        }
    }
}

/// By step, operation, and whether it refused; looked up once, for every write passes here.
static STEPS: LazyLock<[[[Histogram; 2]; 4]; 2]> = LazyLock::new(|| {
    let help = "Admission sub-step latency histogram in seconds, broken out for each operation and API resource and step type (validate or admit).";
    let labels = ["type", "operation", "rejected"];
    let family = histogram("apiserver_admission_step_admission_duration_seconds", help, &labels, &BUCKETS);
    Step::ALL.map(|step| {
        Operation::ALL.map(|operation| {
            ["false", "true"].map(|refused| family.with_label_values(&[step.as_str(), operation.as_str(), refused]))
        })
    })
});

static PLUGINS: LazyLock<HistogramVec> = LazyLock::new(|| {
    let help = "Admission controller latency histogram in seconds, identified by name and broken out for each operation and API resource and type (validate or admit).";
    let labels = ["name", "type", "operation", "rejected"];
    histogram("apiserver_admission_controller_admission_duration_seconds", help, &labels, &BUCKETS)
});

/// A step that began then is over.
pub fn took(step: Step, operation: Operation, begun: Instant, refused: bool) {
    STEPS[step as usize][operation as usize][usize::from(refused)].observe(begun.elapsed().as_secs_f64());
}

/// What a plug-in is told by, in one step at one operation. A series begins with its first observation.
pub struct Series {
    name: &'static str,
    step: Step,
    operation: Operation,
    by_outcome: [OnceLock<Histogram>; 2],
}

impl Series {
    pub fn new(name: &'static str, step: Step, operation: Operation) -> Self {
        Self { name, step, operation, by_outcome: [OnceLock::new(), OnceLock::new()] }
    }

    pub fn took(&self, time: Duration, refused: bool) {
        let series = self.by_outcome[usize::from(refused)].get_or_init(|| {
            let refused = if refused { "true" } else { "false" };
            PLUGINS.with_label_values(&[self.name, self.step.as_str(), self.operation.as_str(), refused])
        });
        series.observe(time.as_secs_f64());
    }
}
