//! What is special about a kind: its defaults, its rules, its columns. One [`Hooks`] value a kind that differs.
//!
//! Enter at [`hooks_of`]. The generic verbs in [`crate::rest`] call these and know no kind by name; a hook sees only
//! the object (and the stored one on an update): no store, no clock, no network.

mod api_service;
mod autoscaler;
mod batch;
mod budget;
pub mod certificate;
mod component_status;
mod config;
mod defaults;
mod device;
mod endpoints;
mod event;
mod flow;
pub mod go_form;
mod ip;
mod lease;
mod limit_range;
mod namespace;
mod network;
mod node;
mod node_labels;
pub mod old;
pub mod pod;
mod priority_class;
mod rbac;
mod resource_names;
mod resource_quota;
mod runtime_class;
mod service;
mod storage;
mod template_metadata;
mod validate;
mod volume;
mod warnings;
mod workload;

pub use flow::standard as flow_standard;
use machinery::catalogue::Resource;
use machinery::field::ErrorList;
use machinery::names::{self, NameCheck};
pub use pod::remove_disabled;
use serde_json::Value;
pub use validate::domain_prefixed_path;

use crate::gates::Gates;

/// A column of `kubectl get` (Kubernetes API concept: "Receiving resources as Tables").
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub name: &'static str,
    /// `string`, `integer`, `date`, `boolean`.
    pub kind: &'static str,
    /// 0: always shown; 1: with `-o wide`.
    pub priority: i32,
    pub description: &'static str,
}

/// A part of an object that a subresource of its own kind changes.
#[derive(Clone, Copy)]
pub struct Portion {
    pub subresource: &'static str,
    /// Puts back what does not belong to the part, metadata too but for `resourceVersion` and `managedFields`.
    pub prepare: fn(new: &mut Value, old: &Value),
    /// Rules about the change; [`Hooks::validate`] runs as well.
    pub validate: fn(new: &Value, old: &Value) -> ErrorList,
    /// How the rules judge the metadata, beside those of all kinds.
    pub metadata: MetadataRounds,
}

/// How a row shows objects that are stored in another row's shape. `apiVersion` and `kind` are set, and what is empty is
/// taken out, by the caller.
#[derive(Debug)]
pub struct Conversion {
    pub to_stored: fn(&mut Value),
    pub from_stored: fn(&mut Value),
}

/// Another version of a kind, and how an object becomes one of it, and back: `apiVersion` is set by the caller.
pub struct OtherVersion {
    pub group: &'static str,
    pub version: &'static str,
    pub to: fn(&mut Value),
    pub from: fn(&mut Value),
}

/// How often the rules of an update go over the metadata. Upstream's kinds begin theirs with those of a create, with those
/// of a change, or with both, and each tells what is wrong once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetadataRounds {
    pub whole: usize,
    pub change: usize,
}

impl MetadataRounds {
    const NONE: Self = Self { whole: 0, change: 0 };
    const WHOLE: Self = Self { whole: 1, change: 0 };
    const CHANGE: Self = Self { whole: 0, change: 1 };
    const BOTH: Self = Self { whole: 1, change: 1 };
}

