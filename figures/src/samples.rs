//! One number of many samples. Pure.

use std::time::Duration;

/// Half of the samples are below; 0 of none.
pub fn median(samples: &[f64]) -> f64 {
    percentile(samples, 0.5)
}

/// `part` of the samples are below; 0 of none.
pub fn percentile(samples: &[f64], part: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (sorted.len() as f64 * part) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

/// The smallest and the largest.
pub fn spread(samples: &[f64]) -> (f64, f64) {
    let least = samples.iter().copied().fold(f64::INFINITY, f64::min);
    let most = samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if samples.is_empty() { (0.0, 0.0) } else { (least, most) }
}

pub fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

pub fn in_seconds(samples: &[Duration]) -> Vec<f64> {
    samples.iter().map(Duration::as_secs_f64).collect()
}

pub fn in_milliseconds(samples: &[Duration]) -> Vec<f64> {
    samples.iter().copied().map(millis).collect()
}

#[test]
fn samples_become_numbers() {
    let samples = [5.0, 1.0, 3.0, 2.0, 4.0];
    assert_eq!(median(&samples), 3.0);
    assert_eq!((percentile(&samples, 0.99), percentile(&samples, 1.0)), (5.0, 5.0));
    assert_eq!(spread(&samples), (1.0, 5.0));
    assert_eq!((median(&[]), spread(&[])), (0.0, (0.0, 0.0)));
}
