//! `/eviction`: a delete that asks the disruption budgets first (Kubernetes concept: "API-initiated Eviction").
//!
//! What the budgets answer is in [`super::disruption`].

use machinery::field::{Error, Path};
use machinery::gvk::Gvk;
use machinery::meta;
use machinery::schema;
use machinery::status::Status;
use serde_json::{Value, json};

use super::call_of;
use super::disruption::{covers, is_free, judge, needs_budget, spend, unsettled};
use crate::admission::{Operation, Request};
use crate::api::Api;
use crate::errors::MODIFIED;
use crate::http_body::Response;
use crate::request::Query;
use crate::rest::body::{self, Decoded};
use crate::rest::current::Current;
use crate::rest::delete::delete_object;
use crate::rest::params::{DeleteOptions, WriteOptions};
use crate::rest::update::{Part, change};
use crate::rest::{Call, owners, system};

/// How often a pod that moves on while it is judged is judged anew.
const ATTEMPTS_MAX: usize = 20;

const AMBIGUOUS: &str =
    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";

pub async fn create(api: &Api, call: &Call) -> Result<Response, Status> {
    let accept = call.accept()?;
    let delete = admitted(api, call).await?;
    let mut last = Status::conflict(call.served.group_resource(), call.name(), MODIFIED);
    for _ in 0..ATTEMPTS_MAX {
        let found = api.read(&call.served, &call.info.namespace, call.name()).await?;
        let pod = found.ok_or_else(|| call.not_found())?;
        match attempt(api, call, &pod.object, &delete).await? {
            Attempt::Evicted => {
                let success =
                    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
                return call.status(accept, 201, &success);
            }
            // Upstream's answer bears no reason.
            Attempt::Ambiguous => {
                let failure = json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "message": AMBIGUOUS, "code": 500,
                });
                return call.status(accept, 500, &failure);
            }
            Attempt::Moved(conflict) => last = conflict,
        }
    }
    Err(last)
}

/// What the eviction asks for, as a deletion. It is admitted before a budget is spent on it.
async fn admitted(api: &Api, call: &Call) -> Result<DeleteOptions, Status> {
    let (mut eviction, options) = decode(call)?;
    let request = Request::new(api, call, Operation::Create, options.dry_run, None);
    api.admission.mutate(&request, &mut eviction).await?;
    let delete = deletion(call, &eviction, &options)?;
    api.admission.validate(&request, &eviction).await?;
    Ok(delete)
}

fn decode(call: &Call) -> Result<(Value, WriteOptions), Status> {
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let mut kind = Gvk::new("policy", "v1", "Eviction");
    let schema = schema::builtin(&kind).ok_or_else(|| Status::internal_error("no schema for Eviction"))?;
    // What clients before 1.22 send is taken still, though the version is served no more.
    if body::api_version(&call.body, &call.headers)? == "policy/v1beta1" {
        kind.version = "v1beta1".into();
    }
    let Decoded { object: mut eviction, warnings } = call.decode(schema, &kind, options.field_validation)?;
    call.warnings.extend(warnings);
    owners::dedup(&mut eviction, &call.warnings, owners::DUPLICATES);
    system::ensure_namespace(&mut eviction, &call.info.namespace)?;
    Ok((eviction, options))
}

