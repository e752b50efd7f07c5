//! Asks extenders over HTTP, one after the other, and puts together what they say.

use std::collections::BTreeMap;

use component::client;
use k8s_openapi::api::core::v1 as api;
use kube::Client;
use kube::client::Body;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::wire::{
    Arguments, BindingArguments, BindingResult, FilterResult, HostPriority, MetaPod, PreemptionArguments,
    PreemptionResult, Victims, read, victims,
};
use super::{Extender, Room};
use crate::objects::Pod;
use crate::shell::Shared;

/// Extenders say 0 to 10, plugins 0 to 100.
const SCALE: i64 = 10;

/// The extenders of a scheduler, ready to be asked.
#[derive(Default)]
pub struct Extenders(Vec<(Extender, Client)>);

/// What became of the nodes that extenders were asked about.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Filtered {
    pub(crate) passed: Vec<Box<str>>,
    /// With the extender's reason, and whether other pods might make room.
    pub(crate) failed: Vec<(Box<str>, String, bool)>,
}

impl Extenders {
    /// Connects to none yet. Must be called on a runtime.
    pub fn new(extenders: Vec<Extender>) -> Result<Self, client::Error> {
        let connect = |extender: Extender| {
            let http = client::connect_to(&extender.endpoint, "kube-scheduler")?;
            Ok((extender, http))
        };
        extenders.into_iter().map(connect).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn need_nodes(&self) -> bool {
        self.0.iter().any(|(extender, _)| !extender.node_cache_capable)
    }

    fn interested<'a>(&'a self, pod: &'a Pod) -> impl Iterator<Item = (&'a Extender, Call<'a>)> {
        let concerned = self.0.iter().filter(|(extender, _)| extender.concern.is_interested(pod));
        concerned.map(|(extender, http)| (extender, Call { extender, http }))
    }

    /// Lets each extender strike out nodes that those before it left. The error is for people.
    pub(crate) async fn filter(&self, shared: &Shared, pod: &Pod, nodes: Vec<Box<str>>) -> Result<Filtered, String> {
        let mut filtered = Filtered { passed: nodes, failed: Vec::new() };
        let whole = whole(shared, pod).await?;
        for (extender, call) in self.interested(pod) {
            let Some(verb) = &extender.verbs.filter else { continue };
            let answer = call.filter(verb, shared, &whole, &filtered.passed).await;
            let Some(result) = unless_ignorable(extender, answer)? else { continue };
            let unresolvable = result.unresolvable.clone().unwrap_or_default();
            let failed = result.failed.clone().unwrap_or_default();
            let failed = failed.into_iter().filter(|(node, _)| !unresolvable.contains_key(node));
            filtered.failed.extend(failed.map(|(node, reason)| (node, reason, true)));
            filtered.passed = passed(extender, result, &filtered.passed)?;
            filtered.failed.extend(unresolvable.into_iter().map(|(node, reason)| (node, reason, false)));
            if filtered.passed.is_empty() {
                break;
            }
        }
        Ok(filtered)
    }

    /// Adds up what extenders think of nodes. One that fails has no opinion.
    pub(crate) async fn prioritize(&self, shared: &Shared, pod: &Pod, scores: &mut [(Box<str>, i64)]) {
        let nodes: Vec<Box<str>> = scores.iter().map(|(node, _)| node.clone()).collect();
        let Ok(whole) = whole(shared, pod).await else { return };
        for (extender, call) in self.interested(pod) {
            let Some(verb) = &extender.verbs.prioritize else { continue };
            let arguments = call.arguments(shared, &whole, &nodes);
            match call.send::<Vec<HostPriority>>(verb, &arguments).await {
                Ok(priorities) => {
                    for HostPriority { host, score } in priorities {
                        let of_host = scores.iter_mut().filter(|(node, _)| *node == host);
                        of_host.for_each(|(_, total)| *total += score * extender.weight * SCALE);
                    }
                }
                Err(why) => {
                    tracing::info!(extender = extender.endpoint.server, why, "an extender's priorities are left out")
                }
            }
        }
    }

    /// Lets extenders strike out nodes, or name other victims. The error is for people.
    pub(crate) async fn preempt(&self, shared: &Shared, pod: &Pod, mut rooms: Vec<Room>) -> Result<Vec<Room>, String> {
        let whole = whole(shared, pod).await?;
        for (extender, call) in self.interested(pod) {
            let Some(verb) = &extender.verbs.preempt else { continue };
            let answer = call.preempt(verb, shared, &whole, &rooms).await;
            let Some(answered) = unless_ignorable(extender, answer)? else { continue };
            let (with_victims, without): (Vec<_>, Vec<_>) =
                answered.into_iter().partition(|room| !room.victims.is_empty());
            if let Some(room) = without.first().filter(|_| !extender.ignorable) {
                return Err(format!("expected at least one victim pod on node {:?}", room.node));
            }
            rooms = with_victims;
            if rooms.is_empty() {
                break;
            }
        }
        Ok(rooms)
    }

    /// Has an extender bind the pod, if one does that for such pods: `None` says that none did.
    pub(crate) async fn bind(&self, pod: &Pod, node: &str) -> Option<Result<(), String>> {
        let (extender, call, verb) =
            self.interested(pod).find_map(|(extender, call)| Some((extender, call, extender.verbs.bind.as_ref()?)))?;
        let arguments =
            BindingArguments { pod_name: pod.name(), pod_namespace: pod.namespace(), pod_uid: pod.uid(), node };
        let answer = call.send::<BindingResult>(verb, &arguments).await;
        let bound = answer.and_then(|result| if result.error.is_empty() { Ok(()) } else { Err(result.error) });
        unless_ignorable(extender, bound).transpose()
    }
}

