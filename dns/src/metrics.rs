//! skiff-dns's metrics, under CoreDNS's names: dashboards made for it work.

use std::sync::LazyLock;
use std::time::Duration;

use component::metrics::{counter, gauge, histogram};
use prometheus::{GaugeVec, HistogramVec, IntCounterVec};

const BUCKETS: [f64; 16] =
    [0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192];

static REQUESTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter("coredns_dns_requests_total", "Counter of DNS requests made per protocol and type.", &["proto", "type"])
});
static RESPONSES: LazyLock<IntCounterVec> =
    LazyLock::new(|| counter("coredns_dns_responses_total", "Counter of response status codes.", &["rcode"]));
static DURATION: LazyLock<HistogramVec> = LazyLock::new(|| {
    let name = "coredns_dns_request_duration_seconds";
    histogram(name, "Histogram of the time (in seconds) each request took.", &["proto"], &BUCKETS)
});
static FORWARDED: LazyLock<HistogramVec> = LazyLock::new(|| {
    let name = "coredns_proxy_request_duration_seconds";
    histogram(name, "Histogram of the time each request took.", &["proxy_name", "to", "rcode"], &BUCKETS)
});
static FAILURES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let name = "coredns_forward_healthcheck_broken_total";
    counter(name, "Counter of the number of complete failures of the resolvers.", &[])
});
static HITS: LazyLock<IntCounterVec> =
    LazyLock::new(|| counter("coredns_cache_hits_total", "The count of cache hits.", &["type"]));
static MISSES: LazyLock<IntCounterVec> =
    LazyLock::new(|| counter("coredns_cache_misses_total", "The count of cache misses.", &[]));
static LOOPS: LazyLock<GaugeVec> = LazyLock::new(|| {
    let name = "skiff_dns_forward_loops";
    gauge(name, "Resolvers that lead back to this server and are not asked.", &[])
});

/// A request's type as a label: types that clients make up must not make families grow.
fn type_label(kind: hickory_proto::rr::RecordType) -> &'static str {
    use hickory_proto::rr::RecordType::{A, AAAA, ANY, CNAME, DNSKEY, DS, HTTPS, MX, NS, PTR, SOA, SRV, TXT};
    match kind {
        A | AAAA | ANY | CNAME | DNSKEY | DS | HTTPS | MX | NS | PTR | SOA | SRV | TXT => kind.into(),
        _ => "other",
    }
}

pub(crate) fn request(transport: &str, kind: hickory_proto::rr::RecordType) {
    REQUESTS.with_label_values(&[transport, type_label(kind)]).inc();
}

pub(crate) fn response(transport: &str, code: hickory_proto::op::ResponseCode, took: Duration) {
    RESPONSES.with_label_values(&[code_label(code)]).inc();
    DURATION.with_label_values(&[transport]).observe(took.as_secs_f64());
}

pub(crate) fn forwarded(resolver: &str, code: hickory_proto::op::ResponseCode, took: Duration) {
    FORWARDED.with_label_values(&["forward", resolver, code_label(code)]).observe(took.as_secs_f64());
}

pub(crate) fn forwarding_failed() {
    FAILURES.with_label_values(&[] as &[&str]).inc();
}

pub(crate) fn cache_hit(is_denial: bool) {
    HITS.with_label_values(&[if is_denial { "denial" } else { "success" }]).inc();
}

pub(crate) fn cache_miss() {
    MISSES.with_label_values(&[] as &[&str]).inc();
}

pub(crate) fn loops(count: usize) {
    LOOPS.with_label_values(&[] as &[&str]).set(count as f64);
}

fn code_label(code: hickory_proto::op::ResponseCode) -> &'static str {
    use hickory_proto::op::ResponseCode::{FormErr, NXDomain, NoError, NotImp, Refused, ServFail};
    match code {
        NoError => "NOERROR",
        FormErr => "FORMERR",
        ServFail => "SERVFAIL",
        NXDomain => "NXDOMAIN",
        NotImp => "NOTIMP",
        Refused => "REFUSED",
        _ => "OTHER",
    }
}