/// The differences of one kind from a plain object. Every field has a default in [`Hooks::PLAIN`].
///
/// Where a row is a view of another's objects, all but `default` see them as they are stored, and so do the paths of
/// `fields`.
pub struct Hooks {
    pub name: NameCheck,
    /// The rule of names is not for `generateName`: the name that is made of it will be judged.
    pub takes_any_prefix: bool,
    /// The rules of a new object leave `metadata` to the ones of all kinds, which run when nothing else is wrong and take
    /// every name that can stand in a path.
    pub judges_metadata_last: bool,
    /// How an update of the object itself judges its metadata, beside the rules of all kinds.
    pub metadata: MetadataRounds,
    /// The same of its status, and of what its subresources own.
    pub status_metadata: MetadataRounds,
    /// Finalizers without a group may be others than Kubernetes' own.
    pub takes_bare_finalizers: bool,
    /// For a row that shows another row's objects (`stored_as` in the catalogue).
    pub conversion: Option<&'static Conversion>,
    /// Another version that the same objects are served in, whose writers' fields are theirs in this one as well.
    pub other_version: Option<&'static OtherVersion>,
    /// Fills what the client left out. Runs on every decoded body and is idempotent.
    pub default: fn(&mut Value),
    /// Where the pod stands, or the template of one, that an object carries: a dotted path, of a pod itself "".
    pub pod: Option<&'static str>,
    /// Removes what a client may not set on a create.
    pub prepare_create: fn(&mut Value),
    /// Also on a create, for what depends on what the client left out and defaults have filled in since.
    pub prepare_create_as_sent: fn(new: &mut Value, sent: &Value),
    /// Fills in what a new object says only when it has been found good.
    pub complete_created: fn(&mut Value),
    /// Carries over from the stored object what a client may not change through the main resource.
    pub prepare_update: fn(new: &mut Value, old: &Value),
    /// Carries over what a client may not change through `/status`.
    pub prepare_status: fn(new: &mut Value, old: &Value),
    /// The fields that these three put back, by subresource ("" is the object itself), for kinds with a status: who writes
    /// them owns nothing by it.
    pub resets: &'static [(&'static str, &'static [&'static str])],
    pub portions: &'static [Portion],
    /// Notes when a status changed; `now` in RFC 3339.
    pub stamp_status: fn(new: &mut Value, old: &Value, now: &str),
    pub validate: fn(&Value) -> ErrorList,
    /// Rules that let stand what an object had before: `None` on a create. They run beside `validate`.
    pub validate_against: fn(new: &Value, old: Option<&Value>) -> ErrorList,
    /// Rules about the change alone; `validate` runs as well.
    pub validate_update: fn(new: &Value, old: &Value) -> ErrorList,
    pub validate_status: fn(new: &Value, old: &Value) -> ErrorList,
    /// Words for the `Warning` header about an accepted object that is new, or wants something new.
    pub warnings: fn(&Value) -> Vec<String>,
    /// Whether a change of the object itself, or of what it wants where generations count that, calls for them.
    pub is_worth_warning: fn(new: &Value, old: &Value) -> bool,
    /// The same about a new object before anything is made of it.
    pub warnings_of_sent: fn(&Value) -> Vec<String>,
    /// The same about a status that was written.
    pub status_warnings: fn(&Value) -> Vec<String>,
    /// Whether `metadata.generation` counts changes of the desired state.
    pub has_generation: bool,
    /// Annotations are part of the desired state (Deployment).
    pub counts_annotations: bool,
    /// The desired state in other words counts: upstream compares a NetworkPolicy's so that an empty list is not none.
    pub counts_other_words: bool,
    /// What it counts from; 0: a new object has none.
    pub first_generation: i64,
    /// Selectable fields besides `metadata.name` and `metadata.namespace`: label, dotted path.
    pub fields: &'static [(&'static str, &'static str)],
    /// Annotations that are fields in upstream's own form of the object: who sees its metadata alone does not see them.
    pub field_annotations: &'static [&'static str],
    pub columns: &'static [Column],
    /// The cells of one row, in the order of `columns`; the first is the name. `now` is in seconds since the epoch.
    pub cells: fn(&Value, now: i64) -> Vec<Value>,
    /// What a row tells of its object besides the cells.
    pub row_condition: fn(&Value) -> Option<Value>,
    /// For how many seconds a deletion waits for whoever ends the object: `None` for kinds that nobody ends. `asked`: the
    /// `gracePeriodSeconds` of the request.
    pub grace: fn(&Value, asked: Option<i64>) -> Option<i64>,
    /// Something besides `metadata.finalizers` keeps a deleted object (a namespace's `spec.finalizers`).
    pub is_held: fn(&Value) -> bool,
    /// What else changes when a deletion begins.
    pub on_deletion: fn(&mut Value),
    /// A deletion that says nothing of dependents leaves them be.
    pub orphans_by_default: bool,
    /// What who deletes one and does not say what becomes of its dependents is told.
    pub warning_of_orphans: Option<&'static str>,
    /// Others may belong to it, and a deletion may say what becomes of them.
    pub has_dependents: bool,
    /// An update of an object that is not there creates it.
    pub creates_on_update: bool,
    /// An update without `resourceVersion` is taken as it is.
    pub updates_unconditionally: bool,
    /// Is given families and addresses before it is judged, and holds them and ports, which are written in the same commit
    /// ([`crate::services`]).
    pub allocates: bool,
    /// Rules of what an object asks for, before anything is allocated; `None` on a create.
    pub validate_asked: fn(new: &Value, old: Option<&Value>) -> ErrorList,
    /// The store forgets the object after `--event-ttl`.
    pub is_forgotten: bool,
}