/// The pod as the API has it: extenders see all of it.
async fn whole(shared: &Shared, pod: &Pod) -> Result<Value, String> {
    let path = format!("/api/v1/namespaces/{}/pods/{}", pod.namespace(), pod.name());
    let request = http::Request::get(path).body(Vec::new()).map_err(|error| error.to_string())?;
    shared.context.client.request(request).await.map_err(|error| client::shown(&error))
}

/// `None` for a failure that does not count.
fn unless_ignorable<T>(extender: &Extender, answer: Result<T, String>) -> Result<Option<T>, String> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(why) if extender.ignorable => {
            tracing::warn!(
                extender = extender.endpoint.server,
                why,
                "skipping an extender that failed and is ignorable"
            );
            Ok(None)
        }
        Err(why) => Err(why),
    }
}

fn passed(extender: &Extender, result: FilterResult, asked: &[Box<str>]) -> Result<Vec<Box<str>>, String> {
    if let Some(names) = result.node_names.filter(|_| extender.node_cache_capable) {
        return match names.iter().find(|name| !asked.contains(name)) {
            None => Ok(names),
            Some(name) => Err(format!(
                "extender {:?} claims a filtered node {name:?} which is not found in the input node list",
                extender.endpoint.server
            )),
        };
    }
    let nodes = result.nodes.unwrap_or_default().items.into_iter().map(|node| node.metadata.name);
    Ok(nodes.filter(|name| asked.contains(name)).collect())
}

/// One extender, for one pod.
struct Call<'a> {
    extender: &'a Extender,
    http: &'a Client,
}

impl Call<'_> {
    async fn filter(
        &self,
        verb: &str,
        shared: &Shared,
        pod: &Value,
        nodes: &[Box<str>],
    ) -> Result<FilterResult, String> {
        let result: FilterResult = self.send(verb, &self.arguments(shared, pod, nodes)).await?;
        if result.error.is_empty() { Ok(result) } else { Err(result.error) }
    }

    fn arguments<'a>(&self, shared: &Shared, pod: &'a Value, nodes: &'a [Box<str>]) -> Arguments<'a> {
        if self.extender.node_cache_capable {
            return Arguments { pod, nodes: None, node_names: Some(nodes) };
        }
        let known = shared.context.informers.of::<api::Node>();
        let items: Vec<_> = nodes.iter().filter_map(|name| known.get("", name)).map(|node| json!(*node)).collect();
        let list = json!({"kind": "NodeList", "apiVersion": "v1", "metadata": {}, "items": items});
        Arguments { pod, nodes: Some(list), node_names: None }
    }

    async fn preempt(&self, verb: &str, shared: &Shared, pod: &Value, rooms: &[Room]) -> Result<Vec<Room>, String> {
        let mut arguments = PreemptionArguments { pod, node_name_to_victims: None, node_name_to_meta_victims: None };
        if self.extender.node_cache_capable {
            arguments.node_name_to_meta_victims = Some(rooms.iter().map(by_uid).collect());
        } else {
            let mut whole_victims = BTreeMap::new();
            for room in rooms {
                let mut pods = Vec::new();
                for uid in &room.victims {
                    let victim = shared.core().placed(uid).map(|(_, pod)| pod.clone());
                    if let Some(victim) = victim {
                        pods.push(whole(shared, &victim).await?);
                    }
                }
                whole_victims.insert(&*room.node, Victims { pods, violations: room.violations });
            }
            arguments.node_name_to_victims = Some(whole_victims);
        }
        let result: PreemptionResult = self.send(verb, &arguments).await?;
        let mut answered = Vec::new();
        for (node, value) in result.node_name_to_meta_victims.unwrap_or_default() {
            let Victims { pods, violations } = victims(&value)?;
            let uids: Vec<Box<str>> = pods.into_iter().map(|pod| pod.uid).collect();
            self.check_there(shared, &node, &uids)?;
            answered.push(Room { node, victims: uids, violations });
        }
        Ok(answered)
    }

    fn check_there(&self, shared: &Shared, node: &str, uids: &[Box<str>]) -> Result<(), String> {
        let core = shared.core();
        match uids.iter().find(|uid| core.placed(uid).is_none_or(|(on, _)| on != node)) {
            None => Ok(()),
            Some(uid) => Err(format!(
                "extender: {} claims to preempt pod (UID: {uid}) on node: {node}, but the pod is not found on that node",
                self.extender.endpoint.server
            )),
        }
    }

    async fn send<T: DeserializeOwned>(&self, verb: &str, arguments: &impl Serialize) -> Result<T, String> {
        let body = serde_json::to_vec(arguments).map_err(|error| error.to_string())?;
        let request = http::Request::post(format!("/{verb}")).header("content-type", "application/json");
        let request = request.body(Body::from(body)).map_err(|error| error.to_string())?;
        let url = format!("{}/{verb}", self.extender.endpoint.server.trim_end_matches('/'));
        let exchange = async {
            let answer = self.http.send(request).await.map_err(|error| client::shown(&error))?;
            let code = answer.status();
            if code != http::StatusCode::OK {
                return Err(format!("failed {verb} with extender at URL {url}, code {}", code.as_u16()));
            }
            let bytes = answer.into_body().collect_bytes().await.map_err(|error| client::shown(&error))?;
            read(&bytes)
        };
        match tokio::time::timeout(self.extender.timeout, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("Post \"{url}\": context deadline exceeded")),
        }
    }
}

fn by_uid(room: &Room) -> (&str, Victims<MetaPod>) {
    let pods = room.victims.iter().map(|uid| MetaPod { uid: uid.clone() }).collect();
    (&*room.node, Victims { pods, violations: room.violations })
}
