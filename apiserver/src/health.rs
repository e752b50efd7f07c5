//! What the health endpoints of this server look at: the store, the log, the caches, what is made at the start, and
//! whether the end has begun. Upstream's names, for probes leave checks out by name.
//!
//! Enter at [`Health::endpoints`]; [`Health::look`] goes before each answer, for a check itself waits for nothing.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use component::clock::Clock;
use component::flags::Values;
use component::serve::{Endpoints, Gate, Outcome};
use component::shutdown::Shutdown;
use jiff::Timestamp;

use crate::api::Api;
use crate::store::Store;

/// What upstream's server does after its start and is done here before the server is ready.
const HOOKS: [&str; 13] = [
    "priority-and-fairness-config-consumer",
    "start-system-namespaces-controller",
    "start-cluster-authentication-info-controller",
    "rbac/bootstrap-roles",
    "scheduling/bootstrap-system-priority-classes",
    "priority-and-fairness-config-producer",
    "bootstrap-controller",
    "start-service-ip-repair-controllers",
    "start-kube-apiserver-identity-lease-controller",
    "start-kube-apiserver-identity-lease-garbage-collector",
    "start-kubernetes-service-cidr-controller",
    "apiservice-registration-controller",
    "kube-apiserver-autoregistration",
];
/// Probes are everybody's: the store is not asked more often for them.
const FRESH: Duration = Duration::from_millis(500);
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// After how long a log that does not move counts as blocked, in seconds.
const LOG_LATE_SECONDS: i64 = 120;

/// The state that the checks read.
pub struct Health {
    clock: Clock,
    started: Timestamp,
    /// How long a start may take before `/livez` minds.
    livez_grace: Duration,
    store_timeout: Duration,
    store: Mutex<Outcome>,
    /// When the store was last asked; held while it is.
    asked: tokio::sync::Mutex<Option<Timestamp>>,
    /// When the log last took what was written, in seconds.
    log_moved: AtomicI64,
    bootstrapped: AtomicBool,
}

impl Health {
    pub fn new(values: &Values, clock: Clock) -> Self {
        let now = clock.now();
        Self {
            clock,
            started: now,
            livez_grace: values.duration("livez-grace-period"),
            store_timeout: values.duration("etcd-healthcheck-timeout").max(values.duration("etcd-readycheck-timeout")),
            store: Mutex::new(Ok(())),
            asked: tokio::sync::Mutex::new(None),
            log_moved: AtomicI64::new(now.as_second()),
            bootstrapped: AtomicBool::new(false),
        }
    }

    /// The endpoints with all checks. `ending` is the word that the process is to end, which it may do later.
    pub fn endpoints(self: &Arc<Self>, api: &Api, ending: Shutdown) -> Endpoints {
        let endpoints = Endpoints::new(Gate::Open);
        let health = self.clone();
        endpoints.check("log", move || health.log());
        let health = self.clone();
        endpoints.check("etcd", move || health.store());
        let health = self.clone();
        endpoints.readyz.add("etcd-readiness", move || health.store());
        let cache = api.cache.clone();
        let loaded = move || if cache.is_ready() { Ok(()) } else { Err("the watch cache is still loading".to_owned()) };
        endpoints.readyz.add("informer-sync", loaded.clone());
        self.at_start(&endpoints, "generic-apiserver-start-informers", loaded);
        for hook in HOOKS {
            let health = self.clone();
            self.at_start(&endpoints, hook, move || match health.bootstrapped.load(Ordering::Acquire) {
                true => Ok(()),
                false => Err("the cluster's own objects are still being made".to_owned()),
            });
        }
        endpoints.readyz.add("shutdown", move || match ending.is_triggered() {
            true => Err("process is shutting down".to_owned()),
            false => Ok(()),
        });
        endpoints
    }

    /// A check of something that is done once; `/livez` lets it take its time.
    fn at_start(
        self: &Arc<Self>,
        endpoints: &Endpoints,
        hook: &str,
        check: impl Fn() -> Outcome + Clone + Send + Sync + 'static,
    ) {
        let name = format!("poststarthook/{hook}");
        endpoints.healthz.add(name.clone(), check.clone());
        endpoints.readyz.add(name.clone(), check.clone());
        let health = self.clone();
        endpoints.livez.add(name, move || if health.is_in_grace() { Ok(()) } else { check() });
    }

    fn is_in_grace(&self) -> bool {
        self.clock.since(self.started) < self.livez_grace
    }

    /// All that a new cluster has is made.
    pub fn bootstrapped(&self) {
        self.bootstrapped.store(true, Ordering::Release);
    }

    fn store(&self) -> Outcome {
        self.store.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks the store whether it answers, unless somebody just did.
    pub async fn look(&self, store: &dyn Store) {
        let mut asked = self.asked.lock().await;
        if asked.is_some_and(|asked| self.clock.since(asked) < FRESH) {
            return;
        }
        let outcome = match tokio::time::timeout(self.store_timeout, store.revision()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("error getting data from the store: it did not answer in time".to_owned()),
        };
        *self.store.lock().unwrap_or_else(PoisonError::into_inner) = outcome;
        *asked = Some(self.clock.now());
    }

    fn log(&self) -> Outcome {
        let late = self.clock.now().as_second() - self.log_moved.load(Ordering::Acquire) >= LOG_LATE_SECONDS;
        if late { Err("logging blocked".to_owned()) } else { Ok(()) }
    }

    /// Sees until shutdown that the log moves: who reads it may have stopped to, and then whoever writes stands still.
    pub async fn follow_log(self: Arc<Self>, shutdown: Shutdown) {
        let follow = async {
            loop {
                let flushed = crate::blocking::run(|| std::io::stderr().flush()).await;
                if matches!(flushed, Ok(Ok(()))) {
                    self.log_moved.store(self.clock.now().as_second(), Ordering::Release);
                }
                tokio::time::sleep(LOG_INTERVAL).await;
            }
        };
        let _ = shutdown.run_until(follow).await;
    }
}