impl Hooks {
    pub const PLAIN: Hooks = Hooks {
        name: names::dns_subdomain,
        takes_any_prefix: false,
        judges_metadata_last: false,
        metadata: MetadataRounds::CHANGE,
        status_metadata: MetadataRounds::CHANGE,
        takes_bare_finalizers: false,
        conversion: None,
        other_version: None,
        default: |_| {},
        pod: None,
        prepare_create: |_| {},
        prepare_create_as_sent: |_, _| {},
        complete_created: |_| {},
        prepare_update: |_, _| {},
        prepare_status: |_, _| {},
        resets: &[("", &["status"]), ("status", &["spec"])],
        portions: &[],
        stamp_status: |_, _, _| {},
        validate: |_| Vec::new(),
        validate_against: |_, _| Vec::new(),
        validate_update: |_, _| Vec::new(),
        validate_status: |_, _| Vec::new(),
        warnings: |_| Vec::new(),
        is_worth_warning: |_, _| true,
        warnings_of_sent: |_| Vec::new(),
        status_warnings: |_| Vec::new(),
        has_generation: false,
        counts_annotations: false,
        counts_other_words: false,
        first_generation: 1,
        fields: &[],
        field_annotations: &[],
        columns: crate::rest::table::PLAIN_COLUMNS,
        cells: crate::rest::table::plain_cells,
        row_condition: |_| None,
        grace: |_, _| None,
        is_held: |_| false,
        on_deletion: |_| {},
        orphans_by_default: false,
        warning_of_orphans: None,
        has_dependents: true,
        creates_on_update: false,
        updates_unconditionally: true,
        allocates: false,
        validate_asked: |_, _| Vec::new(),
        is_forgotten: false,
    };
}

/// The `resets` of kinds whose `/status` leaves the metadata alone too.
const RESETS_WITH_METADATA: &[(&str, &[&str])] = &[("", &["status"]), ("status", &["spec", "metadata"])];

/// A column that is always shown.
const fn text_column(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "string", priority: 0, description }
}

/// A new object has no status of its client's making.
fn reset_status(object: &mut Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
}

static PLAIN: Hooks = Hooks::PLAIN;

