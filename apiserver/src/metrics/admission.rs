//! How long the two steps of admission take.

use std::sync::LazyLock;
use std::time::Instant;

use component::metrics::histogram;
use prometheus::Histogram;

use crate::admission::Operation;

const BUCKETS: [f64; 6] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5];
const OPERATIONS: [&str; 4] = ["CREATE", "UPDATE", "DELETE", "CONNECT"];

/// A step.
#[derive(Clone, Copy)]
pub enum Step {
    Admit,
    Validate,
}

/// By step, operation, and whether it refused; looked up once, for every write passes here.
static STEPS: LazyLock<[[[Histogram; 2]; 4]; 2]> = LazyLock::new(|| {
    let help = "Admission sub-step latency histogram in seconds, broken out for each operation and API resource and step type (validate or admit).";
    let labels = ["type", "operation", "rejected"];
    let family = histogram("apiserver_admission_step_admission_duration_seconds", help, &labels, &BUCKETS);
    ["admit", "validate"].map(|step| {
        OPERATIONS
            .map(|operation| ["false", "true"].map(|refused| family.with_label_values(&[step, operation, refused])))
    })
});

/// A step that began then is over.
pub fn took(step: Step, operation: Operation, begun: Instant, refused: bool) {
    STEPS[step as usize][operation as usize][usize::from(refused)].observe(begun.elapsed().as_secs_f64());
}
