//! Sets right what is written of Services' addresses and node ports where it does not agree with the Services: IPAddress
//! objects that people deleted or changed, and what came out of a backup.
//!
//! Enter at [`keep`]. What is wrong is told in events of upstream's words (`ipallocator-repair-controller`,
//! `portallocator-repair-controller`). [`addresses`] and [`ports`] judge, pure; here it is written. Nothing is looked at for
//! each write of a Service: that one is right by itself (`super`).

mod addresses;
mod ports;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use machinery::meta;
use machinery::status::Status;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use self::addresses::{Act, Finding};
use crate::api::Api;
use crate::bootstrap::own_call;
use crate::cache::{EventKind, WatchEnd, WatchFrom, Watcher};
use crate::catalogue::Served;
use crate::errors;
use crate::rest::create::create_object;
use crate::rest::current::Current;
use crate::rest::params::WriteOptions;
use crate::store::{Commit, CommitError, Condition, Revision, Write};

const GROUP: &str = "networking.k8s.io";

/// Everything is looked at once in so long.
const PERIOD: Duration = Duration::from_secs(180);
/// Where that failed.
const RETRY: Duration = Duration::from_secs(10);
/// Between two looks, however many IPAddresses are touched.
const REST: Duration = Duration::from_secs(1);
/// How often another writer may be faster.
const ATTEMPTS_MAX: usize = 8;

/// What is remembered between two looks.
#[derive(Default)]
pub struct Repair {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Ports in the bitmap that no Service has, with the looks that they are still kept for.
    leaks: BTreeMap<u16, u32>,
    /// When the ports were looked at last.
    ports_looked: Option<Timestamp>,
    /// What was found and is still wrong, so that it is not told at each look.
    found: BTreeSet<Mark>,
    untold: Vec<Note>,
    /// How soon something wants to be looked at again.
    soon: Duration,
}

/// Who tells what of the object with which UID.
type Mark = (&'static str, String, String);

/// An event about an object.
struct Note {
    about: Value,
    controller: &'static str,
    reason: &'static str,
    action: &'static str,
    text: String,
}

impl Note {
    fn mark(&self) -> Mark {
        (self.controller, meta::uid(&self.about).to_owned(), self.text.clone())
    }
}

/// Services and IPAddresses as they are now, with their revisions.
struct World {
    services: BTreeMap<(String, String), Current>,
    addresses: BTreeMap<String, Current>,
}

impl Repair {
    /// Looks at everything once, and mends it. Returns how soon it wants to be done again.
    ///
    /// At ports only once in [`PERIOD`]: how long one that nobody has is kept is counted in looks.
    pub async fn once(&self, api: &Api) -> Result<Duration, Status> {
        let mut state = self.state.lock().await;
        let with_ports = state.ports_looked.is_none_or(|looked| api.clock.since(looked) >= PERIOD);
        let (mut soon, mut notes) = (PERIOD, Vec::new());
        for attempt in 0..ATTEMPTS_MAX {
            // The bitmap first: who takes a port after that changes it, and what is written here does not hold.
            let stored = stored_ports(api).await?;
            let world = world(api).await?;
            if attempt == 0 {
                (soon, notes) = mend_addresses(api, &world).await?;
            }
            if !with_ports {
                break;
            }
            if let Some(looked) = mend_ports(api, &stored, &world, &state.leaks).await? {
                state.leaks = looked.leaks;
                state.ports_looked = Some(api.clock.now());
                notes.extend(looked.notes);
                break;
            }
        }
        let mut found: BTreeSet<Mark> = notes.iter().map(Note::mark).collect();
        if !with_ports {
            found.extend(state.found.iter().filter(|(controller, ..)| *controller == ports::CONTROLLER).cloned());
        }
        let before = std::mem::replace(&mut state.found, found);
        state.untold.extend(notes.into_iter().filter(|note| !before.contains(&note.mark())));
        let ports_due = state.ports_looked.map(|looked| PERIOD.saturating_sub(api.clock.since(looked)));
        state.soon = soon.min(ports_due.unwrap_or(PERIOD));
        Ok(state.soon)
    }

    /// Writes the events of what was found.
    async fn tell(&self, api: &Api) {
        let untold = std::mem::take(&mut self.state.lock().await.untold);
        for note in &untold {
            tell(api, note).await;
        }
    }
}

/// Keeps looking, until shutdown: now and then, and when somebody deletes or changes an IPAddress.
pub async fn keep(api: &Api, repair: &Repair) {
    let Some(served) = api.catalogue.find(GROUP, "v1", "ipaddresses") else { return };
    let watch = || api.cache.watch(served.id, &api.catalogue.prefix(served, ""), WatchFrom::Now);
    let mut watcher = watch();
    // What was touched since the server made its own objects.
    let mut wait = repair.state.lock().await.soon;
    loop {
        let rested = tokio::time::sleep(REST);
        if api.shutdown.run_until(repair.tell(api)).await.is_none() {
            return;
        }
        match api.shutdown.run_until(tokio::time::timeout(wait, address_touched(api, &mut watcher))).await {
            None => return,
            Some(Ok(Err(_))) if api.shutdown.is_triggered() || !api.is_loaded().await => return,
            Some(Ok(Err(_))) => watcher = watch(),
            Some(_) => {}
        }
        // What is written here is conditional, so that it may be broken off anywhere.
        let looked = async {
            rested.await;
            repair.once(api).await
        };
        let Some(looked) = api.shutdown.run_until(looked).await else { return };
        wait = looked.unwrap_or_else(|status| {
            tracing::error!(%status, "what is written of Services' addresses and ports cannot be checked");
            RETRY
        });
    }
}

/// Returns when an IPAddress of the allocator's was changed, or one that its Service holds was changed or is gone.
async fn address_touched(api: &Api, watcher: &mut Watcher) -> Result<(), WatchEnd> {
    loop {
        let event = watcher.next().await?;
        let Ok(Current { object, .. }) = Current::from_item(&event.item) else { continue };
        let (namespace, name) =
            (meta::text(&object, "spec.parentRef.namespace"), meta::text(&object, "spec.parentRef.name"));
        let is_held = || {
            let service = api.peek_named("", "services", namespace, name);
            let address = meta::name(&object).parse();
            service.is_some_and(|service| address.is_ok_and(|address| super::holds(&service, &address)))
        };
        let is_needed = match event.kind {
            EventKind::Added => false,
            EventKind::Modified => addresses::is_managed(&object) || is_held(),
            // With its Service it goes rightly.
            EventKind::Deleted => is_held(),
        };
        if is_needed {
            return Ok(());
        }
    }
}

fn served<'a>(api: &'a Api, group: &str, plural: &str) -> Result<&'a std::sync::Arc<Served>, Status> {
    let found = api.catalogue.find(group, "v1", plural);
    found.ok_or_else(|| Status::internal_error(format!("{plural} are not served")))
}