/// The hooks of a row.
pub fn hooks_of(row: &Resource, gates: Gates) -> &'static Hooks {
    match (row.group.as_ref(), row.plural.as_ref()) {
        ("", "componentstatuses") => &component_status::HOOKS,
        ("", "configmaps") => &config::CONFIG_MAP,
        ("", "events") => &event::CORE,
        ("", "namespaces") => &namespace::HOOKS,
        ("", "limitranges") => &limit_range::LIMIT_RANGE,
        ("", "nodes") => &node::HOOKS,
        ("", "persistentvolumeclaims") => &volume::claim::HOOKS,
        ("", "persistentvolumes") => &volume::HOOKS,
        ("", "pods") => &pod::HOOKS,
        ("", "podtemplates") => &workload::POD_TEMPLATE,
        ("", "replicationcontrollers") => &workload::REPLICATION_CONTROLLER,
        ("", "resourcequotas") => &resource_quota::RESOURCE_QUOTA,
        ("", "secrets") => &config::SECRET,
        ("", "serviceaccounts") => &config::SERVICE_ACCOUNT,
        ("", "services") => &service::HOOKS,
        ("", "endpoints") => &endpoints::ENDPOINTS,
        ("apps", "controllerrevisions") => &workload::CONTROLLER_REVISION,
        ("apps", "daemonsets") => &workload::DAEMON_SET,
        ("apps", "deployments") => &workload::DEPLOYMENT,
        ("apps", "replicasets") => &workload::REPLICA_SET,
        ("apps", "statefulsets") if gates.max_unavailable_stateful_set => &workload::STATEFUL_SET_BY_SEVERAL,
        ("apps", "statefulsets") => &workload::STATEFUL_SET,
        ("autoscaling", "horizontalpodautoscalers") => match (row.version.as_ref(), gates.hpa_scale_to_zero) {
            ("v1", false) => &autoscaler::V1,
            ("v1", true) => &autoscaler::V1_TO_ZERO,
            (_, false) => &autoscaler::V2,
            (_, true) => &autoscaler::V2_TO_ZERO,
        },
        ("batch", "cronjobs") => &batch::CRON_JOB,
        ("batch", "jobs") => &batch::JOB,
        ("apiregistration.k8s.io", "apiservices") => &api_service::HOOKS,
        ("certificates.k8s.io", "certificatesigningrequests") => &certificate::HOOKS,
        ("coordination.k8s.io", "leases") => &lease::HOOKS,
        ("discovery.k8s.io", "endpointslices") => &endpoints::SLICE,
        ("events.k8s.io", "events") => &event::NEW,
        ("flowcontrol.apiserver.k8s.io", "flowschemas") => &flow::schema::HOOKS,
        ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations") => &flow::level::HOOKS,
        ("networking.k8s.io", "servicecidrs") => &network::service_cidr::HOOKS,
        ("networking.k8s.io", "ingresses") => &network::ingress::HOOKS,
        ("networking.k8s.io", "ingressclasses") => &network::class::HOOKS,
        ("networking.k8s.io", "ipaddresses") => &network::address::HOOKS,
        ("networking.k8s.io", "networkpolicies") => &network::policy::HOOKS,
        ("node.k8s.io", "runtimeclasses") => &runtime_class::HOOKS,
        ("policy", "poddisruptionbudgets") => &budget::HOOKS,
        ("rbac.authorization.k8s.io", "roles" | "clusterroles") => &rbac::ROLE,
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => &rbac::BINDING,
        ("resource.k8s.io", "deviceclasses") => &device::class::HOOKS,
        ("resource.k8s.io", "resourceclaims") => &device::claim::CLAIM,
        ("resource.k8s.io", "resourceclaimtemplates") => &device::claim::TEMPLATE,
        ("resource.k8s.io", "resourceslices") => &device::slice::HOOKS,
        ("scheduling.k8s.io", "priorityclasses") => &priority_class::HOOKS,
        ("storage.k8s.io", "csidrivers") => &storage::driver::DRIVER,
        ("storage.k8s.io", "csinodes") => &storage::driver::NODE,
        ("storage.k8s.io", "csistoragecapacities") => &storage::capacity::HOOKS,
        ("storage.k8s.io", "storageclasses") => &storage::class::STORAGE,
        ("storage.k8s.io", "volumeattachments") => &storage::attachment::HOOKS,
        ("storage.k8s.io", "volumeattributesclasses") => &storage::class::ATTRIBUTES,
        _ => &PLAIN,
    }
}
