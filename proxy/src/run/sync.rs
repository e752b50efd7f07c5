//! The loop: waits for changes, lets them gather for a moment, and writes what they mean.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use component::context::Context;
use tokio::time::{Instant, sleep_until};

use super::pace::Pace;
use super::tally::{Numbers, Tally};
use super::{BY_SERVICE, Sources};
use crate::conntrack::{self, Frontends};
use crate::health::Health;
use crate::iptables::Settings;
use crate::iptables::tool::Tool;
use crate::metrics;
use crate::mode::{Mode, Ports, Rules};
use crate::model::{Family, NodeView, ServicePort, endpoints, service_ports};
use crate::options::Options;
use crate::pending::{Changes, Triggers};
use crate::service_health::{ServiceHealth, Watch};
use crate::syncer::Outcome;
use crate::sysctl::Sysctl;
use crate::view::{Fixed, Host};

/// With more endpoints than this, rules go without the comments that only people read.
const BRIEF_ABOVE_ENDPOINTS: usize = 1000;

/// So often all rules of mode iptables are written, whatever a look says: it reads none where they are many, and only
/// counts them where the tool's words are not known.
const WHOLE_WRITE_PERIOD: Duration = Duration::from_secs(3600);

/// One family's part of the loop.
struct FamilyLoop {
    family: Family,
    fixed: Fixed,
    rules: Rules,
    /// To know when rules should be brief.
    tally: Tally,
    is_brief: bool,
    /// Of endpoints whose rules are not written yet.
    triggers: Triggers,
    has_failed: bool,
    written_whole: Instant,
    service_health: ServiceHealth,
}

pub(super) struct Loop {
    options: Options,
    sources: Sources,
    families: Vec<FamilyLoop>,
    host: Host,
    health: Health,
    sysctl: Sysctl,
    context: Context,
    /// Word of this host's addresses, where it matters which ones there are.
    addresses: Option<Watch>,
}

impl Loop {
    pub(super) async fn new(
        options: Options,
        families: Vec<Family>,
        sources: Sources,
        health: Health,
        sysctl: Sysctl,
        context: Context,
    ) -> Loop {
        let host = Host::of(None, &options);
        let mut loops = Vec::new();
        for family in families {
            let (name, recorder, shutdown) = (&options.node_name, context.recorder.clone(), context.shutdown.clone());
            let fixed =
                Fixed { random_fully: Tool(family).has_random_fully().await, tcp_be_liberal: sysctl.is_tcp_liberal() };
            loops.push(FamilyLoop {
                family,
                fixed,
                rules: Rules::new(options.mode, host.settings(&options, family, fixed)),
                tally: Tally::default(),
                is_brief: false,
                triggers: Triggers::default(),
                has_failed: false,
                written_whole: Instant::now(),
                service_health: ServiceHealth::new(family, name, health.clone(), recorder, shutdown),
            });
        }
        let addresses = (!options.node_port_addresses.is_empty()).then(Watch::new).and_then(|watch| {
            watch.inspect_err(|error| tracing::warn!(%error, "this host's addresses are not watched")).ok()
        });
        Loop { options, sources, families: loops, host, health, sysctl, context, addresses }
    }

    /// Until shutdown. The first write waits for the first lists.
    pub(super) async fn run(mut self) {
        let shutdown = self.context.shutdown.clone();
        if shutdown.run_until(self.sources.synced()).await.is_none() {
            return;
        }
        let mut next_check = Instant::now() + self.options.sync_period;
        let mut pace = Pace::new(self.options.min_sync_period, Instant::now());
        self.sync(true).await;
        loop {
            let is_check = tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.sources.pending.changed() => false,
                () = sleep_until(next_check) => true,
                () = changed(self.addresses.as_ref()) => {
                    self.families.iter_mut().for_each(|family| family.service_health.look_at_addresses());
                    continue;
                }
            };
            if is_check {
                next_check = Instant::now() + self.options.sync_period;
                self.check().await;
            }
            if shutdown.run_until(sleep_until(pace.earliest())).await.is_none() {
                return;
            }
            let start = Instant::now();
            self.sync(false).await;
            pace.wrote(start, Instant::now());
        }
    }

    async fn check(&mut self) {
        self.sysctl.call_iptables_for_bridges();
        for family in &mut self.families {
            // As upstream: not where it would take long. Mode nftables would forget which clients stick to which endpoints,
            // and sees from the kernel's counts what is missing.
            let may_write_whole = family.rules.mode() == Mode::Iptables && !family.is_brief;
            if may_write_whole && family.written_whole.elapsed() >= WHOLE_WRITE_PERIOD {
                family.rules.set_dirty();
            } else {
                family.rules.check().await;
            }
        }
    }

    /// Writes what changed; `everything` also when nothing did.
    async fn sync(&mut self, everything: bool) {
        let mut changes = self.sources.pending.take();
        let mut is_whole = everything;
        if changes.node || everything {
            let node = self.sources.node.get("", &self.options.node_name);
            self.health.set_node_eligible(node.as_deref().is_some_and(is_eligible));
            let host = Host::of(node.as_deref(), &self.options);
            is_whole |= host != self.host;
            self.host = host;
        }
        if changes.is_empty() && !is_whole && !self.families.iter().any(|family| family.needs_sync()) {
            return;
        }
        for family in &mut self.families {
            let settings = self.host.settings(&self.options, family.family, family.fixed);
            family.sync(settings, &self.sources, &self.host, &mut changes, is_whole, &self.health, &self.context).await;
        }
    }
}