async fn world(api: &Api) -> Result<World, Status> {
    api.consistent().await?;
    let all = |group: &str, plural: &str| -> Result<Vec<Current>, Status> {
        let served = served(api, group, plural)?;
        let snapshot = api.cache.list(served.id, &api.catalogue.prefix(served, ""));
        snapshot.iter().map(|item| Current::from_item(item)).collect()
    };
    let key = |service: &Value| (meta::namespace(service).to_owned(), meta::name(service).to_owned());
    let services = all("", "services")?.into_iter().map(|service| (key(&service.object), service)).collect();
    let addresses = all(GROUP, "ipaddresses")?.into_iter();
    let addresses = addresses.map(|address| (meta::name(&address.object).to_owned(), address)).collect();
    Ok(World { services, addresses })
}

async fn mend_addresses(api: &Api, world: &World) -> Result<(Duration, Vec<Note>), Status> {
    let ranges = api.services.configured(api);
    let in_range = |address: &std::net::IpAddr| ranges.iter().any(|range| range.contains(address));
    let mut findings = Vec::new();
    for service in world.services.values() {
        findings.extend(addresses::of_service(&service.object, world, &in_range));
    }
    // Judging it as what it was would take it away.
    let replaced: BTreeSet<&str> = findings.iter().filter_map(Finding::makes).collect();
    let (mut soon, mut strays) = (PERIOD, Vec::new());
    for (name, address) in &world.addresses {
        if replaced.contains(name.as_str()) {
            continue;
        }
        match addresses::of_address(&address.object, world, api.clock.now()) {
            addresses::Judged::Right => {}
            addresses::Judged::Later(wait) => soon = soon.min(wait),
            addresses::Judged::Wrong(finding) => strays.push(finding),
        }
    }
    let mut notes = Vec::new();
    for Finding { note, act } in findings.into_iter().chain(strays) {
        if let Some(act) = act {
            write(api, world, act).await?;
        }
        notes.extend(note);
    }
    Ok((soon, notes))
}

