//! The series that upstream's boards and service level rules read, under upstream's names and labels.
//!
//! Enter at [`Observed`] for a request; `docs/metrics.md` lists the series. What changes with time alone is brought up to
//! date when it is read ([`follow`]).

pub mod admission;
pub mod aggregation;
pub mod authentication;
pub mod impersonation;
pub mod store;
pub mod watches;

use std::sync::{Arc, LazyLock, OnceLock, Weak};
use std::time::Instant;

use component::metrics::{counter, gauge, histogram, int_gauge};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use machinery::catalogue::Resource;
use prometheus::{GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::api::Api;
use crate::fairness::Marks;
use crate::http_body::Response;
use crate::limits::is_long_running;
use crate::request::{Query, RequestInfo};

pub(crate) const LATENCY_BUCKETS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];
const SIZE_BUCKETS: [f64; 7] = [1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
const EVENT_BUCKETS: [f64; 8] = [1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 32768.0, 65536.0, 131_072.0];

static REQUESTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "apiserver_request_total",
        "Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.",
        &[
            "verb",
            "dry_run",
            "group",
            "version",
            "resource",
            "subresource",
            "scope",
            "component",
            "code",
            "system_client",
        ],
    )
});
static DURATIONS: LazyLock<HistogramVec> = LazyLock::new(|| {
    histogram(
        "apiserver_request_duration_seconds",
        "Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component.",
        &["verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component"],
        &LATENCY_BUCKETS,
    )
});
static SLI_DURATIONS: LazyLock<HistogramVec> = LazyLock::new(|| {
    histogram(
        "apiserver_request_sli_duration_seconds",
        "Response latency distribution (not counting webhook duration and priority & fairness queue wait times) in seconds.",
        &["verb", "group", "version", "resource", "subresource", "scope", "component"],
        &LATENCY_BUCKETS[2..],
    )
});
static SIZES: LazyLock<HistogramVec> = LazyLock::new(|| {
    histogram(
        "apiserver_response_sizes",
        "Response size distribution in bytes for each group, version, verb, resource, subresource, scope and component.",
        &["verb", "group", "version", "resource", "subresource", "scope", "component"],
        &SIZE_BUCKETS,
    )
});
static LONG_RUNNING: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    int_gauge(
        "apiserver_longrunning_requests",
        "Gauge of all active long-running apiserver requests.",
        &["verb", "group", "version", "resource", "subresource", "scope", "component"],
    )
});
static TERMINATIONS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "apiserver_request_terminations_total",
        "Number of requests which apiserver terminated in self-defense.",
        &["verb", "group", "version", "resource", "subresource", "scope", "component", "code"],
    )
});
static IN_FLIGHT: LazyLock<GaugeVec> = LazyLock::new(|| {
    gauge(
        "apiserver_current_inflight_requests",
        "Maximal number of requests that ran at once since this was last read, per request kind.",
        &["request_kind"],
    )
});
static WATCH_EVENTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let labels = ["group", "version", "resource"];
    counter("apiserver_watch_events_total", "Number of events sent in watch clients", &labels)
});
static WATCH_EVENT_SIZES: LazyLock<HistogramVec> = LazyLock::new(|| {
    let labels = ["group", "version", "resource"];
    histogram("apiserver_watch_events_sizes", "Watch event size distribution in bytes", &labels, &EVENT_BUCKETS)
});
static STORED_OBJECTS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    int_gauge(
        "apiserver_storage_objects",
        "Number of stored objects at the time of last check split by kind.",
        &["resource"],
    )
});
static RESOURCE_OBJECTS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let labels = ["group", "resource"];
    int_gauge(
        "apiserver_resource_objects",
        "Number of stored objects at the time of last check split by kind.",
        &labels,
    )
});

static DEPRECATED: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    int_gauge(
        "apiserver_requested_deprecated_apis",
        "Gauge of deprecated APIs that have been requested, broken out by API group, version, resource, subresource, and removed_release.",
        &["group", "version", "resource", "subresource", "removed_release"],
    )
});

const COMPONENT: &str = "apiserver";

/// Somebody still asks for what is deprecated.
pub fn deprecated_is_asked(info: &RequestInfo) {
    DEPRECATED.with_label_values(&[&info.group, &info.version, &info.resource, &info.subresource, ""]).set(1);
}

/// What is told of a request, taken before it is answered.
pub struct Observed {
    begun: Instant,
    info: RequestInfo,
    verb: &'static str,
    dry_run: &'static str,
    system_client: String,
    is_known: bool,
    marks: OnceLock<Arc<Marks>>,
}