fn deletion(call: &Call, eviction: &Value, options: &WriteOptions) -> Result<DeleteOptions, Status> {
    if meta::name(eviction) != call.name() {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let given = eviction.get("deleteOptions").filter(|given| given.is_object());
    let unsafe_option = "ignoreStoreReadErrorWithClusterBreakingPotential";
    if given.is_some_and(|given| given[unsafe_option] == true) {
        let path = Path::new("deleteOptions").child(unsafe_option);
        let why = "can not be set for pod eviction, try after removing the option";
        return Err(Status::invalid("policy", "Eviction", call.name(), &vec![Error::invalid(&path, true, why)]));
    }
    check_dry_run(given, options)?;
    let mut delete = DeleteOptions::parse(&Query::default(), given)?;
    delete.dry_run |= options.dry_run;
    Ok(delete)
}

/// Both may say that nothing is to be done, and then in the same words.
fn check_dry_run(given: Option<&Value>, options: &WriteOptions) -> Result<(), Status> {
    let inside: Vec<&str> =
        given.map(|given| meta::list(given, "dryRun")).unwrap_or_default().iter().filter_map(Value::as_str).collect();
    if !options.dry_run || inside.is_empty() || inside == ["All"] {
        return Ok(());
    }
    let inside = inside.join(" ");
    Err(Status::unexplained(format!("Non-matching dry-run options in request and content: [All] and [{inside}]")))
}

enum Attempt {
    Evicted,
    /// More than one budget is about the pod.
    Ambiguous,
    /// The pod is no longer what was judged.
    Moved(Status),
}

/// What the budgets said.
enum Budget {
    /// Asked for nothing: the pod may go as it is, whatever becomes of it meanwhile.
    Unasked,
    Spent,
    /// The pod goes for nothing as long as it is not ready; names the budget.
    Free(String),
    Ambiguous,
}

async fn attempt(api: &Api, call: &Call, pod: &Value, delete: &DeleteOptions) -> Result<Attempt, Status> {
    let named_version = delete.resource_version.is_some();
    if !needs_budget(pod) {
        let ends = meta::is_deleting(pod) || matches!(meta::text(pod, "status.phase"), "Succeeded" | "Failed");
        // A pod that has not begun may begin meanwhile, and then needs a budget.
        return match evict(api, call, pod, delete, !ends).await {
            Err(status) if status.reason == "Conflict" && !named_version => Ok(Attempt::Moved(status)),
            result => result.map(|()| Attempt::Evicted),
        };
    }
    match take_budget(api, call, pod, delete.dry_run).await? {
        Budget::Ambiguous => Ok(Attempt::Ambiguous),
        Budget::Free(name) => match evict(api, call, pod, delete, true).await {
            Err(status) if status.reason == "Conflict" && !named_version => Err(unsettled(&name)),
            result => result.map(|()| Attempt::Evicted),
        },
        Budget::Spent | Budget::Unasked => evict(api, call, pod, delete, false).await.map(|()| Attempt::Evicted),
    }
}

async fn take_budget(api: &Api, call: &Call, pod: &Value, dry_run: bool) -> Result<Budget, Status> {
    let Some(budgets) = api.catalogue.find("policy", "v1", "poddisruptionbudgets") else { return Ok(Budget::Unasked) };
    let snapshot = api.cache.list(budgets.id, &api.catalogue.prefix(budgets, &call.info.namespace));
    let mut asked = Vec::new();
    for item in snapshot.iter() {
        let budget = Current::from_item(item)?.object;
        if covers(&budget, pod) {
            asked.push(budget);
        }
    }
    let budget = match asked.as_slice() {
        [] => return Ok(Budget::Unasked),
        [budget] => budget,
        _ => return Ok(Budget::Ambiguous),
    };
    if is_free(pod, budget) {
        return Ok(Budget::Free(meta::name(budget).to_owned()));
    }
    if dry_run {
        return judge(budget).map(|()| Budget::Spent);
    }
    let budget_call = call_of(call, budgets, meta::name(budget));
    let (name, now) = (call.name().to_owned(), api.now_text());
    change(api, &budget_call, Part::Raw, &WriteOptions::default(), |budget| spend(budget, &name, &now)).await?;
    Ok(Budget::Spent)
}

/// Marks the pod and deletes it; with `hold`, only as it was judged.
async fn evict(api: &Api, call: &Call, pod: &Value, delete: &DeleteOptions, hold: bool) -> Result<(), Status> {
    let mut delete = delete.clone();
    // The pod that was judged, not one made anew under its name.
    let uid = delete.uid.get_or_insert_with(|| meta::uid(pod).to_owned()).clone();
    if hold {
        delete.resource_version.get_or_insert_with(|| meta::resource_version(pod).to_owned());
    }
    let own = call_of(call, &call.served, call.name());
    if !delete.dry_run {
        let (version, now) = (delete.resource_version.clone().unwrap_or_default(), api.now_text());
        let mark = |pod: &Value| Ok(marked(pod, &uid, &version, &now));
        let marked = change(api, &own, Part::Raw, &WriteOptions::default(), mark).await?;
        if delete.resource_version.is_some() {
            delete.resource_version = Some(meta::resource_version(&marked.object).to_owned());
        }
    }
    delete_object(api, &own, call.name(), &delete).await.map(|_| ())
}

/// The pod, told in its conditions why it goes. `uid` and `version` are what it must have (an empty version: any).
fn marked(pod: &Value, uid: &str, version: &str, now: &str) -> Value {
    let mut new = pod.clone();
    let metadata = meta::metadata_mut(&mut new);
    metadata.insert("uid".into(), uid.into());
    metadata.insert("resourceVersion".into(), version.into());
    let mut conditions = meta::list(pod, "status.conditions").to_vec();
    conditions.retain(|condition| condition["type"] != "DisruptionTarget");
    let mut target = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "lastTransitionTime": now, "lastProbeTime": null,
    });
    if meta::generation(pod) > 0 {
        target["observedGeneration"] = json!(meta::generation(pod));
    }
    conditions.push(target);
    meta::object_mut(&mut new, "status").insert("conditions".into(), Value::Array(conditions));
    new
}