impl FamilyLoop {
    fn needs_sync(&self) -> bool {
        self.has_failed || self.rules.is_dirty()
    }

    #[expect(clippy::too_many_arguments, reason = "one call site; the loop's parts are borrowed one by one")]
    async fn sync(
        &mut self,
        settings: Settings,
        sources: &Sources,
        host: &Host,
        changes: &mut Changes,
        is_whole: bool,
        health: &Health,
        context: &Context,
    ) {
        let (now, start) = (seconds(context), Instant::now());
        self.triggers.append(changes.triggers.remove(&self.family).unwrap_or_default());
        metrics::queued(self.family, now);
        health.queued(self.family);
        let mut keys = changes.services.clone();
        // What a failed write did not get to is handled again as a whole.
        if is_whole || self.has_failed {
            keys.extend(self.all_services(sources));
        }
        let node_ports = settings.node_ports.clone();
        self.rules.set_settings(settings);
        let mut ports: BTreeMap<String, Ports> =
            keys.iter().map(|key| (key.clone(), self.ports(sources, host, key))).collect();
        if self.count(&ports, &host.view) {
            let rest: Vec<String> =
                self.all_services(sources).into_iter().filter(|key| !ports.contains_key(key)).collect();
            ports
                .extend(rest.into_iter().map(|key| (key.clone(), self.ports(sources, host, &key))).collect::<Vec<_>>());
        }
        let has_udp = ports.values().flatten().any(|(port, _)| port.protocol == "udp");
        match self.rules.sync(&ports, &host.view, self.is_brief).await {
            Ok(outcome) => {
                self.has_failed = false;
                if outcome == Outcome::Full {
                    self.written_whole = Instant::now();
                }
                health.updated(self.family);
                metrics::synced(self.family, outcome, start.elapsed(), seconds(context));
                self.tell_metrics(context);
                tracing::debug!(family = self.family.name(), ?outcome, elapsed = ?start.elapsed(), services = keys.len(), "rules are written");
            }
            Err(error) => {
                self.has_failed = true;
                self.triggers.keep_earliest(|service| ports.get(service).is_none_or(|ports| !ports.is_empty()));
                metrics::failed(self.rules.mode(), self.family);
                tracing::error!(%error, family = self.family.name(), "writing rules failed; trying again");
            }
        }
        self.service_health.set(&ports, &node_ports);
        if has_udp && !self.has_failed {
            self.clean_flows(&ports).await;
        }
    }

    fn all_services(&self, sources: &Sources) -> BTreeSet<String> {
        let known = sources.services.list();
        known.iter().map(|service| super::key_of(service)).chain(self.rules.services()).collect()
    }

    fn ports(&self, sources: &Sources, host: &Host, key: &str) -> Ports {
        let (namespace, name) = key.split_once('/').unwrap_or(("", key));
        let Some(service) = sources.services.get(namespace, name) else { return Vec::new() };
        let ports = service_ports(&service, self.family);
        if ports.is_empty() {
            return Vec::new();
        }
        let slices = sources.slices.by_index(BY_SERVICE, key);
        let with_endpoints = |port: ServicePort| {
            let endpoints = endpoints(&slices, &port, self.family, &host.view);
            (port, endpoints)
        };
        ports.into_iter().map(with_endpoints).collect()
    }

    /// True when rules must become brief, or may be long again.
    fn count(&mut self, ports: &BTreeMap<String, Ports>, node: &NodeView) -> bool {
        ports.iter().for_each(|(key, ports)| self.tally.set(key, Numbers::of(ports, node)));
        let is_brief = self.tally.sum.endpoints > BRIEF_ABOVE_ENDPOINTS;
        std::mem::replace(&mut self.is_brief, is_brief) != is_brief
    }

    fn tell_metrics(&mut self, context: &Context) {
        if self.rules.mode() == Mode::Iptables {
            metrics::rules(self.family, self.rules.counts());
        }
        let sum = self.tally.sum;
        metrics::without_local_endpoints(self.family, sum.without_local_internal, sum.without_local_external);
        for trigger in self.triggers.take() {
            metrics::network_programmed(self.family, context.clock.since(trigger));
        }
    }

    async fn clean_flows(&self, ports: &BTreeMap<String, Ports>) {
        let mut frontends = Frontends::default();
        ports.values().flatten().for_each(|(port, endpoints)| frontends.add(port, endpoints));
        if !frontends.is_empty() {
            conntrack::clean(self.family, frontends).await;
        }
    }
}

async fn changed(addresses: Option<&Watch>) {
    match addresses {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// A node that the autoscaler is about to delete, or that is being deleted, should get no new connections.
fn is_eligible(node: &k8s_openapi::api::core::v1::Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref()).into_iter().flatten();
    node.metadata.deletion_timestamp.is_none()
        && !taints.into_iter().any(|taint| taint.key == "ToBeDeletedByClusterAutoscaler")
}

fn seconds(context: &Context) -> f64 {
    context.clock.now().as_millisecond() as f64 / 1000.0
}