impl Observed {
    pub fn of(method: &Method, headers: &HeaderMap, query: &Query, info: &RequestInfo, is_known: bool) -> Self {
        let agent = headers.get(http::header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let name = agent.split_once('/').map_or("", |(name, _)| name);
        let is_system = matches!(name, "kube-controller-manager" | "kube-scheduler");
        Self {
            begun: Instant::now(),
            verb: verb(method, headers, info),
            dry_run: match query.get("dryRun") {
                None => "",
                Some("All") => "All",
                Some(_) => "invalid",
            },
            system_client: if is_system { name.to_owned() } else { String::new() },
            info: info.clone(),
            is_known,
            marks: OnceLock::new(),
        }
    }

    /// How priority and fairness sorted the request.
    pub fn sorted(&self, marks: Arc<Marks>) {
        // A request is sorted once.
        let _ = self.marks.set(marks);
    }

    /// Tells the client how its request was sorted, whatever became of it.
    pub fn mark(&self, response: &mut Response) {
        let Some(marks) = self.marks.get() else { return };
        const SCHEMA: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
        const LEVEL: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");
        for (name, uid) in [(SCHEMA, &marks.schema_uid), (LEVEL, &marks.level_uid)] {
            if let Ok(uid) = HeaderValue::from_str(uid) {
                response.headers_mut().insert(name, uid);
            }
        }
    }

    /// Group, version, resource, subresource: empty for what is not known, or anybody could make series at will.
    fn target(&self) -> [&str; 4] {
        let info = &self.info;
        match (self.is_known, info.is_resource) {
            (false, _) => [""; 4],
            (true, true) => [&info.group, &info.version, &info.resource, &info.subresource],
            (true, false) => ["", "", "", &info.path],
        }
    }

    fn labels(&self) -> [&str; 7] {
        let [group, version, resource, subresource] = self.target();
        [self.verb, group, version, resource, subresource, scope(&self.info), COMPONENT]
    }

    /// The request is answered. A long-running one counts as running for as long as its body does.
    pub fn answered(&self, response: &Response) {
        let labels = self.labels();
        let code = response.status().as_str().to_owned();
        let [group, version, resource, subresource] = self.target();
        let (scope, dry_run) = (scope(&self.info), self.dry_run);
        REQUESTS
            .with_label_values(&[
                self.verb,
                dry_run,
                group,
                version,
                resource,
                subresource,
                scope,
                COMPONENT,
                &code,
                &self.system_client,
            ])
            .inc();
        let seconds = self.begun.elapsed().as_secs_f64();
        let all = [self.verb, dry_run, group, version, resource, subresource, scope, COMPONENT];
        DURATIONS.with_label_values(&all).observe(seconds);
        if dry_run.is_empty() {
            SLI_DURATIONS.with_label_values(&labels).observe(seconds);
        }
        if let ("GET" | "LIST", Some(whole)) = (self.verb, response.extensions().get::<crate::compress::Whole>()) {
            SIZES.with_label_values(&labels).observe(whole.0 as f64);
        }
    }

    /// The server gave the request up.
    pub fn terminated(&self, code: &str) {
        let [verb, group, version, resource, subresource, scope, component] = self.labels();
        TERMINATIONS.with_label_values(&[verb, group, version, resource, subresource, scope, component, code]).inc();
    }

    /// Counts a long-running request until the guard is dropped.
    pub fn running(&self) -> Option<Running> {
        is_long_running(&self.info).then(|| Running::begin(LONG_RUNNING.with_label_values(&self.labels())))
    }
}

/// A request that runs.
pub struct Running(IntGauge);

impl Running {
    fn begin(gauge: IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn verb(method: &Method, headers: &HeaderMap, info: &RequestInfo) -> &'static str {
    let connects = matches!(info.subresource.as_str(), "log" | "exec" | "portforward" | "attach" | "proxy");
    if info.is_resource && connects {
        return "CONNECT";
    }
    match *method {
        Method::GET | Method::HEAD => match info.verb.as_str() {
            "watch" => "WATCH",
            "list" => "LIST",
            _ => "GET",
        },
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => {
            let applies = headers.get(CONTENT_TYPE).is_some_and(|value| value == "application/apply-patch+yaml");
            if applies { "APPLY" } else { "PATCH" }
        }
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

fn scope(info: &RequestInfo) -> &'static str {
    match () {
        () if !info.is_resource => "",
        () if !info.name.is_empty() || info.verb == "create" => "resource",
        () if !info.namespace.is_empty() => "namespace",
        () => "cluster",
    }
}

/// The series of one watch's resource, looked up once.
pub struct WatchSeries {
    count: IntCounter,
    size: Histogram,
}

impl WatchSeries {
    pub fn of(row: &Resource) -> Self {
        let labels = [row.group.as_ref(), row.version.as_ref(), row.plural.as_ref()];
        Self { count: WATCH_EVENTS.with_label_values(&labels), size: WATCH_EVENT_SIZES.with_label_values(&labels) }
    }

    pub fn sent(&self, bytes: usize) {
        self.count.inc();
        self.size.observe(bytes as f64);
    }
}

/// Brings up to date, whenever metrics are read, what is only counted then; until the server is gone.
pub fn follow(api: &Arc<Api>) {
    let api: Weak<Api> = Arc::downgrade(api);
    component::metrics::before_scrape(move || {
        let Some(api) = api.upgrade() else { return false };
        let (reads, writes) = api.limits.take_peaks();
        IN_FLIGHT.with_label_values(&["readOnly"]).set(reads as f64);
        IN_FLIGHT.with_label_values(&["mutating"]).set(writes as f64);
        let stored = api.catalogue.rows().iter().filter(|served| served.row.storage.is_some());
        for served in stored.filter(|served| served.row.stored_as.is_none()) {
            let count = i64::try_from(api.cache.count(served.id)).unwrap_or(i64::MAX);
            STORED_OBJECTS.with_label_values(&[&served.row.group_resource().to_string()]).set(count);
            RESOURCE_OBJECTS.with_label_values(&[served.row.group.as_ref(), served.row.plural.as_ref()]).set(count);
        }
        true
    });
}
