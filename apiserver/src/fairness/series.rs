//! What is told of levels and flows, under upstream's names.

use std::sync::LazyLock;

use component::metrics::{counter, gauge, histogram, int_gauge};
use prometheus::{Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::demand::Period;
use super::shares::Bounds;

const LEVEL: &[&str] = &["priority_level"];
const FLOW: &[&str] = &["priority_level", "flow_schema"];
const WAIT_BUCKETS: [f64; 13] = [0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0];
const LENGTH_BUCKETS: [f64; 8] = [0.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0];
const SEAT_BUCKETS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 100.0];

macro_rules! family {
    ($name:ident: $kind:ty = $make:ident($series:literal, $help:literal, $labels:expr $(, $buckets:expr)?)) => {
        static $name: LazyLock<$kind> =
            LazyLock::new(|| $make(concat!("apiserver_flowcontrol_", $series), $help, $labels $(, $buckets)?));
    };
}

family!(REJECTED: IntCounterVec = counter("rejected_requests_total", "Number of requests rejected by API Priority and Fairness subsystem", &["priority_level", "flow_schema", "reason"]));
family!(DISPATCHED: IntCounterVec = counter("dispatched_requests_total", "Number of requests executed by API Priority and Fairness subsystem", FLOW));
family!(WAITING: IntGaugeVec = int_gauge("current_inqueue_requests", "Number of requests currently pending in queues of the API Priority and Fairness subsystem", FLOW));
family!(WAITING_SEATS: IntGaugeVec = int_gauge("current_inqueue_seats", "Number of seats currently pending in queues of the API Priority and Fairness subsystem", FLOW));
family!(EXECUTING: IntGaugeVec = int_gauge("current_executing_requests", "Number of requests in initial (for a WATCH) or any (for a non-WATCH) execution stage", FLOW));
family!(EXECUTING_SEATS: IntGaugeVec = int_gauge("current_executing_seats", "Number of seats occupied by the currently executing requests", FLOW));
family!(QUEUE_LENGTHS: HistogramVec = histogram("request_queue_length_after_enqueue", "Length of queue, as seen by each request after it is enqueued", FLOW, &LENGTH_BUCKETS));
family!(WAITS: HistogramVec = histogram("request_wait_duration_seconds", "Length of time a request spent waiting in its queue", &["priority_level", "flow_schema", "execute"], &WAIT_BUCKETS));
family!(RUNS: HistogramVec = histogram("request_execution_seconds", "Duration of request execution", &["priority_level", "flow_schema", "type"], &WAIT_BUCKETS));
family!(WORK: HistogramVec = histogram("work_estimated_seats", "Number of estimated seats associated with requests", FLOW, &SEAT_BUCKETS));
family!(NOMINAL: IntGaugeVec = int_gauge("nominal_limit_seats", "Nominal number of execution seats configured for each priority level", LEVEL));
family!(LOWER: IntGaugeVec = int_gauge("lower_limit_seats", "Configured lower bound on number of execution seats available to each priority level", LEVEL));
family!(UPPER: IntGaugeVec = int_gauge("upper_limit_seats", "Configured upper bound on number of execution seats available to each priority level", LEVEL));
family!(CURRENT: IntGaugeVec = int_gauge("current_limit_seats", "Current derived number of execution seats available to each priority level", LEVEL));
family!(PEAK: IntGaugeVec = int_gauge("demand_seats_high_watermark", "High watermark, over last adjustment period, of wanted seats", LEVEL));
family!(AVERAGE: GaugeVec = gauge("demand_seats_average", "Time-weighted average, over last adjustment period, of wanted seats", LEVEL));
family!(DEVIATION: GaugeVec = gauge("demand_seats_stdev", "Time-weighted standard deviation, over last adjustment period, of wanted seats", LEVEL));
family!(SMOOTHED: GaugeVec = gauge("demand_seats_smoothed", "Smoothed seat demands", LEVEL));
family!(FAIR_FRACTION: GaugeVec = gauge("seat_fair_frac", "Fair fraction of server's concurrency to allocate to each priority level that can use it", &[]));

/// The series of one schema at its level, looked up once.
pub struct FlowSeries {
    level: String,
    pub schema: String,
    pub dispatched: IntCounter,
    pub waiting: IntGauge,
    pub waiting_seats: IntGauge,
    pub executing: IntGauge,
    pub executing_seats: IntGauge,
    pub queue_length: Histogram,
    pub waited: Histogram,
    pub waited_in_vain: Histogram,
    pub ran: Histogram,
    pub watch_began: Histogram,
    pub seats: Histogram,
}

impl FlowSeries {
    pub fn of(level: &str, schema: &str) -> Self {
        let flow = [level, schema];
        let with = |more| [level, schema, more];
        Self {
            level: level.to_owned(),
            schema: schema.to_owned(),
            dispatched: DISPATCHED.with_label_values(&flow),
            waiting: WAITING.with_label_values(&flow),
            waiting_seats: WAITING_SEATS.with_label_values(&flow),
            executing: EXECUTING.with_label_values(&flow),
            executing_seats: EXECUTING_SEATS.with_label_values(&flow),
            queue_length: QUEUE_LENGTHS.with_label_values(&flow),
            waited: WAITS.with_label_values(&with("true")),
            waited_in_vain: WAITS.with_label_values(&with("false")),
            ran: RUNS.with_label_values(&with("regular")),
            watch_began: RUNS.with_label_values(&with("watch")),
            seats: WORK.with_label_values(&flow),
        }
    }

    pub fn rejected(&self, reason: &str) {
        REJECTED.with_label_values(&[&self.level, &self.schema, reason]).inc();
    }
}

fn whole(seats: usize) -> i64 {
    i64::try_from(seats).unwrap_or(i64::MAX)
}

pub fn configured(level: &str, bounds: &Bounds) {
    NOMINAL.with_label_values(&[level]).set(whole(bounds.nominal));
    LOWER.with_label_values(&[level]).set(whole(bounds.min));
    UPPER.with_label_values(&[level]).set(whole(bounds.max));
}

pub fn adjusted(level: &str, period: &Period, seats: usize) {
    CURRENT.with_label_values(&[level]).set(whole(seats));
    PEAK.with_label_values(&[level]).set(whole(period.peak));
    let parts = [(&AVERAGE, period.average), (&DEVIATION, period.deviation), (&SMOOTHED, period.smoothed)];
    for (family, value) in parts {
        family.with_label_values(&[level]).set(value);
    }
}

pub fn fair_fraction(fraction: f64) {
    let gauge: Gauge = FAIR_FRACTION.with_label_values(&[] as &[&str]);
    gauge.set(fraction);
}
