//! What is told of who comes: how many were let in, by which kind of name, and how soon their certificates end.

use std::sync::LazyLock;

use component::metrics::{counter, histogram};
use prometheus::{Histogram, IntCounter};

const HOUR: f64 = 3600.0;
const DAY: f64 = 24.0 * HOUR;
const LIFE_BUCKETS: [f64; 14] = [
    0.0,
    HOUR / 2.0,
    HOUR,
    2.0 * HOUR,
    6.0 * HOUR,
    12.0 * HOUR,
    DAY,
    2.0 * DAY,
    4.0 * DAY,
    7.0 * DAY,
    30.0 * DAY,
    90.0 * DAY,
    180.0 * DAY,
    360.0 * DAY,
];

/// How an attempt ended.
#[derive(Clone, Copy)]
pub enum Attempt {
    Success,
    /// There was nothing to know anybody by.
    Failure,
    /// What there was did not hold.
    Error,
}

static ATTEMPTS: LazyLock<[IntCounter; 3]> = LazyLock::new(|| {
    let family = counter("authentication_attempts", "Counter of authenticated attempts.", &["result"]);
    ["success", "failure", "error"].map(|result| family.with_label_values(&[result]))
});

/// Names that stand for themselves; all others are told by their kind, for names are many and nobody else's business.
const NAMES: [&str; 5] = ["admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default"];
const KINDS: [&str; 2] = ["email_id", "other"];

static USERS: LazyLock<Vec<IntCounter>> = LazyLock::new(|| {
    let help = "Counter of authenticated requests broken out by username.";
    let family = counter("authenticated_user_requests", help, &["username"]);
    NAMES.iter().chain(&KINDS).map(|name| family.with_label_values(&[name])).collect()
});

static LIVES: LazyLock<Histogram> = LazyLock::new(|| {
    let help = "Distribution of the remaining lifetime on the certificate used to authenticate a request.";
    let family = histogram("apiserver_client_certificate_expiration_seconds", help, &[], &LIFE_BUCKETS);
    family.with_label_values(&[] as &[&str])
});

pub fn attempted(attempt: Attempt) {
    ATTEMPTS[attempt as usize].inc();
}

/// Who was let in.
pub fn came(name: &str) {
    attempted(Attempt::Success);
    let position = NAMES.iter().position(|known| *known == name);
    let position = position.unwrap_or(NAMES.len() + usize::from(!name.contains('@')));
    USERS[position].inc();
}

/// A client showed a certificate that has so many seconds left.
pub fn certificate_shown(seconds_left: i64) {
    LIVES.observe(seconds_left as f64);
}