/// Writes, if all that it rests on is still so; else the next look finds what is then.
async fn write(api: &Api, world: &World, act: Act) -> Result<(), Status> {
    let of = served(api, GROUP, "ipaddresses")?;
    let (name, service) = match act {
        Act::Make { address, service } => (address, Some(service)),
        Act::Remove { address } => (address, None),
    };
    let key = api.catalogue.key(of, "", &name);
    let mut commit = Commit::default();
    commit.conditions.push(match world.addresses.get(&name) {
        Some(there) => Condition::Modified { key: key.clone(), revision: there.revision },
        None => Condition::Absent { key: key.clone() },
    });
    match service.and_then(|service| world.services.get(&service)) {
        Some(service) => {
            let Ok(address) = name.parse() else { return Ok(()) };
            let (namespace, of_service) = (meta::namespace(&service.object), served(api, "", "services")?);
            let service_key = api.catalogue.key(of_service, namespace, meta::name(&service.object));
            commit.conditions.push(Condition::Modified { key: service_key, revision: service.revision });
            let object = super::addresses::object(&service.object, &address, &api.new_uid(), &api.now_text());
            commit.writes.push(Write::Put { key, value: api.encode_stored(&object)?, ttl: None });
        }
        None => commit.writes.push(Write::Delete { key }),
    }
    match api.store.commit(commit).await {
        Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
        Err(error) => Err(errors::commit(&error, of.group_resource(), &name)),
    }
}

/// What is stored of the node ports in use.
struct Stored {
    object: Option<Value>,
    revision: Revision,
}

async fn stored_ports(api: &Api) -> Result<Stored, Status> {
    let (entry, _) = api.store.get(&super::ports::key(api), None).await.map_err(|error| errors::store(&error))?;
    // One that cannot be read is written anew from what Services have.
    let object = entry.as_ref().map(|entry| {
        crate::stored::decode(&entry.value).unwrap_or_else(|error| {
            tracing::error!(error, "the node ports in use cannot be read");
            json!({})
        })
    });
    Ok(Stored { object, revision: entry.map_or(Revision(0), |entry| entry.modified) })
}

/// `None` when another writer was faster.
async fn mend_ports(
    api: &Api,
    stored: &Stored,
    world: &World,
    leaks: &BTreeMap<u16, u32>,
) -> Result<Option<ports::Looked>, Status> {
    let services: Vec<&Value> = world.services.values().map(|service| &service.object).collect();
    let looked = ports::look(&api.services.ports, stored.object.as_ref(), &services, leaks);
    let is_same = |object: &Value| ["data", "range"].iter().all(|field| object[field] == looked.object[field]);
    if stored.object.as_ref().is_some_and(is_same) {
        return Ok(Some(looked));
    }
    let key = super::ports::key(api);
    let condition = match stored.object {
        Some(_) => Condition::Modified { key: key.clone(), revision: stored.revision },
        None => Condition::Absent { key: key.clone() },
    };
    let writes = vec![Write::Put { key, value: api.encode_stored(&looked.object)?, ttl: None }];
    match api.store.commit(Commit { conditions: vec![condition], writes }).await {
        Ok(_) => Ok(Some(looked)),
        Err(CommitError::Conflict { .. }) => Ok(None),
        Err(CommitError::Store(error)) => Err(errors::store(&error)),
    }
}

/// Writes an event. That it is told is not worth failing for.
async fn tell(api: &Api, note: &Note) {
    tracing::error!(reason = note.reason, "{}", note.text);
    let about = &note.about;
    let namespace = if meta::namespace(about).is_empty() { "default" } else { meta::namespace(about) };
    let now = api.clock.now();
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": {"name": format!("{}.{:x}", meta::name(about), now.as_nanosecond()), "namespace": namespace},
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
        "reportingController": note.controller, "reportingInstance": format!("{}-{}", note.controller, hostname()),
        "action": note.action, "reason": note.reason, "type": "Warning", "note": note.text,
        "regarding": {
            "apiVersion": about["apiVersion"], "kind": about["kind"], "name": meta::name(about),
            "namespace": about["metadata"]["namespace"], "uid": meta::uid(about),
            "resourceVersion": meta::resource_version(about),
        },
    });
    let made = async {
        let call = own_call(served(api, "events.k8s.io", "events")?, "create", namespace, "");
        create_object(api, &call, event, &WriteOptions::default()).await.map(drop)
    };
    if let Err(status) = made.await {
        tracing::warn!(%status, reason = note.reason, "an event cannot be written");
    }
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
